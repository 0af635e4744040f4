package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// closeDeadline is how long the journal and the console may take to show what
// is still queued when the program ends.
const closeDeadline = 2 * time.Second

// windows shows a bootstrap wherever an operator may look: under systemd in the
// journal, on the console and in the unit's status, otherwise as lines on the
// error stream; always in the report.
type windows struct {
	std     stdio
	format  string
	report  string
	notify  host.Notifier
	log     *zap.Logger
	journal *host.Journal // nil without systemd
	console *host.Console // nil without systemd
	last    bootstrap.Outcome
	// unwritten says that the report could not be written, which is told once:
	// a full disk lasts for many rounds.
	unwritten bool
}

// newWindows opens the windows there are.
func newWindows(std stdio, in input, format string) *windows {
	w := &windows{
		std: std, format: format, report: join(in.rootDir(), host.ReportPath),
		notify: host.NewNotifier(), log: newLogger(std.err),
	}
	if w.notify.Socket != "" {
		w.journal, w.console = host.NewJournal(std.err), host.NewConsole("")
	}
	return w
}

// publish shows a changed outcome everywhere.
func (w *windows) publish(o bootstrap.Outcome) {
	err := host.WriteReport(w.report, o)
	if err != nil && !w.unwritten {
		w.log.Error("the report could not be written", zap.Error(err))
	}
	w.unwritten = err != nil
	w.status(o.Status)
	if o.ComingUp(o.Updated) {
		return
	}
	if w.journal != nil {
		w.journal.Publish(o)
		w.console.Publish(o)
	} else {
		for _, e := range host.Entries(w.last, o) {
			logEntry(w.log, e)
		}
	}
	w.last = o
}

// status tells systemd the one line of systemctl status.
func (w *windows) status(line string) { w.told(w.notify.Status(line)) }

// extend tells systemd how long to expect no sign of life.
func (w *windows) extend(d time.Duration) { w.told(w.notify.Extend(d)) }

// ready tells systemd that the unit has started.
func (w *windows) ready() { w.told(w.notify.Ready()) }

// told logs that systemd could not be told something; nothing depends on it.
func (w *windows) told(err error) {
	if err != nil {
		w.log.Warn("systemd could not be told", zap.Error(err))
	}
}

// progress is nil: the windows show changes, not measurements.
func (w *windows) progress() func(probe.Report) { return nil }

// final prints the outcome for whoever ran bootstrap by hand.
func (w *windows) final(o bootstrap.Outcome) {
	if w.journal == nil {
		w.told(show(w.std.out, w.format, o.ForReport(), outcomeText))
	}
}

// close shows what is still queued.
func (w *windows) close() {
	if w.journal == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeDeadline)
	defer cancel()
	w.told(w.journal.Close(ctx))
	w.told(w.console.Close(ctx))
}

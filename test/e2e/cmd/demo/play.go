package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/test/e2e/node"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

const (
	noFault = "none"
	// show is how long a blocked node is left alone, from the start on, so that
	// one can read what it says.
	show = 8 * time.Second
	// patience is how long a verdict may take: three rounds of probing and more.
	patience = 40 * time.Second
	// step is the longest time between the removal of a fault and the join: a
	// pause of at most 5 s in the first two minutes, a round, and the kubelet's
	// own start on a busy machine.
	step = 20 * time.Second
	// linger is how long the windows are shown after the join.
	linger = time.Second
)

// faults are those that this version of nodeprep tells apart and that a node which
// is booted already can be given.
func faults() []vpc.Fault {
	return slices.DeleteFunc(vpc.Faults(), func(f vpc.Fault) bool {
		_, known := bootstrap.Code(f.Code).Info()
		return f.Local || f.Code != "" && !known
	})
}

// find returns the fault of that name; none is a fault that breaks nothing.
func find(name string) (vpc.Fault, bool) {
	if name == noFault {
		return vpc.Fault{Name: noFault, Title: "everything works"}, true
	}
	for _, f := range faults() {
		if f.Name == name {
			return f, true
		}
	}
	return vpc.Fault{}, false
}

func listFaults(w io.Writer) {
	fmt.Fprint(w, "make demo FAULT=NAME shows:\n\n")
	none, _ := find(noFault)
	for _, f := range append([]vpc.Fault{none}, faults()...) {
		fmt.Fprintf(w, "  %-26s %-11s %s\n", f.Name, f.Code, f.Title)
	}
}

// play is one demonstration.
type play struct {
	fault  vpc.Fault
	image  string
	parts  node.EKS
	screen *screen

	vpc  *vpc.VPC
	node *node.Node
	// verdicts has the code of each blocking verdict in the node's journal.
	verdicts chan string
}

// run plays it and returns the line that says what happened. An error says what
// nodeprep did not do as promised.
func (p *play) run(ctx context.Context) (summary string, err error) {
	s := p.screen
	s.title("A worker node boots in a private VPC: " + p.fault.Title + ".")
	if p.vpc, err = vpc.New(ctx, p.fault.Options(vpc.Options{})); err != nil {
		return "", fmt.Errorf("build the VPC: %w", err)
	}
	defer func() { err = errors.Join(err, p.vpc.Close()) }()
	repair := func() error { return nil }
	if p.fault.Name == noFault {
		s.say(lab, "the VPC is up")
	} else {
		if repair, err = p.vpc.Inject(p.fault.Name); err != nil {
			return "", fmt.Errorf("inject %s: %w", p.fault.Name, err)
		}
		s.say(lab, "the VPC is up, with the fault "+p.fault.Name)
	}

	if err := p.boot(ctx); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.node.Shutdown(context.WithoutCancel(ctx))) }()

	// The watchers end before the node is closed.
	watching, stop := context.WithCancel(ctx)
	p.verdicts = make(chan string, 64)
	ended := make(chan error, 2)
	go func() { watchUnits(watching, p.node, s); ended <- nil }()
	go func() { ended <- watchJournal(watching, p.node, s, p.entry) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended, <-ended)
	}()
	return p.watch(ctx, repair)
}

func (p *play) boot(ctx context.Context) error {
	p.parts.ResolvConf, p.parts.Roots = p.vpc.ResolvConf(), p.vpc.RootsFile()
	p.parts.Config = map[string][]byte{vpc.LabConfigPath: p.vpc.LabConfig()}
	files, err := p.parts.Files()
	if err != nil {
		return err
	}
	p.screen.say(lab, "the node is switched on")
	p.node, err = node.Boot(ctx, node.Options{
		Image: p.image, NetNS: p.vpc.NodeNS(), Hostname: "ip-10-20-1-50",
		Files: files, Preset: p.parts.Presets(), Console: &consoleView{screen: p.screen},
	})
	if err != nil {
		return err
	}
	p.screen.say(lab, fmt.Sprintf("systemd has reached multi-user.target, %.1f s after power-on", p.node.Booted().Seconds()))
	return nil
}

// entry notes the code of a blocking verdict.
func (p *play) entry(e node.Entry) {
	if e["MESSAGE_ID"] != bootstrap.MessageBlocked {
		return
	}
	select {
	case p.verdicts <- e["NODEPREP_CODE"]:
	default: // nobody counts them
	}
}

// blocks says that the fault must hold the kubelet.
func (p *play) blocks() bool { return p.fault.Code != "" && !p.fault.Warning }

// watch lets things happen: the verdict, the repair, the join.
func (p *play) watch(ctx context.Context, repair func() error) (string, error) {
	s := p.screen
	code, err := p.verdict(ctx)
	if err != nil {
		return "", err
	}
	if !p.blocks() {
		return p.harmless(ctx, code, repair)
	}
	if code == "" {
		return "", fmt.Errorf("the kubelet was started in spite of %s", p.fault.Name)
	}
	blocked := s.since()
	select {
	case <-time.After(show - s.since()):
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if code, err = p.held(ctx, code); err != nil {
		return "", err
	}
	if err := repair(); err != nil {
		return "", fmt.Errorf("remove %s: %w", p.fault.Name, err)
	}
	repaired := s.since()
	what := "fault removed"
	u, err := p.node.Unit(ctx, nodeprepUnit)
	if err != nil {
		return "", err
	}
	// Input of a running instance does not change in EC2, so nodeprep does not read
	// it again; there the repair is a new instance.
	if ended := u.ActiveState == "failed"; ended || strings.HasPrefix(code, "NP-CFG-") {
		why := "the identity of an instance is read once:"
		if ended {
			why = fmt.Sprintf("nodeprep has ended with exit %d, since no waiting repairs its input:", u.ExitStatus)
		}
		s.say(lab, "the fault "+p.fault.Name+" is removed; "+why)
		s.say(lab, "$ systemctl restart nodeprep")
		what += " and nodeprep restarted"
		if _, err := p.node.Restart(ctx, nodeprepUnit); err != nil {
			return "", err
		}
	} else {
		s.say(lab, "the fault "+p.fault.Name+" is removed; nothing is done on the node")
	}
	within, cancel := context.WithTimeoutCause(ctx, step, fmt.Errorf("the node has not joined %v after the repair", step))
	defer cancel()
	name, at, err := p.join(within)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("blocked by %s after %.1f s, %s at %.1f s, node %s joined %.1f s later",
		code, blocked.Seconds(), what, repaired.Seconds(), name, (at - repaired).Seconds()), nil
}

// harmless sees the node join when it must not be held for good; code is what
// it was blocked by for a moment. The fault may hinder the kubelet itself: then
// the node joins after the repair.
func (p *play) harmless(ctx context.Context, code string, repair func() error) (string, error) {
	what := p.fault.Name + " is no reason to hold the kubelet"
	switch {
	case p.fault.Name == noFault && code != "":
		return "", fmt.Errorf("blocked by %s although everything works", code)
	case p.fault.Name == noFault:
		what = "healthy VPC"
	case code != "":
		what = p.fault.Name + " held the kubelet for a moment (" + code + ")"
	}
	patient, cancel := context.WithTimeout(ctx, show)
	defer cancel()
	if name, at, err := p.join(patient); err == nil {
		return fmt.Sprintf("%s, node %s joined %.1f s after power-on", what, name, at.Seconds()), nil
	} else if ctx.Err() != nil || p.fault.Name == noFault {
		return "", err
	}
	if err := repair(); err != nil {
		return "", fmt.Errorf("remove %s: %w", p.fault.Name, err)
	}
	repaired := p.screen.since()
	p.screen.say(lab, "the fault "+p.fault.Name+" is removed; nothing is done on the node")
	within, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the node has not joined %v after the repair", patience))
	defer cancel()
	name, at, err := p.join(within)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, fault removed at %.1f s, node %s joined %.1f s later", what, repaired.Seconds(), name, (at - repaired).Seconds()), nil
}

// verdict waits for what comes first: a verdict that blocks, whose code it
// returns, or the start of the kubelet, for which the code is empty.
func (p *play) verdict(ctx context.Context) (code string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no verdict after %v", patience))
	defer cancel()
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		select {
		case code := <-p.verdicts:
			return code, nil
		case <-t.C:
			if u, err := p.node.Unit(ctx, kubeletUnit); err == nil && u.ActiveState == "active" {
				return "", nil
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// held makes sure that the fault keeps the kubelet from starting, for the reason
// that is the true one. code is the first verdict's; it returns the latest.
func (p *play) held(ctx context.Context, code string) (string, error) {
	u, err := p.node.Unit(ctx, kubeletUnit)
	if err != nil {
		return "", err
	}
	if u.ActiveState != "inactive" {
		return "", fmt.Errorf("kubelet.service is %s in spite of the fault", u)
	}
	if nodes := p.vpc.Nodes(); len(nodes) > 0 {
		return "", fmt.Errorf("the node %s has joined in spite of the fault", nodes[0].Name)
	}
	for len(p.verdicts) > 0 {
		code = <-p.verdicts
	}
	if code != p.fault.Code {
		return "", fmt.Errorf("nodeprep names %s, but the cause is %s", code, p.fault.Code)
	}
	p.screen.say(checked, "kubelet.service is inactive, and the API server has no Node")
	out, err := p.node.Exec(ctx, "systemctl", "status", "--no-pager", "--lines=3", kubeletUnit)
	if err != nil && !errors.Is(err, node.ErrExit) { // it is 3 for a unit that does not run
		return "", err
	}
	p.screen.lines(lab, append([]string{"$ systemctl status kubelet"}, strings.Split(strings.TrimRight(out, "\n"), "\n")...), "")
	return code, nil
}

// join waits until the API server has the node and the kubelet runs, and says when.
func (p *play) join(ctx context.Context) (name string, at time.Duration, err error) {
	_, err = p.node.WaitUnit(ctx, kubeletUnit, func(u node.Unit) bool {
		return u.ActiveState == "active" && len(p.vpc.Nodes()) > 0
	})
	if err != nil {
		return "", 0, err
	}
	name = p.vpc.Nodes()[0].Name
	at = p.screen.since()
	p.screen.say(checked, "kubelet.service is active, and the API server has the Node "+name)
	// The journal's last words on it.
	select {
	case <-time.After(linger):
	case <-ctx.Done():
	}
	return name, at, nil
}

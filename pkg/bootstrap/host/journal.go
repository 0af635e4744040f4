package host

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// journalQueue is how many entries wait for journald, about a hundred findings.
const journalQueue = 256

// A Journal writes entries to journald without ever waiting for it: entries go
// through a bounded queue, and what does not fit is dropped and counted.
type Journal struct {
	fallback io.Writer
	send     func(Entry) error

	mu     sync.Mutex // guards last, closed and the order of the queue
	last   bootstrap.Outcome
	closed bool
	beat   heartbeat

	queue   chan Entry
	drained chan struct{} // closed once the queue is closed and empty
	dropped atomic.Uint64
}

// NewJournal returns a journal that writes to journald's socket, and to fallback
// (when not nil) in the form of sd-daemon(3), "<3>text", what journald does not take.
func NewJournal(fallback io.Writer) *Journal { return NewJournalWith(sendToJournald, fallback) }

// NewJournalWith is NewJournal with a destination of the caller's, which is
// called from one goroutine and may block for ever.
func NewJournalWith(send func(Entry) error, fallback io.Writer) *Journal {
	j := &Journal{
		fallback: fallback, send: send,
		queue: make(chan Entry, journalQueue), drained: make(chan struct{}),
	}
	go j.run()
	return j
}

// Publish writes what o changes against the outcome published before it, and
// keeps a heartbeat going while the kubelet is held back. It never waits.
func (j *Journal) Publish(o bootstrap.Outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	for _, e := range Entries(j.last, o) {
		j.put(e)
	}
	j.last = o
	j.beat.set(held(o), j.heartbeat)
}

// Send writes one entry. It never waits.
func (j *Journal) Send(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		j.dropped.Add(1)
		return
	}
	j.put(e)
}

// Dropped counts the entries that did not reach journald.
func (j *Journal) Dropped() uint64 { return j.dropped.Load() }

// Close stops the journal and waits until the queue is written or ctx ends. Its
// error says how many entries were lost since the beginning.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		j.beat.set(false, nil)
		close(j.queue)
	}
	j.mu.Unlock()
	select {
	case <-j.drained:
	case <-ctx.Done():
		return fmt.Errorf("journal: %d entries not written, %d dropped: %w", len(j.queue), j.Dropped(), context.Cause(ctx))
	}
	if n := j.Dropped(); n > 0 {
		return fmt.Errorf("journal: %d entries dropped", n)
	}
	return nil
}

func (j *Journal) heartbeat() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed && held(j.last) {
		j.put(HeartbeatEntry(j.last, time.Now()))
	}
}

// put queues an entry; the caller has the lock.
func (j *Journal) put(e Entry) {
	select {
	case j.queue <- e:
	default:
		j.dropped.Add(1)
	}
}

// run writes the queue until it is closed.
func (j *Journal) run() {
	defer close(j.drained)
	for e := range j.queue {
		if j.send(e) == nil {
			continue
		}
		j.dropped.Add(1)
		if j.fallback != nil {
			fmt.Fprintf(j.fallback, "<%d>%s\n", e.Priority, e.Message)
		}
	}
}

// sendToJournald has no deadline: journald that does not read blocks it.
func sendToJournald(e Entry) error {
	return journal.Send(e.Message, journal.Priority(e.Priority), maps.Clone(e.Fields))
}

package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// ConsolePath is the machine's console: on EC2 what get-console-output shows,
// the only window of a node whose network is dead.
const ConsolePath = "/dev/console"

const (
	consoleQueue = 16
	// consoleDeadline is enough for a whole block at 9600 baud.
	consoleDeadline = 5 * time.Second
	// consoleRepeat is how long a block is not shown again when a verdict comes
	// back: EC2 keeps the last 64 KiB of output only.
	consoleRepeat = 5 * time.Minute
)

// A Console shows a verdict on the machine's console: a block of lines when it
// is first known and when it changes, and one line now and then while the
// kubelet is held back. It never waits and never fails; what cannot be shown is counted.
type Console struct {
	show func(lines []string) error

	mu     sync.Mutex // guards last, shown and closed
	last   bootstrap.Outcome
	shown  map[string]time.Time // faces, when last shown
	face   string
	closed bool
	beat   heartbeat

	queue   chan []string
	drained chan struct{}
	dropped atomic.Uint64
}

// NewConsole returns the console at path, "" for ConsolePath. Each write opens
// it anew: a hangup ends a file description, and the device may be absent.
func NewConsole(path string) *Console {
	if path == "" {
		path = ConsolePath
	}
	return NewConsoleWith(func(lines []string) error { return writeConsole(path, lines) })
}

// NewConsoleWith is NewConsole with a destination of the caller's, which is
// called from one goroutine and may block for ever.
func NewConsoleWith(show func(lines []string) error) *Console {
	c := &Console{
		show: show, shown: map[string]time.Time{},
		queue: make(chan []string, consoleQueue), drained: make(chan struct{}),
	}
	go c.run()
	return c
}

// Publish shows o when it says something else than what is shown. It never waits.
func (c *Console) Publish(o bootstrap.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.last = o
	c.beat.set(held(o), c.heartbeat)
	face := face(o)
	if face == c.face || face == "" {
		return
	}
	c.face = face
	now := time.Now()
	if at, ok := c.shown[face]; ok && now.Sub(at) < consoleRepeat {
		return
	}
	c.shown[face] = now
	c.put(ConsoleBlock(o))
}

// face is what ConsoleBlock shows of o without the figures that always change.
func face(o bootstrap.Outcome) string {
	p := phaseOf(o)
	switch p {
	case phaseUnknown, phaseStopped:
		return ""
	case phaseBlocked, phaseFailed, phaseUnstable:
		return strings.Join(slices.Insert(keys(causes(o, p)), 0, string(p)), "\n")
	default:
		return string(p)
	}
}

// Dropped counts the blocks and lines that could not be shown.
func (c *Console) Dropped() uint64 { return c.dropped.Load() }

// Close waits until everything is shown or ctx ends. Its error says how much
// was lost since the beginning.
func (c *Console) Close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.beat.set(false, nil)
		close(c.queue)
	}
	c.mu.Unlock()
	select {
	case <-c.drained:
	case <-ctx.Done():
		return fmt.Errorf("console: %d blocks not shown: %w", len(c.queue), context.Cause(ctx))
	}
	if n := c.Dropped(); n > 0 {
		return fmt.Errorf("console: %d blocks dropped", n)
	}
	return nil
}

func (c *Console) heartbeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && held(c.last) {
		c.put([]string{ConsoleHeartbeat(c.last, time.Now())})
	}
}

// put queues lines; the caller has the lock.
func (c *Console) put(lines []string) {
	if len(lines) == 0 {
		return
	}
	select {
	case c.queue <- lines:
	default:
		c.dropped.Add(1)
	}
}

func (c *Console) run() {
	defer close(c.drained)
	for lines := range c.queue {
		if err := c.show(lines); err != nil {
			c.dropped.Add(1)
		}
	}
}

// writeConsole shows lines. The leading line break leaves a login prompt alone.
// O_APPEND is for a path that names a file in place of a device.
func writeConsole(path string, lines []string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString("\r\n" + l)
	}
	b.WriteString("\r\n")
	// A file that never waits has no deadline to set.
	_ = f.SetWriteDeadline(time.Now().Add(consoleDeadline))
	_, err = f.Write(b.Bytes())
	return err
}

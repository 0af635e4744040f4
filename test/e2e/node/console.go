package node

import (
	"io"
	"regexp"
	"strings"
	"sync"
)

// console keeps what a node prints on its console.
type console struct {
	copy io.Writer

	mu  sync.Mutex
	buf []byte
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.buf = append(c.buf, p...)
	c.mu.Unlock()
	if c.copy != nil {
		// A reader's trouble must not stop the node.
		_, _ = c.copy.Write(p)
	}
	return len(p), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return plain(string(c.buf))
}

// tail is the last lines of the console.
func (c *console) tail(lines int) string {
	all := strings.Split(strings.TrimRight(c.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// escapes are the terminal sequences that systemd uses: colours and erasing.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07`)

// plain is what a terminal shows of s.
func plain(s string) string {
	return strings.ReplaceAll(escapes.ReplaceAllString(s, ""), "\r", "")
}

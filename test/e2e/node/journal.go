package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// An Entry is one entry of the journal: field name to text. Of a field that
// occurs several times it has the first.
type Entry map[string]string

// Journal reads the node's journal from outside, with matches as journalctl takes
// them ("NODEPREP_CODE=NP-NET-105"), of all boots. It works after the node has
// stopped, too.
func (n *Node) Journal(ctx context.Context, matches ...string) ([]Entry, error) {
	var entries []Entry
	err := n.readJournal(ctx, func(e Entry) { entries = append(entries, e) }, "--lines=all", matches)
	return entries, err
}

// FollowJournal calls show for every entry, those that are already there first,
// until ctx ends. It returns nil then.
func (n *Node) FollowJournal(ctx context.Context, show func(Entry), matches ...string) error {
	err := n.readJournal(ctx, show, "--follow", append([]string{"--no-tail"}, matches...))
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (n *Node) readJournal(ctx context.Context, show func(Entry), how string, matches []string) error {
	args := append([]string{
		"--directory=" + filepath.Join(n.root, "var/log/journal"),
		"--output=json", "--all", "--quiet", "--no-pager", how,
		// Without it, --follow shows the current boot only.
		"--merge",
	}, matches...)
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = haltTime
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("read the node's journal: %w", err)
	}
	var decoding error
	for d := json.NewDecoder(out); ; {
		var raw map[string]json.RawMessage
		if err := d.Decode(&raw); err != nil {
			if !errors.Is(err, io.EOF) {
				decoding = err
			}
			break
		}
		e := make(Entry, len(raw))
		for k, v := range raw {
			e[k] = fieldText(v)
		}
		show(e)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("read the node's journal: %w: %s", err, stderr.String())
	}
	if decoding != nil {
		return fmt.Errorf("read the node's journal: %w", decoding)
	}
	return nil
}

// fieldText undoes journalctl's JSON forms: a string, an array of bytes for text
// with control characters, an array of those when the field repeats.
func fieldText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	var codes []int
	if json.Unmarshal(v, &codes) == nil {
		b := make([]byte, len(codes))
		for i, c := range codes {
			b[i] = byte(c)
		}
		return string(b)
	}
	var many []json.RawMessage
	if json.Unmarshal(v, &many) == nil && len(many) > 0 {
		return fieldText(many[0])
	}
	return ""
}

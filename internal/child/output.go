package child

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

const (
	// tailLines is how many of a server's last lines an error shows.
	tailLines = 20

	// maxLine bounds what is kept of one line, in bytes.
	maxLine = 8 << 10
)

// Output is a [Command.Log] that keeps the last lines a server has printed, for
// the error if it fails. The zero value does only that. Its methods may be
// called concurrently.
type Output struct {
	To   io.Writer         // receives everything too; nil means nobody
	Line func(line string) // is called with each line, one at a time; may be nil

	mu      sync.Mutex
	partial []byte // a line not yet ended
	last    []string
}

// Write never fails: a log that cannot be written must not stop the server,
// which would block on its pipe.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.To != nil {
		_, _ = o.To.Write(p) // see above
	}
	o.partial = append(o.partial, p...)
	for {
		line, rest, ended := bytes.Cut(o.partial, []byte("\n"))
		if !ended {
			o.partial = o.partial[:min(len(o.partial), maxLine)]
			return len(p), nil
		}
		o.read(string(line[:min(len(line), maxLine)]))
		o.partial = rest
	}
}

// read takes note of one line.
func (o *Output) read(line string) {
	if o.last = append(o.last, line); len(o.last) > tailLines {
		o.last = o.last[1:]
	}
	if o.Line != nil {
		o.Line(line)
	}
}

// Tail is the last lines printed.
func (o *Output) Tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(append(o.last[:len(o.last):len(o.last)], string(o.partial)), "\n")
}

// StartFailure makes an error of what a server has printed before it gave up. All of
// them say "already in use", each in its own way; then it is [ErrAddressInUse].
func (o *Output) StartFailure() error {
	tail := o.Tail()
	if strings.Contains(strings.ToLower(tail), "already in use") {
		return ErrAddressInUse
	}
	return fmt.Errorf("the server exited at once; it printed:\n%s", tail)
}

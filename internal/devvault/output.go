package devvault

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
)

// tailLines is how many of a server's last lines an error shows.
const tailLines = 20

// listenerLine is how each of the servers prints its listener at the start.
var listenerLine = regexp.MustCompile(`Listener 1: tcp \(addr: "([^"]+)"`)

// startedMark ends the line by which a server says that it runs: "==> Vault
// server started!", with OpenBao's name in its place for bao.
const startedMark = " server started!"

// output is the writer behind a server's standard output and error. It reads
// the few lines that matter to us and passes everything on.
type output struct {
	started chan struct{} // closed when the server says that it runs

	mu       sync.Mutex
	to       io.Writer // nil: nowhere
	partial  []byte    // a line not yet ended
	last     []string
	bound    string
	announce bool
}

func newOutput(to io.Writer) *output {
	return &output{started: make(chan struct{}), to: to}
}

// Write never fails: a log that cannot be written must not stop the server,
// which would block on its pipe.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.to != nil {
		_, _ = o.to.Write(p) // see above
	}
	o.partial = append(o.partial, p...)
	for {
		line, rest, ended := bytes.Cut(o.partial, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		o.read(string(line))
		o.partial = rest
	}
}

// read takes note of one line.
func (o *output) read(line string) {
	if o.last = append(o.last, line); len(o.last) > tailLines {
		o.last = o.last[1:]
	}
	if m := listenerLine.FindStringSubmatch(line); m != nil {
		o.bound = m[1]
	}
	if strings.Contains(line, startedMark) && !o.announce {
		o.announce = true
		close(o.started)
	}
}

// address is where the server says it listens.
func (o *output) address() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bound
}

// tail is the last lines printed.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(append(o.last[:len(o.last):len(o.last)], string(o.partial)), "\n")
}

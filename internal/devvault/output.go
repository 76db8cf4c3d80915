package devvault

import (
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/atrest/atrest/internal/child"
)

// listenerLine is how each of the servers prints its listener at the start.
var listenerLine = regexp.MustCompile(`Listener 1: tcp \(addr: "([^"]+)"`)

// startedMark ends the line by which a server says that it runs: "==> Vault
// server started!", with OpenBao's name in its place for bao.
const startedMark = " server started!"

// output is the writer behind a server's standard output and error. It reads
// the few lines that matter to us and passes everything on.
type output struct {
	child.Output
	started chan struct{} // closed when the server says that it runs

	mu       sync.Mutex
	bound    string
	announce bool
}

func newOutput(to io.Writer) *output {
	o := &output{started: make(chan struct{})}
	o.To, o.Line = to, o.read
	return o
}

// read takes note of one line.
func (o *output) read(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
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

package vaultserver

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"

	"github.com/atrest/atrest/internal/child"
)

// startedMark ends the line by which a server says that it runs: "==> Vault server
// started!", with OpenBao's name in its place for bao.
const startedMark = " server started!"

// logLine is how Vault's logger (hclog) begins a line: time, level, and spaces up to a
// column.
var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\S+ \[(TRACE|DEBUG|INFO|WARN|ERROR)\] *(.*)$`)

// levelTrace is below those of slog, by as much as they are apart.
const levelTrace = slog.LevelDebug - 4

var levels = map[string]slog.Level{
	"TRACE": levelTrace, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn, "ERROR": slog.LevelError,
}

// output is the writer behind a process's standard output and error.
type output struct {
	child.Output
	started chan struct{} // closed when the server says that it runs
	once    sync.Once
	log     *slog.Logger
	redact  *strings.Replacer
}

func newOutput(log *slog.Logger, redact *strings.Replacer) *output {
	o := &output{started: make(chan struct{}), log: log.With("component", "vault"), redact: redact}
	o.Line = o.forward
	return o
}

// forward passes one line on to the log. What is not of Vault's logger is the banner of
// the start, or what the Go runtime prints of a crash.
func (o *output) forward(line string) {
	if strings.HasPrefix(line, "==> ") && strings.Contains(line, startedMark) {
		o.once.Do(func() { close(o.started) })
	}
	line = o.redact.Replace(strings.TrimRight(line, "\r"))
	if m := logLine.FindStringSubmatch(line); m != nil {
		o.log.Log(context.Background(), levels[m[1]], m[2])
	} else if line != "" {
		o.log.Info(line)
	}
}

// lastLines is the end of what was printed, for an error.
func (o *output) lastLines() string { return strings.TrimSpace(o.redact.Replace(o.Tail())) }

// newRedacter replaces what must not be seen. Vault's own messages leave the password of
// the database out; this is for those of its driver that we do not know.
func newRedacter(s Storage) *strings.Replacer {
	var pairs []string
	for _, secret := range s.secrets() {
		pairs = append(pairs, secret, "[redacted]")
	}
	return strings.NewReplacer(pairs...)
}

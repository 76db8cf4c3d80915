package faultproxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A Proxy passes TCP connections on to a server, and makes faults. Its methods
// may be called concurrently.
type Proxy struct {
	target   string
	listener *net.TCPListener
	setting  atomic.Pointer[setting]
	running  sync.WaitGroup // the accept loop and the connections

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// A setting is a fault from one Set to the next.
type setting struct {
	fault    Fault
	replaced chan struct{} // closed by the next Set
	strikes  atomic.Int64
}

// strike counts a strike and reports whether there is to be one.
func (s *setting) strike() bool {
	if s.fault.once {
		return s.strikes.CompareAndSwap(0, 1)
	}
	s.strikes.Add(1)
	return true
}

// New starts a proxy on a free port of 127.0.0.1 in front of the server at
// target, host:port. It ends with the test, and so do its connections; no
// goroutine is left then.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("faultproxy: %v", err)
	}
	p := &Proxy{target: target, listener: listener.(*net.TCPListener), conns: map[*conn]struct{}{}}
	p.setting.Store(newSetting(Fault{}))
	p.running.Go(func() { p.accept(t) })
	t.Cleanup(p.close)
	return p
}

// Addr returns the host:port that clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set replaces the fault, for new and for existing connections, and begins to
// count bytes and strikes anew. What a latency or a drip is holding back goes on
// at once, under the new fault. What a fault has already done to a connection
// stays done.
func (p *Proxy) Set(f Fault) {
	close(p.setting.Swap(newSetting(f)).replaced)
}

// Clear makes the proxy transparent again. It is Set of the zero Fault.
func (p *Proxy) Clear() { p.Set(Fault{}) }

// Strikes returns how often the fault has been made since it was set: the
// connections that were struck or refused, or the chunks that were delayed.
func (p *Proxy) Strikes() int { return int(p.setting.Load().strikes.Load()) }

// Connections returns how many connections clients have open: those that a
// client has made and neither closed nor had reset. One to which the proxy or
// the server has sent a FIN is open until the client closes it as well. What a
// client closes while a latency or a drip holds back its bytes counts until
// these have passed, so Clear before looking for leaks.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.conns {
		if !c.left.Load() {
			n++
		}
	}
	return n
}

// CloseAll resets all connections, on both sides. New ones can be made.
func (p *Proxy) CloseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset()
	}
}

func newSetting(f Fault) *setting { return &setting{fault: f, replaced: make(chan struct{})} }

func (p *Proxy) accept(t testing.TB) {
	for {
		client, err := p.listener.AcceptTCP()
		if err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.closed {
				t.Errorf("faultproxy: %v", err)
			}
			return
		}
		if s := p.setting.Load(); s.fault.kind == refuse && s.strike() {
			abort(client)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		c := &conn{proxy: p, client: client, cancel: cancel}
		if !p.add(c) {
			c.reset()
			return
		}
		p.running.Go(func() {
			defer p.remove(c)
			c.serve(ctx)
		})
	}
}

// add reports false if the proxy has been closed.
func (p *Proxy) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

func (p *Proxy) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close() // nothing to lose: it only ends Accept
	p.CloseAll()
	p.running.Wait()
}

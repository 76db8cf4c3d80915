package main

import (
	"net"
	"net/url"
	"sync"
	"time"
)

// A delayProxy passes TCP connections on to a server as a network of some length
// does: what is sent arrives later, each byte by half of the delay in either
// direction, but no fewer bytes are on their way at a time.
type delayProxy struct {
	listener net.Listener
	target   string
	oneWay   time.Duration
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// newDelayProxy starts a proxy on a free port of 127.0.0.1.
func newDelayProxy(target string, delay time.Duration) (*delayProxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &delayProxy{listener: listener, target: target, oneWay: delay / 2, conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *delayProxy) addr() string { return p.listener.Addr().String() }

// close ends all connections, and returns when nothing of it is left.
func (p *delayProxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

func (p *delayProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		if !p.keep(client) {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// keep has close close a connection, and reports whether it is not too late.
func (p *delayProxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *delayProxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// serve passes on one connection. When either side ends it, so does the other,
// once what was on its way has arrived.
func (p *delayProxy) serve(client net.Conn) {
	defer p.drop(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client) })
	both.Go(func() { p.pass(client, server) })
	both.Wait()
}

// A parcel is on its way until it is due.
type parcel struct {
	data []byte
	due  time.Time
}

// pass carries one direction.
func (p *delayProxy) pass(to, from net.Conn) {
	road := make(chan parcel, 1024)
	var arrived sync.WaitGroup
	arrived.Go(func() {
		broken := false
		for parcel := range road {
			time.Sleep(time.Until(parcel.due))
			if !broken {
				_, err := to.Write(parcel.data)
				broken = err != nil
			}
		}
		to.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			road <- parcel{append([]byte(nil), buf[:n]...), time.Now().Add(p.oneWay)}
		}
		if err != nil {
			break
		}
	}
	close(road)
	arrived.Wait()
}

// hostOf is the host and port of a URL.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

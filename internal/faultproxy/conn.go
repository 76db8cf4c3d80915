package faultproxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// A conn is a client's connection and the one to the server that belongs to it.
type conn struct {
	proxy  *Proxy
	client *net.TCPConn
	cancel context.CancelFunc // ends dialling and waiting
	left   atomic.Bool        // the client has closed it, or it was reset

	mu     sync.Mutex
	server *net.TCPConn // nil until dialled
	ended  bool
}

// serve connects to the server and passes bytes on until both directions have
// ended or the connection is reset.
func (c *conn) serve(ctx context.Context) {
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", c.proxy.target)
	if err != nil {
		c.reset()
		return
	}
	if !c.attach(server.(*net.TCPConn)) {
		return
	}
	up := &pipe{conn: c, direction: Up, src: c.client, dst: c.server}
	down := &pipe{conn: c, direction: Down, src: c.server, dst: c.client}
	up.opposite, down.opposite = down, up
	var both sync.WaitGroup
	both.Go(func() {
		up.run(ctx)
		c.left.Store(true)
	})
	both.Go(func() { down.run(ctx) })
	both.Wait()
	c.close()
}

// attach reports false, and resets the server's side, if the connection was
// reset while it was being made.
func (c *conn) attach(server *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		abort(server)
		return false
	}
	c.server = server
	return true
}

// reset ends the connection with RST on both sides, whatever goes on in it.
func (c *conn) reset() { c.end(abort) }

// close ends a connection both of whose directions have ended.
func (c *conn) close() { c.end(func(side *net.TCPConn) { side.Close() }) }

func (c *conn) end(end func(*net.TCPConn)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	c.left.Store(true)
	c.cancel()
	end(c.client)
	if c.server != nil {
		end(c.server)
	}
}

// abort makes the kernel send RST in place of FIN, and drop what it has not
// sent yet (SO_LINGER with a time of zero, socket(7)). Errors mean that the
// other side was first.
func abort(side *net.TCPConn) {
	side.SetLinger(0)
	side.Close()
}

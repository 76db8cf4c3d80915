package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atrest/atrest/internal/faultproxy"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A peer is a server at the far end of the proxy. For each connection it
// answers with what it is sent, and tells what that was and how it ended.
type peer struct {
	addr  string
	ended chan received
}

type received struct {
	bytes []byte
	err   error // nil for FIN
}

// newPeer starts a peer, and a proxy in front of it. Answer is called for each
// piece that comes; nil echoes it.
func newPeer(t *testing.T, answer func(c *net.TCPConn, piece []byte)) (*peer, *faultproxy.Proxy) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		answer = func(c *net.TCPConn, piece []byte) { c.Write(piece) } // a failure shows in what the client gets
	}
	p := &peer{addr: listener.Addr().String(), ended: make(chan received, 1000)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.ended <- receive(c.(*net.TCPConn), answer) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait() // the proxy, which is closed before, ends the connections
	})
	return p, faultproxy.New(t, p.addr)
}

func receive(c *net.TCPConn, answer func(c *net.TCPConn, piece []byte)) (r received) {
	defer c.Close()
	piece := make([]byte, 4096)
	for {
		n, err := c.Read(piece)
		r.bytes = append(r.bytes, piece[:n]...)
		if n > 0 {
			answer(c, piece[:n])
		}
		if err == io.EOF {
			return r
		} else if err != nil {
			r.err = err
			return r
		}
	}
}

// next returns what the next connection to end had received.
func (p *peer) next(t *testing.T) received {
	t.Helper()
	select {
	case r := <-p.ended:
		return r
	case <-time.After(5 * time.Second):
		t.Fatal("the connection to the server stays open")
		panic("unreachable")
	}
}

// newGate returns what a peer waits for, and what opens it. A test opens it also
// when it fails, or the peer would never end.
func newGate() (opened <-chan struct{}, open func()) {
	gate := make(chan struct{})
	return gate, sync.OnceFunc(func() { close(gate) })
}

// dial connects through the proxy. Nothing on the connection takes longer than
// five seconds.
func dial(t *testing.T, proxy *faultproxy.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func send(t *testing.T, c *net.TCPConn, piece []byte) {
	t.Helper()
	if _, err := c.Write(piece); err != nil {
		t.Fatal(err)
	}
}

// expect wants exactly these bytes to arrive, and the connection to go on.
func expect(t *testing.T, c *net.TCPConn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("received %q of %q, %v", got[:n], want, err)
	}
}

// roundTrip wants an echo.
func roundTrip(t *testing.T, c *net.TCPConn, piece string) {
	t.Helper()
	send(t, c, []byte(piece))
	expect(t, c, []byte(piece))
}

// expectEnd wants the connection to end with FIN, without another byte.
func expectEnd(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v; want EOF", n, err)
	}
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

func expectReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !isReset(err) {
		t.Fatalf("read %d bytes, %v; want a reset", n, err)
	}
}

// expectRefusal wants a new connection to be reset: while it is made or after,
// as the RST comes right behind the handshake.
func expectRefusal(t *testing.T, proxy *faultproxy.Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", proxy.Addr())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !isReset(err) {
		t.Fatalf("got %v, want a reset", err)
	}
}

// expectSilence wants nothing to arrive for a while, and the connection to stay
// open.
func expectSilence(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("read %d bytes, %v; want nothing", n, err)
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
}

func wantStrikes(t *testing.T, proxy *faultproxy.Proxy, want int) {
	t.Helper()
	if n := proxy.Strikes(); n != want {
		t.Errorf("%d strikes, want %d", n, want)
	}
}

// wantConnections waits until so many connections are open.
func wantConnections(t *testing.T, proxy *faultproxy.Proxy, want int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); proxy.Connections() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are open, want %d", proxy.Connections(), want)
		}
	}
}

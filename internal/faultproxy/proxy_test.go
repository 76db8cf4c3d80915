package faultproxy_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	fp "github.com/atrest/atrest/internal/faultproxy"
	"go.uber.org/goleak"
)

// TestTransparent: without a fault, bytes pass whole, and each direction ends
// by itself.
func TestTransparent(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	c := dial(t, proxy)
	content := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(content)
	var sending sync.WaitGroup
	sending.Go(func() {
		c.Write(content)
		c.CloseWrite()
	})
	got, err := io.ReadAll(c)
	sending.Wait()
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	if got := peer.next(t); !bytes.Equal(got.bytes, content) || got.err != nil {
		t.Errorf("the server got %d bytes, %v", len(got.bytes), got.err)
	}
	wantStrikes(t, proxy, 0)
	wantConnections(t, proxy, 0)
}

// TestResetsPass: what is a reset on one side is one on the other.
func TestResetsPass(t *testing.T) {
	peer, proxy := newPeer(t, func(c *net.TCPConn, piece []byte) {
		if string(piece) == "reset" {
			c.SetLinger(0)
			c.Close()
			return
		}
		c.Write(piece)
	})
	c := dial(t, proxy)
	send(t, c, []byte("reset"))
	expectReset(t, c)
	peer.next(t)

	c = dial(t, proxy)
	roundTrip(t, c, "hello")
	c.SetLinger(0)
	c.Close()
	if got := peer.next(t); !isReset(got.err) {
		t.Errorf("the server got %v, want a reset", got.err)
	}
	wantConnections(t, proxy, 0)
}

func TestServerGone(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	proxy := fp.New(t, listener.Addr().String())
	expectRefusal(t, proxy)
	wantConnections(t, proxy, 0)
}

func TestConnections(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	var all []*net.TCPConn
	for i := range 5 {
		c := dial(t, proxy)
		roundTrip(t, c, "hello")
		all = append(all, c)
		wantConnections(t, proxy, i+1)
	}
	all[0].Close()
	wantConnections(t, proxy, 4)
	peer.next(t)
	proxy.CloseAll()
	wantConnections(t, proxy, 0)
	for _, c := range all[1:] {
		expectReset(t, c)
		if got := peer.next(t); string(got.bytes) != "hello" || !isReset(got.err) {
			t.Errorf("the server got %q, %v", got.bytes, got.err)
		}
	}
	roundTrip(t, dial(t, proxy), "again")
}

// TestClientLeaves: a connection that the client has closed is none of its any
// more, even if the server is too busy to notice.
func TestClientLeaves(t *testing.T) {
	released, release := newGate()
	defer release()
	peer, proxy := newPeer(t, func(*net.TCPConn, []byte) { <-released })
	c := dial(t, proxy)
	send(t, c, []byte("request"))
	wantConnections(t, proxy, 1)
	c.Close()
	wantConnections(t, proxy, 0)
	release()
	if got := peer.next(t); string(got.bytes) != "request" || got.err != nil {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
}

// TestLeavesNothing ends a proxy in the midst of each fault.
func TestLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, f := range []fp.Fault{
		{}, fp.Refuse(),
		fp.Reset(fp.Up, 3), fp.Cut(fp.Down, 3), fp.HalfClose(fp.Up, 3), fp.HalfClose(fp.Down, 3),
		fp.Blackhole(fp.Up, 3), fp.Blackhole(fp.Down, 3),
		fp.Latency(fp.Up, time.Hour), fp.Latency(fp.Down, time.Hour),
		fp.Drip(fp.Up, 1, time.Hour), fp.Drip(fp.Down, 1, time.Hour),
	} {
		t.Run(f.String(), func(t *testing.T) {
			_, proxy := newPeer(t, nil)
			proxy.Set(f)
			for range 3 {
				if c, err := net.Dial("tcp", proxy.Addr()); err == nil { // unless it is refused
					t.Cleanup(func() { c.Close() })
					c.Write([]byte("hello"))
				}
			}
			if (f != fp.Fault{}) {
				for end := time.Now().Add(5 * time.Second); proxy.Strikes() < 3; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d strikes, want 3", proxy.Strikes())
					}
				}
			}
		})
		if err := goleak.Find(before); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
}

// TestHammer changes the fault under many connections, for the race detector
// and for whatever hangs. A connection without a fault must be sound at its end.
func TestHammer(t *testing.T) {
	_, proxy := newPeer(t, nil)
	faults := []fp.Fault{
		{}, fp.Refuse(), fp.Once(fp.Reset(fp.Down, 10)), fp.Reset(fp.Up, 1000), fp.Cut(fp.Up, 5000), fp.Cut(fp.Down, 100),
		fp.HalfClose(fp.Up, 200), fp.HalfClose(fp.Down, 200), fp.Latency(fp.Up, time.Millisecond), fp.Drip(fp.Down, 100, time.Millisecond),
		fp.Blackhole(fp.Up, 300), fp.Blackhole(fp.Down, 300),
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					exchange(proxy)
				}
			}
		})
	}
	for i := range 150 {
		proxy.Set(faults[i%len(faults)])
		time.Sleep(5 * time.Millisecond)
		if i%40 == 39 {
			proxy.CloseAll()
		}
	}
	proxy.Clear()
	close(stop)
	clients.Wait()
	wantConnections(t, proxy, 0)
	roundTrip(t, dial(t, proxy), "sound")
}

// exchange sends and receives what the fault of the moment lets it.
func exchange(proxy *fp.Proxy) {
	c, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(50 * time.Millisecond))
	c.Write(make([]byte, 10000))
	io.ReadFull(c, make([]byte, 10000))
}

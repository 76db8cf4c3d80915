package faultproxy_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	fp "github.com/atrest/atrest/internal/faultproxy"
)

func TestRefuse(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	existing := dial(t, proxy)
	roundTrip(t, existing, "before")
	proxy.Set(fp.Refuse())
	for range 3 {
		expectRefusal(t, proxy)
	}
	wantStrikes(t, proxy, 3)
	roundTrip(t, existing, "meanwhile")
	existing.Close()
	if got := peer.next(t); string(got.bytes) != "beforemeanwhile" || got.err != nil {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
	proxy.Set(fp.Once(fp.Refuse()))
	expectRefusal(t, proxy)
	roundTrip(t, dial(t, proxy), "once")
	proxy.Clear()
	roundTrip(t, dial(t, proxy), "after")
}

func TestResetUp(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	proxy.Set(fp.Reset(fp.Up, 5))
	c := dial(t, proxy)
	roundTrip(t, c, "12345")
	wantStrikes(t, proxy, 0)
	send(t, c, []byte("6"))
	expectReset(t, c)
	if got := peer.next(t); string(got.bytes) != "12345" || !isReset(got.err) {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
	wantStrikes(t, proxy, 1)
	wantConnections(t, proxy, 0)
}

// TestResetDown at 0 is the answer that is lost: the server has been asked.
func TestResetDown(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	proxy.Set(fp.Reset(fp.Down, 0))
	c := dial(t, proxy)
	send(t, c, []byte("request"))
	expectReset(t, c)
	if got := peer.next(t); string(got.bytes) != "request" || !isReset(got.err) {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}

	proxy.Set(fp.Reset(fp.Down, 3))
	c = dial(t, proxy)
	send(t, c, []byte("req"))
	expect(t, c, []byte("req"))
	send(t, c, []byte("uest"))
	expectReset(t, c)
	if got := peer.next(t); string(got.bytes) != "request" || !isReset(got.err) {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
}

// TestCut also in the midst of a large stream, and of one piece.
func TestCut(t *testing.T) {
	for name, n := range map[string]int{"nothing": 0, "a piece": 5, "large": 3<<20 + 7} {
		t.Run(name, func(t *testing.T) {
			content := bytes.Repeat([]byte("0123456789"), (n+100)/5)
			t.Run("up", func(t *testing.T) {
				peer, proxy := newPeer(t, func(*net.TCPConn, []byte) {})
				proxy.Set(fp.Cut(fp.Up, int64(n)))
				c := dial(t, proxy)
				send(t, c, content) // all of it: a FIN stops nobody from writing
				expectEnd(t, c)
				if got := peer.next(t); !bytes.Equal(got.bytes, content[:n]) || got.err != nil {
					t.Errorf("the server got %d bytes, %v; want %d", len(got.bytes), got.err, n)
				}
				wantStrikes(t, proxy, 1)
			})
			t.Run("down", func(t *testing.T) {
				peer, proxy := newPeer(t, func(c *net.TCPConn, _ []byte) { c.Write(content) })
				proxy.Set(fp.Cut(fp.Down, int64(n)))
				c := dial(t, proxy)
				send(t, c, []byte("request"))
				expect(t, c, content[:n])
				expectEnd(t, c)
				if got := peer.next(t); string(got.bytes) != "request" || got.err != nil {
					t.Errorf("the server got %q, %v", got.bytes, got.err)
				}
				wantConnections(t, proxy, 1) // the client has not closed it
				c.Close()
				wantConnections(t, proxy, 0)
			})
		})
	}
}

// TestCutBlocked: a cut frees a direction that is stuck, as its receiver does
// not read.
func TestCutBlocked(t *testing.T) {
	stuck, answer := newGate()
	defer answer()
	released, release := newGate()
	defer release()
	peer, proxy := newPeer(t, func(c *net.TCPConn, _ []byte) {
		<-stuck
		c.Write([]byte("answer"))
		<-released
	})
	c := dial(t, proxy)
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	sent, err := c.Write(make([]byte, 64<<20))
	if err == nil {
		t.Fatal("everything was taken, although the server does not read")
	}
	c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	proxy.Set(fp.Cut(fp.Down, 0))
	answer()
	expectEnd(t, c)
	send(t, c, make([]byte, 64<<20))
	release()
	if got := peer.next(t); len(got.bytes) == 0 || len(got.bytes) >= sent || got.err != nil {
		t.Errorf("the server got %d bytes of %d, %v", len(got.bytes), sent, got.err)
	}
	wantStrikes(t, proxy, 1)
}

func TestHalfCloseUp(t *testing.T) {
	released, release := newGate()
	defer release()
	peer, proxy := newPeer(t, func(c *net.TCPConn, piece []byte) {
		<-released
		c.Write(piece)
	})
	proxy.Set(fp.HalfClose(fp.Up, 3))
	c := dial(t, proxy)
	send(t, c, []byte("123456"))
	send(t, c, []byte("789")) // is not refused
	release()
	expect(t, c, []byte("123")) // the answer, from a server that has had FIN
	expectEnd(t, c)             // its own
	if got := peer.next(t); string(got.bytes) != "123" || got.err != nil {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
	wantStrikes(t, proxy, 1)
	wantConnections(t, proxy, 1)
	c.Close()
	wantConnections(t, proxy, 0)
}

func TestHalfCloseDown(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	proxy.Set(fp.HalfClose(fp.Down, 3))
	c := dial(t, proxy)
	send(t, c, []byte("123456"))
	expect(t, c, []byte("123"))
	expectEnd(t, c)
	send(t, c, []byte("789"))
	c.CloseWrite()
	if got := peer.next(t); string(got.bytes) != "123456789" || got.err != nil {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
	wantConnections(t, proxy, 0)
}

func TestLatency(t *testing.T) {
	for _, d := range []fp.Direction{fp.Up, fp.Down} {
		_, proxy := newPeer(t, nil)
		c := dial(t, proxy)
		proxy.Set(fp.Latency(d, 50*time.Millisecond))
		began := time.Now()
		for range 3 {
			roundTrip(t, c, "ping")
		}
		if took := time.Since(began); took < 150*time.Millisecond || took > 2*time.Second {
			t.Errorf("%v: three round trips took %v", d, took)
		}
		wantStrikes(t, proxy, 3)

		// What is held back goes on when the fault ends.
		proxy.Set(fp.Latency(d, time.Hour))
		send(t, c, []byte("late"))
		expectSilence(t, c)
		proxy.Clear()
		expect(t, c, []byte("late"))
	}
}

func TestDrip(t *testing.T) {
	for _, d := range []fp.Direction{fp.Up, fp.Down} {
		_, proxy := newPeer(t, nil)
		proxy.Set(fp.Drip(d, 3, 20*time.Millisecond))
		c := dial(t, proxy)
		began := time.Now()
		roundTrip(t, c, "1234567890") // and a pause after each three but the last
		if took := time.Since(began); took < 60*time.Millisecond || took > 2*time.Second {
			t.Errorf("%v: took %v", d, took)
		}
		wantStrikes(t, proxy, 4)

		proxy.Set(fp.Drip(d, 0, time.Hour))
		send(t, c, []byte("late"))
		expect(t, c, []byte("l"))
		expectSilence(t, c)
		proxy.Clear()
		expect(t, c, []byte("ate"))
	}
}

func TestBlackholeUp(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	proxy.Set(fp.Blackhole(fp.Up, 3))
	c := dial(t, proxy)
	send(t, c, []byte("123456"))
	expect(t, c, []byte("123"))
	expectSilence(t, c)
	// It stays what it is, while a new connection is sound.
	proxy.Clear()
	send(t, c, []byte("789"))
	expectSilence(t, c)
	roundTrip(t, dial(t, proxy), "new")
	c.Close()
	if got := peer.next(t); string(got.bytes) != "123" || got.err != nil {
		t.Errorf("the server got %q, %v", got.bytes, got.err)
	}
}

func TestBlackholeDown(t *testing.T) {
	peer, proxy := newPeer(t, nil)
	proxy.Set(fp.Blackhole(fp.Down, 0))
	c := dial(t, proxy)
	send(t, c, bytes.Repeat([]byte("x"), 1<<20)) // nobody's buffer fills
	expectSilence(t, c)
	wantStrikes(t, proxy, 1)
	c.Close()
	if got := peer.next(t); len(got.bytes) != 1<<20 || got.err != nil {
		t.Errorf("the server got %d bytes, %v", len(got.bytes), got.err)
	}
}

// TestCounting: bytes count from Set on, and for each connection.
func TestCounting(t *testing.T) {
	_, proxy := newPeer(t, nil)
	c := dial(t, proxy)
	roundTrip(t, c, "before")
	proxy.Set(fp.Cut(fp.Down, 6))
	roundTrip(t, c, "123456") // exactly so long, so not struck
	roundTrip(t, dial(t, proxy), "123456")
	wantStrikes(t, proxy, 0)
	proxy.Set(fp.Cut(fp.Down, 6))
	roundTrip(t, c, "123")
	send(t, c, []byte("4567"))
	expect(t, c, []byte("456"))
	expectEnd(t, c)
	wantStrikes(t, proxy, 1)
}

func TestOnce(t *testing.T) {
	_, proxy := newPeer(t, nil)
	proxy.Set(fp.Once(fp.Reset(fp.Down, 0)))
	other := dial(t, proxy)
	c := dial(t, proxy)
	send(t, c, []byte("1"))
	expectReset(t, c)
	roundTrip(t, other, "123")
	roundTrip(t, dial(t, proxy), "123")
	wantStrikes(t, proxy, 1)
}

func TestNames(t *testing.T) {
	for want, f := range map[string]fp.Fault{
		"none":                    {},
		"refuse":                  fp.Refuse(),
		"reset up after 1":        fp.Reset(fp.Up, 1),
		"cut down after 2":        fp.Cut(fp.Down, 2),
		"half-close up after 3":   fp.HalfClose(fp.Up, 3),
		"black hole down after 4": fp.Blackhole(fp.Down, 4),
		"latency up 5ms":          fp.Latency(fp.Up, 5*time.Millisecond),
		"drip down 1 every 6ms":   fp.Drip(fp.Down, 0, 6*time.Millisecond),
		"reset down after 0 once": fp.Once(fp.Reset(fp.Down, 0)),
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
}

package faultproxy

import (
	"fmt"
	"time"
)

// A Direction is one of the two ways through a connection.
type Direction int

const (
	// Up is from the client to the server: requests.
	Up Direction = iota
	// Down is from the server to the client: answers.
	Down
)

func (d Direction) String() string {
	if d == Down {
		return "down"
	}
	return "up"
}

// A Fault is what a [Proxy] does wrong. The zero Fault is none. The functions
// that return one say what it does.
type Fault struct {
	kind      kind
	direction Direction
	after     int64         // bytes passed before it strikes
	bytes     int           // of a drip
	pause     time.Duration // of a latency or a drip
	once      bool
}

type kind int

const (
	none kind = iota
	refuse
	reset
	cut
	halfClose
	blackhole
	latency
	drip
)

// Refuse accepts new connections and resets them at once, before anything is
// sent to the server. It does not close the listener, since another process
// could be given the port. Connections that exist go on; [Proxy.CloseAll] ends
// them.
func Refuse() Fault { return Fault{kind: refuse} }

// Reset ends the connection with RST, to the client and to the server, when
// after bytes have passed in the direction and more come. As with any RST, bytes
// that the other side has not read yet may be lost with it.
func Reset(d Direction, after int64) Fault { return Fault{kind: reset, direction: d, after: after} }

// Cut ends both directions with FIN when after bytes have passed in the
// direction and more come. What either side still sends is accepted and
// vanishes, as if it were on its way, until that side closes the connection. So
// what has passed arrives for certain, and who only writes notices nothing.
func Cut(d Direction, after int64) Fault { return Fault{kind: cut, direction: d, after: after} }

// HalfClose ends the direction with FIN when after bytes have passed in it and
// more come. What is still sent in it vanishes. The other direction goes on.
func HalfClose(d Direction, after int64) Fault {
	return Fault{kind: halfClose, direction: d, after: after}
}

// Blackhole lets the bytes of the direction vanish when after bytes have passed
// in it, and the connection stays open. It stays a black hole whatever is set
// later, since a TCP stream has no gaps. The end of a side's sending is passed
// on all the same, so that a client that gives up leaves nothing open.
func Blackhole(d Direction, after int64) Fault {
	return Fault{kind: blackhole, direction: d, after: after}
}

// Latency delays each chunk of the direction, of up to 32 KiB, by that long.
func Latency(d Direction, delay time.Duration) Fault {
	return Fault{kind: latency, direction: d, pause: delay}
}

// Drip passes n bytes of the direction, at least one, and waits, again and
// again.
func Drip(d Direction, n int, every time.Duration) Fault {
	return Fault{kind: drip, direction: d, bytes: max(n, 1), pause: every}
}

// Once makes the fault strike one single time, on whichever connection is the
// first.
func Once(f Fault) Fault {
	f.once = true
	return f
}

// String describes the fault, such as "reset down after 100", for the names of
// tests.
func (f Fault) String() string {
	var s string
	switch f.kind {
	case none:
		return "none"
	case refuse:
		s = "refuse"
	case latency:
		s = fmt.Sprintf("latency %v %v", f.direction, f.pause)
	case drip:
		s = fmt.Sprintf("drip %v %d every %v", f.direction, f.bytes, f.pause)
	default:
		name := map[kind]string{reset: "reset", cut: "cut", halfClose: "half-close", blackhole: "black hole"}[f.kind]
		s = fmt.Sprintf("%s %v after %d", name, f.direction, f.after)
	}
	if f.once {
		s += " once"
	}
	return s
}

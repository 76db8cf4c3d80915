package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// chunkSize is how many bytes are read at a time, as io.Copy does.
const chunkSize = 32 << 10

// A pipe is one direction of a connection.
type pipe struct {
	conn      *conn
	opposite  *pipe
	direction Direction
	src, dst  *net.TCPConn

	// swallows is set for good once bytes no longer pass.
	swallows atomic.Bool

	counting *setting // the setting since which passed is counted
	passed   int64
}

// run passes bytes until the source ends. An error on either side, a reset in
// particular, becomes a reset of both.
func (p *pipe) run(ctx context.Context) {
	chunk := make([]byte, chunkSize)
	for {
		n, err := p.src.Read(chunk)
		if failed := p.pass(ctx, chunk[:n]); failed != nil {
			err = failed
		}
		if errors.Is(err, io.EOF) {
			p.dst.CloseWrite() // fails if the other side has gone, which it knows
			return
		}
		if err != nil {
			p.conn.reset()
			return
		}
	}
}

// pass does with a chunk what the fault of the moment demands, which may become
// another one in its midst.
func (p *pipe) pass(ctx context.Context, chunk []byte) error {
	for len(chunk) > 0 && !p.swallows.Load() {
		s := p.conn.proxy.setting.Load()
		if s != p.counting {
			p.counting, p.passed = s, 0
		}
		n, err := p.step(ctx, s, chunk)
		if err != nil && !p.swallows.Load() {
			return err
		}
		chunk = chunk[n:]
	}
	return nil
}

// step passes on some of a chunk, or strikes, and returns how much it passed.
func (p *pipe) step(ctx context.Context, s *setting, chunk []byte) (int, error) {
	f := s.fault
	switch {
	case f.direction != p.direction || f.kind == none || f.kind == refuse:
		return p.dst.Write(chunk)
	case f.kind != latency && f.kind != drip && p.passed < f.after:
		n, err := p.dst.Write(chunk[:min(int64(len(chunk)), f.after-p.passed)])
		p.passed += int64(n)
		return n, err
	case !s.strike(): // it was to strike once, and has
		return p.dst.Write(chunk)
	case f.kind == latency:
		if replaced, err := p.wait(ctx, s); replaced || err != nil {
			return 0, err
		}
		return p.dst.Write(chunk)
	case f.kind == drip:
		n, err := p.dst.Write(chunk[:min(len(chunk), f.bytes)])
		if err == nil {
			_, err = p.wait(ctx, s)
		}
		return n, err
	}
	p.strike(f.kind)
	return 0, nil
}

// strike makes one of the faults that end something.
func (p *pipe) strike(k kind) {
	switch k {
	case reset:
		p.swallows.Store(true)
		p.conn.reset()
	case cut:
		p.finish()
		p.opposite.finish()
	case halfClose:
		p.finish()
	case blackhole:
		p.swallows.Store(true)
	}
}

// finish ends the direction with FIN. What the source still sends is read and
// dropped: unread, it would make the kernel send RST at the end. A Write of
// another goroutine fails, which then means nothing.
func (p *pipe) finish() {
	p.swallows.Store(true)
	p.dst.CloseWrite()
}

// wait waits as long as the fault says, or until it is replaced, or the
// connection is reset.
func (p *pipe) wait(ctx context.Context, s *setting) (replaced bool, err error) {
	timer := time.NewTimer(s.fault.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false, nil
	case <-s.replaced:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

package postgres

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A moment is when a cutter ends a connection.
type moment int

const (
	unsent   moment = iota // the statement never arrives
	sent                   // the server has it, and has not answered yet
	answered               // the server has answered, and the answer never arrives
	silent                 // nor does the end of the connection
)

// A cutter ends the connection, a real one, on which a text is sent first, at a
// moment. After that the pool can't ask the server to cancel anything.
type cutter struct {
	text string
	when moment
	cuts atomic.Int32
}

// intoPool puts the cutter between a pool and the server.
func (c *cutter) intoPool(cfg *pgxpool.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &cutConn{Conn: conn, cutter: c}, err
	}
}

type cutConn struct {
	net.Conn
	*cutter
	cut atomic.Bool // with the next answer
}

// cancelRequest is the code of that message (PostgreSQL, "Message Formats").
var cancelRequest = []byte{0x04, 0xd2, 0x16, 0x2e}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.cuts.Load() > 0 && len(p) == 16 && bytes.Equal(p[4:8], cancelRequest) {
		return 0, net.ErrClosed
	}
	if !bytes.Contains(p, []byte(c.text)) || !c.cuts.CompareAndSwap(0, 1) {
		return c.Conn.Write(p)
	}
	if c.when == unsent {
		return len(p), c.Conn.Close()
	}
	c.cut.Store(c.when == answered || c.when == silent) // before the answer can be there
	n, err := c.Conn.Write(p)
	if c.when == sent {
		c.Conn.Close() // the test looks at what comes of it
	}
	return n, err
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for c.cut.Load() && c.when == silent && err == nil {
		n, err = c.Conn.Read(p)
	}
	if c.cut.Load() && n > 0 {
		c.Conn.Close() // as above
		return 0, io.EOF
	}
	return n, err
}

package postgres

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// chunkSize is the length of every chunk but the last of the bodies that are
// written. Readers take it from the object.
const chunkSize = 1 << 20

// copyChunksSQL takes rows in the binary format of COPY (PostgreSQL, "COPY", File
// Formats): a signature of 11 bytes, 8 zero bytes, the rows, and -1 in 16 bits. A row
// is the number of its fields in 16 bits, then each as its length in 32 bits and its
// bytes.
const (
	copyChunksSQL = `COPY @schema@.chunks (version, seq, data) FROM STDIN (FORMAT binary)`
	copySignature = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	copyTrailer   = "\xff\xff"

	// copyRowHeader is what stands in a row before the chunk's bytes.
	copyRowHeader = 2 + 4 + 16 + 4 + 4 + 4
)

// A copyRow is a buffer for one row, with room for a whole chunk.
type copyRow []byte

// data is where the chunk goes.
func (r copyRow) data() []byte { return r[copyRowHeader:] }

// finish completes the row for a chunk of n bytes.
func (r copyRow) finish(id contentID, seq int32, n int) copyRow {
	b := binary.BigEndian.AppendUint16(r[:0], 3)
	b = binary.BigEndian.AppendUint32(b, uint32(len(id)))
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, 4)
	b = binary.BigEndian.AppendUint32(b, uint32(seq))
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return b[:copyRowHeader+n]
}

// A copyStream hands rows from the goroutine that makes them to the one that sends them,
// which reads them as one stream of bytes.
type copyStream struct {
	free, full chan copyRow
	stopped    chan struct{}
	stopOnce   sync.Once
	buffers    *sync.Pool
	taken      []*[]byte

	// Of the reading side:
	rest    []byte  // still to be read of what was taken last
	current copyRow // what rest is part of
	ended   bool
}

// errStopped means that the other side has given up. The server gets to see it, and to
// log it, as the reason for a COPY that was broken off.
var errStopped = errors.New("the body could not be read to its end")

func newCopyStream(buffers *sync.Pool) *copyStream {
	c := &copyStream{
		free:    make(chan copyRow, rowsAhead+1),
		full:    make(chan copyRow, rowsAhead+1),
		stopped: make(chan struct{}),
		buffers: buffers,
		rest:    []byte(copySignature),
	}
	for range cap(c.free) {
		buf := buffers.Get().(*[]byte)
		c.taken = append(c.taken, buf)
		c.free <- *buf
	}
	return c
}

// next returns a buffer for a row, as soon as there is one.
func (c *copyStream) next() (copyRow, error) {
	select {
	case row := <-c.free:
		return row, nil
	case <-c.stopped:
		return nil, errStopped
	}
}

// send gives a row to the reading side.
func (c *copyStream) send(row copyRow) error {
	select {
	case c.full <- row:
		return nil
	case <-c.stopped:
		return errStopped
	}
}

// finish says that there are no more rows.
func (c *copyStream) finish() { close(c.full) }

// stop makes both sides give up, whichever it comes from.
func (c *copyStream) stop() { c.stopOnce.Do(func() { close(c.stopped) }) }

// release gives the buffers back. It must not be called if the sending failed, for
// then a goroutine of pgx may still be reading.
func (c *copyStream) release() {
	for _, buf := range c.taken {
		c.buffers.Put(buf)
	}
	c.taken = nil
}

// Read is for the sender.
func (c *copyStream) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.ended {
			return 0, io.EOF
		}
		if err := c.take(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// take waits for the next row, or the end of them.
func (c *copyStream) take() error {
	if c.current != nil {
		c.free <- c.current[:cap(c.current)] // never waits: there is room for all
		c.current = nil
	}
	select {
	case row, ok := <-c.full:
		if !ok {
			c.ended = true
			c.rest = []byte(copyTrailer)
			return nil
		}
		c.current, c.rest = row, row
		return nil
	case <-c.stopped:
		return errStopped
	}
}

package storage

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/atrest/atrest"
)

// lending lends its bytes in pieces, and then returns err.
type lending struct {
	io.Reader // of what it has not lent
	pieces    [][]byte
	err       error
	lent      int
}

func (l *lending) NextChunk(int) ([]byte, func(), error) {
	if len(l.pieces) == 0 {
		return nil, nil, l.err
	}
	p := l.pieces[0]
	l.pieces = l.pieces[1:]
	l.lent++
	return p, func() { l.lent--; clear(p) }, nil
}

var errAny = errors.New("any error")

// TestReadWhole reads bodies of a length that was announced, which are lent or not, whole or
// in part, or end early.
func TestReadWhole(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		body    io.Reader
		want    string
		err     error
		inPlace bool
	}{
		"read":               {body: iotest.OneByteReader(bytes.NewReader([]byte("12345"))), want: "12345"},
		"read, short":        {body: bytes.NewReader([]byte("1234")), err: atrest.ErrTampered},
		"read, empty":        {body: bytes.NewReader(nil), err: atrest.ErrTampered},
		"read, broken":       {body: iotest.ErrReader(broken), err: broken},
		"lent":               {body: &lending{pieces: [][]byte{[]byte("12345")}}, want: "12345", inPlace: true},
		"lent too much":      {body: &lending{pieces: [][]byte{[]byte("123456")}}, err: errAny},
		"lent, short":        {body: &lending{pieces: [][]byte{[]byte("123")}, Reader: bytes.NewReader([]byte("4"))}, err: atrest.ErrTampered},
		"lent, empty":        {body: &lending{err: io.EOF}, err: atrest.ErrTampered},
		"lent, broken":       {body: &lending{err: broken}, err: broken},
		"lent in part":       {body: &lending{pieces: [][]byte{[]byte("123")}, Reader: bytes.NewReader([]byte("45"))}, want: "12345"},
		"lent, then broken":  {body: &lending{pieces: [][]byte{[]byte("123")}, Reader: iotest.ErrReader(broken)}, err: broken},
		"lent, then no more": {body: &lending{pieces: [][]byte{[]byte("123")}, Reader: bytes.NewReader(nil)}, err: atrest.ErrTampered},
	} {
		t.Run(name, func(t *testing.T) {
			got, release, err := readWhole(c.body, 5)
			if c.err != errAny && !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || string(got) != c.want {
				t.Fatalf("%q, %v", got, err)
			}
			l, ok := c.body.(*lending)
			if ok && l.lent > 0 != c.inPlace {
				t.Errorf("%d chunks are lent", l.lent)
			}
			if err != nil {
				return
			}
			release()
			if ok && l.lent > 0 {
				t.Error("a chunk was not given back")
			}
		})
	}
}

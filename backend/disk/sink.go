package disk

import (
	"context"
	"io"
	"os"
	"sync"
)

// inlineLimit is the length of the longest body that is stored in the header
// file. Such an object costs one file and one directory to sync, one with a
// body file two of each. README.md
// has the measurements.
const inlineLimit = 64 << 10

// chunkSize is how much is read, or written, between two looks at ctx.
const chunkSize = 1 << 20

// Buffers hold ciphertext, so there is nothing to wipe.
var (
	inlinePool = sync.Pool{New: func() any { return new([inlineLimit + 1]byte) }}
	chunkPool  = sync.Pool{New: func() any { return new([chunkSize]byte) }}
)

// A sink takes the body of a put: into memory as long as it may become an
// inline one, and then into a body file.
type sink struct {
	ctx   context.Context
	w     *write
	small *[inlineLimit + 1]byte
	file  *bodyFile // nil while the body is in small
	size  int64
	err   error // the first of the sink's own; it does not count on WriteTo to return it
}

func newSink(ctx context.Context, w *write) *sink {
	return &sink{ctx: ctx, w: w, small: inlinePool.Get().(*[inlineLimit + 1]byte)}
}

// release gives the memory back and closes the file if finish did not.
func (k *sink) release() {
	if k.file != nil {
		k.file.close()
	}
	inlinePool.Put(k.small)
	k.small = nil
}

// fill reads the body to its end. io.Copy lets a body with a WriteTo hand out
// its own large chunks, and reads any other through ReadFrom.
func (k *sink) fill(body io.Reader) error {
	_, err := io.Copy(k, body)
	if k.err != nil {
		return k.err
	}
	if err != nil {
		return err
	}
	// A body may notice the end of ctx only by ending early itself.
	return k.ctx.Err()
}

// finish makes the body durable, if it has a file, and completes the record.
func (k *sink) finish() error {
	k.w.rec.size = k.size
	if k.file == nil {
		k.w.rec.inline = true
		return nil
	}
	return k.w.endBody(k.file)
}

// inline returns the body if it has no file.
func (k *sink) inline() []byte {
	if k.file != nil {
		return nil
	}
	return k.small[:k.size]
}

// Write takes the next bytes.
func (k *sink) Write(p []byte) (int, error) {
	if k.err != nil {
		return 0, k.err
	}
	n := 0
	for len(p) > n && k.err == nil {
		chunk := p[n:min(len(p), n+chunkSize)]
		if k.err = k.append(chunk); k.err == nil {
			n += len(chunk)
		}
	}
	return n, k.err
}

func (k *sink) append(p []byte) error {
	if err := k.ctx.Err(); err != nil {
		return err
	}
	if k.file == nil && k.size+int64(len(p)) <= inlineLimit {
		k.size += int64(copy(k.small[k.size:], p))
		return nil
	}
	if err := k.spill(); err != nil {
		return err
	}
	if err := k.file.write(p); err != nil {
		return err
	}
	k.size += int64(len(p))
	return nil
}

// spill makes the body file and moves there what is in memory.
func (k *sink) spill() (err error) {
	if k.file != nil {
		return nil
	}
	if k.file, err = k.w.beginBody(); err != nil || k.size == 0 {
		return err
	}
	return k.file.write(k.small[:k.size])
}

// ReadFrom takes bytes from r up to EOF.
func (k *sink) ReadFrom(r io.Reader) (total int64, err error) {
	for k.file == nil && err == nil {
		// One byte more than fits tells that the body is too long.
		var n int
		n, err = fill(k.ctx, r, k.small[k.size:])
		k.size += int64(n)
		total += int64(n)
		if k.size > inlineLimit {
			if k.err = k.spill(); k.err != nil {
				return total, k.err
			}
		}
	}
	if err == nil {
		var n int64
		n, err = k.readChunks(r)
		total += n
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

func (k *sink) readChunks(r io.Reader) (total int64, err error) {
	buf := chunkPool.Get().(*[chunkSize]byte)
	defer chunkPool.Put(buf)
	for err == nil {
		var n int
		n, err = fill(k.ctx, r, buf[:])
		if n > 0 {
			if _, werr := k.Write(buf[:n]); werr != nil {
				return total, werr
			}
			total += int64(n)
		}
	}
	return total, err
}

// fill reads until p is full or r has an error, which it returns as it is:
// io.ReadFull would call an early EOF io.ErrUnexpectedEOF, and could no longer
// be told from a body that returns that.
func fill(ctx context.Context, r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// A bodyFile is a body in the making.
type bodyFile struct {
	*files
	file    *os.File
	name    string
	written int64 // bytes
	begun   int64 // bytes that the kernel has been asked to begin writing to the disk
}

// writebackStep is how many bytes are handed to the kernel before it is asked
// to begin writing them to the disk, so that the disk works while the next are
// being encrypted and fsync finds little left to do (docs/benchmarks.md).
const writebackStep = 4 << 20

func (b *bodyFile) write(p []byte) error {
	if err := b.files.write(b.file, b.name, p); err != nil {
		return err
	}
	b.written += int64(len(p))
	if n := b.written - b.begun; n >= writebackStep {
		beginWriteback(b.file, b.begun, n)
		b.begun = b.written
	}
	return nil
}

// finish makes the bytes durable and closes the file.
func (b *bodyFile) finish() error {
	defer b.close()
	return b.sync(b.file, b.name)
}

// close may be called again.
func (b *bodyFile) close() { b.file.Close() }

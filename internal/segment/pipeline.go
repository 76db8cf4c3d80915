package segment

import (
	"io"
	"runtime"
	"sync/atomic"
)

// A batch is a run of consecutive segments on their way through a pipeline.
// Segment i of it lies at buf[i*size:], sealed in place, or opened in place or out of
// memory that was lent.
type batch struct {
	buf   []byte
	room  int   // bytes of buf to use at most
	n     int   // bytes of buf in use
	dirty int   // bytes of buf that may hold plaintext
	first int64 // index of the first segment
	last  bool  // whether the final segment of the body is in it
	nonce nonce

	// sealed is what is to be opened, segment by segment as in buf: buf itself, or
	// memory that was lent until release, which then is not nil, is called.
	sealed  []byte
	release func()

	// taken is set by whoever works on the batch: the goroutine started for
	// it, or the consumer if it comes first. A goroutine may come so late that
	// the batch is already on its next round, or in another stream. It then
	// does that round's work, which is why the work is kept here and not in the
	// goroutine.
	taken atomic.Bool
	work  func(*batch)
	done  chan struct{} // receives when a goroutine has finished the work
	err   error
}

func (b *batch) wipe() {
	b.giveBack()
	clear(b.buf[:b.dirty])
	b.dirty, b.n, b.err, b.work = 0, 0, nil, nil
}

// giveBack ends the loan of sealed, if it is one.
func (b *batch) giveBack() {
	b.sealed = nil
	if b.release != nil {
		b.release()
		b.release = nil
	}
}

// A pipeline hands out batches in order while other cores work on the ones that
// follow.
//
// Only the consumer's goroutine reads the source; the others do nothing but
// arithmetic on buffers, never block, and end by themselves. So an abandoned
// pipeline leaks nothing, and cancelling the source cancels everything.
type pipeline struct {
	size int // segment size
	pool *Pool
	// fill reads the next batch. It returns io.EOF with the final batch.
	fill func(*batch) error
	// work seals or opens a batch in place.
	work func(*batch)

	begun   int      // how many batches there were
	queue   []*batch // filled, in order; queue[0] is the oldest
	spare   *batch   // the one that the consumer has finished with
	current *batch   // the one that the consumer holds
	ended   error    // what fill ended with: io.EOF, or an error to deliver after the queue
	failed  error    // sticky: what the consumer was told
}

// next returns the following batch, valid until the next call, or an error
// that all later calls return too: io.EOF at the end.
func (p *pipeline) next() (*batch, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	if p.spare != nil { // nobody has taken it: the source has ended
		p.pool.put(p.spare, p.size)
	}
	p.spare, p.current = p.current, nil
	p.fillQueue()
	if len(p.queue) == 0 {
		return nil, p.fail(p.ended)
	}
	b := p.queue[0]
	p.queue = p.queue[:copy(p.queue, p.queue[1:])]
	p.finish(b)
	p.current = b
	if b.err != nil {
		return nil, p.fail(b.err)
	}
	return b, nil
}

// slack is how many batches are read ahead beyond one for each core, so that no
// core waits while the consumer writes and reads. Measured on two cores
// (docs/benchmarks.md): three take a seventh of the time less than one; a fourth
// gains nothing that counts.
const slack = 3

// fillQueue reads ahead enough batches to keep all cores at work.
func (p *pipeline) fillQueue() {
	depth := runtime.GOMAXPROCS(0) + slack
	for p.ended == nil && len(p.queue) < depth {
		b := p.fillOne()
		if b == nil {
			return
		}
		b.work = p.work
		b.taken.Store(false)
		p.queue = append(p.queue, b)
		// The only batch of a short stream needs no help: the consumer is about
		// to do it. The same holds for the final one if no other waits.
		if len(p.queue) > 1 || p.ended == nil {
			go b.help()
		}
	}
}

// fillOne returns the next batch of the source, or nil if that has failed. A batch
// that is not returned, also because the source panics, is wiped.
func (p *pipeline) fillOne() *batch {
	b := p.spare
	p.spare = nil
	if b == nil {
		b = p.pool.get(p.size)
	}
	b.taken.Store(true) // keeps a late goroutine off while we fill it
	filled := false
	defer func() {
		if !filled {
			b.dirty = len(b.buf) // wherever the source has got to
			p.pool.put(b, p.size)
		}
	}()
	b.room = p.room(b)
	p.begun++
	p.ended = p.fill(b)
	if p.ended != nil && p.ended != io.EOF {
		return nil
	}
	filled = true
	return b
}

// firstBatches is how many batches are of half the size, so that all cores have work
// sooner, and one of a short stream waits less for the other in the end. In three runs,
// in turns, 1 MiB was sealed 1.42 to 1.57 times as fast as by minio/sio so, and opened 1.37 to
// 1.46 times, where it was 1.33 to 1.40 and 1.24 to 1.34 without.
const firstBatches = 8

// room returns how many bytes of b's buffer the next batch may take.
func (p *pipeline) room(b *batch) int {
	if p.begun >= firstBatches {
		return len(b.buf)
	}
	return max(len(b.buf)/p.size/2, 1) * p.size
}

// help does the work of b unless somebody has begun to.
func (b *batch) help() {
	if b.taken.CompareAndSwap(false, true) {
		b.work(b)
		b.done <- struct{}{}
	}
}

// finish makes sure that the work of b is done, by doing it or by waiting.
func (p *pipeline) finish(b *batch) {
	if b.taken.CompareAndSwap(false, true) {
		p.work(b)
		return
	}
	<-b.done
}

func (p *pipeline) fail(err error) error {
	p.failed = err
	p.release()
	return err
}

// release gives all buffers back. Batches that a goroutine works on are waited
// for: microseconds. Those that none has begun are taken from it.
func (p *pipeline) release() {
	for _, b := range p.queue {
		if !b.taken.CompareAndSwap(false, true) {
			<-b.done
		}
		p.pool.put(b, p.size)
	}
	for _, b := range []*batch{p.current, p.spare} {
		if b != nil {
			p.pool.put(b, p.size)
		}
	}
	p.queue, p.current, p.spare = nil, nil, nil
}

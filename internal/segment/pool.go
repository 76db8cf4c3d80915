package segment

import "sync"

// batchSize is about how many bytes one core seals or opens at a time, some 60 µs
// of work. Measured on two cores (docs/benchmarks.md): half of it costs 6 %, since
// handing a batch over costs; twice as much gains 2 % and doubles the memory of a
// stream.
const batchSize = 256 << 10

// segmentsPerBatch returns how many segments a batch holds.
func segmentsPerBatch(segmentSize int) int {
	return max(batchSize/segmentSize, 1)
}

// A Pool keeps batch buffers between streams. It holds no secrets: a buffer is
// wiped before it is put back. A Pool serves one segment size, and gives
// streams of other sizes buffers that it does not keep. The zero Pool keeps
// none. It may be used concurrently.
type Pool struct {
	segmentSize int
	buffers     sync.Pool
}

// NewPool returns a Pool for streams of the segment size given.
func NewPool(segmentSize int) *Pool { return &Pool{segmentSize: segmentSize} }

func (p *Pool) get(segmentSize int) *batch {
	if segmentSize == p.segmentSize {
		if b, ok := p.buffers.Get().(*batch); ok {
			return b
		}
	}
	return &batch{
		buf:  make([]byte, segmentsPerBatch(segmentSize)*segmentSize),
		done: make(chan struct{}, 1),
	}
}

// put takes a batch back. The caller has made sure that nobody works on it.
func (p *Pool) put(b *batch, segmentSize int) {
	b.wipe()
	if segmentSize == p.segmentSize {
		p.buffers.Put(b)
	}
}

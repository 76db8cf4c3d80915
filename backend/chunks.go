package backend

import "io"

// A ChunkReader is an [Object.Body] that can lend the memory in which its bytes
// have arrived, which saves a copy of them. It is optional; package storage uses it
// where it is there.
//
// Read and NextChunk go through the same bytes and may be mixed: what one has
// returned, the other does not return again. Neither is called while the other is in
// progress.
type ChunkReader interface {
	io.Reader

	// NextChunk returns the bytes that Read would return next, at least one and at
	// most n, which is positive. There may be fewer than n of them wherever the memory
	// they are in ends. Errors are those of Read, io.EOF included, and come without
	// bytes.
	//
	// The chunk is lent until release is called: nobody changes it or uses its memory
	// for something else, whatever is read or closed meanwhile, and the borrower does
	// not write to it. Release is not nil if err is nil, is called once, at any time and
	// by any goroutine, and does not wait for a Read, a NextChunk or a Close. A chunk
	// that is never released costs its memory, no more.
	NextChunk(n int) (chunk []byte, release func(), err error)
}

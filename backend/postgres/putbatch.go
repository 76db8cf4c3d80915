package postgres

import (
	"bytes"
	"context"
	"sync"

	"github.com/atrest/atrest/backend"
)

var _ backend.PutBatcher = (*Store)(nil)

// PutBatch implements [backend.PutBatcher], with a statement for each 128 puts of
// up to 16 KiB, one after the other. What is longer is put by itself, as Put does it, and so is all
// that the server refuses together.
func (s *Store) PutBatch(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
	b := &putBatch{s: s, puts: puts, versions: make([]backend.Version, len(puts)), errs: make([]error, len(puts))}
	var shared [2][]int // without a condition, and only if absent
	for i, p := range puts {
		switch {
		case len(p.Body) > groupBody:
			b.others.Go(func() { b.long(ctx, i) })
		case p.IfAbsent:
			shared[1] = append(shared[1], i)
		default:
			shared[0] = append(shared[0], i)
		}
	}
	for i, absent := range []bool{false, true} {
		for rest := shared[i]; len(rest) > 0; {
			n := min(len(rest), groupSize)
			b.together(ctx, rest[:n], backend.Condition{IfAbsent: absent})
			rest = rest[n:]
		}
	}
	b.others.Wait()
	return b.versions, b.errs
}

// A putBatch is one call of PutBatch.
type putBatch struct {
	s        *Store
	puts     []backend.SmallPut
	versions []backend.Version
	errs     []error
	others   sync.WaitGroup // what goes on beside; the pool bounds how much at a time
}

// long puts one that is too long to be put with others.
func (b *putBatch) long(ctx context.Context, i int) {
	p := b.puts[i]
	b.versions[i], b.errs[i] = b.s.Put(ctx, p.Name, p.Header, bytes.NewReader(p.Body), backend.Condition{IfAbsent: p.IfAbsent})
}

// together puts those at these places in one statement.
func (b *putBatch) together(ctx context.Context, at []int, cond backend.Condition) {
	objects, places := make([]object, 0, len(at)), make([]int, 0, len(at))
	for _, i := range at {
		p := b.puts[i]
		escaped, err := checkChange(ctx, p.Name, p.Header, cond)
		if err != nil {
			b.end(i, "", err)
			continue
		}
		o := object{name: escaped, id: newContentID(), header: notNull(p.Header), body: notNull(p.Body), size: int64(len(p.Body))}
		objects, places = append(objects, o), append(places, i)
	}
	if len(objects) == 0 {
		return
	}
	for j, err := range b.s.putTogether(ctx, objects, cond) {
		i, o := places[j], objects[j]
		if err == nil {
			b.end(i, versionOf(o.id), nil)
			continue
		}
		// All of them, as a rule, and each may take its time.
		b.others.Go(func() {
			if err == errAlone {
				err = b.s.putAlone(ctx, o, cond)
			}
			b.end(i, versionOf(o.id), b.s.settle(ctx, o.name, o.id, describe(ctx, err)))
		})
	}
}

// end is what becomes of the put at a place.
func (b *putBatch) end(i int, version backend.Version, err error) {
	if annotate(&err, "put", b.puts[i].Name); err != nil {
		version = ""
	}
	b.versions[i], b.errs[i] = version, err
}

package storage

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

const (
	// chunksAtOnce is in how many parts of those that are put at a time PutMany works at least:
	// while one is with Vault, which takes a request on one core, others are with the backend
	// or being encrypted.
	chunksAtOnce = 4

	// gatherTime is how long a secret waits for others that come with it, where the
	// source is slower than Vault.
	gatherTime = time.Millisecond

	// batchBody is the longest body, in bytes, that goes to a [backend.PutBatcher].
	batchBody = 16 << 10
)

// A Secret is a small object, whole.
type Secret struct {
	Name    string
	Content []byte
	// Options, if not nil, are for the put of this one.
	Options *PutOptions
}

// PutMany puts secrets, many at a time, each as [Store.PutBytes] does, and yields what became of
// each in the order in which they came: its Info, or its name and an error. One that fails
// does not keep the others from being put. An error that is not about one object, such as a
// sealed Vault or a storage engine that can't be reached or refuses (ErrPermission), ends
// it, and comes with an empty Info; so does one that secrets yields, and the last of
// 100 errors in a row that don't say that they are about one object.
//
// What was put stays when the loop ends early, and so may what was under way. What has been
// yielded without an error is as durable as the backend makes it. secrets is read ahead
// of the loop, and a secret's Content must not change until its Info was yielded. Two
// of one name may be put in either order. The end of ctx ends all but a wait of secrets itself,
// which has to heed ctx on its own, and is called in another goroutine.
func (s *Store) PutMany(ctx context.Context, secrets iter.Seq2[Secret, error], opts *ManyOptions) iter.Seq2[Info, error] {
	atOnce := opts.concurrency()
	size := max(atOnce/chunksAtOnce, 1)
	return many("put many", ordered(ctx, gathered(secrets, size), atOnce/size, s.putChunk))
}

// A manyPut is one of the puts of a chunk. Once it has an error, nothing more is done for it.
type manyPut struct {
	secret  *Secret
	draft   *draft
	version Version
	err     error
}

// putChunk puts secrets with one request to Vault and, where the backend can, one to the
// backend, all from one goroutine: one for each, with its stack and the waking, would
// take the processor longer than all that there is to do for a secret.
func (s *Store) putChunk(ctx context.Context, secrets []Secret) []outcomeOf[Info] {
	puts := make([]*manyPut, len(secrets))
	for i := range secrets {
		p := &manyPut{secret: &secrets[i]}
		puts[i] = p
		opts := p.secret.Options
		if opts == nil {
			opts = new(PutOptions)
		}
		if p.draft, p.err = s.newDraft(p.secret.Name, opts); p.err == nil {
			defer p.draft.wipe()
		}
	}
	s.wrapMany(ctx, healthy(puts))
	s.putDrafts(ctx, healthy(puts))
	outcomes := make([]outcomeOf[Info], len(puts))
	for i, p := range puts {
		info := Info{Name: p.secret.Name}
		if p.err == nil {
			info = p.draft.info(p.version)
			info.Size = int64(len(p.secret.Content))
		} else {
			p.err = opError("put", p.secret.Name, p.err)
		}
		outcomes[i] = newOutcome(ctx, info, p.err)
	}
	return outcomes
}

// healthy returns those that have no error.
func healthy(puts []*manyPut) []*manyPut {
	return slices.DeleteFunc(slices.Clone(puts), func(p *manyPut) bool { return p.err != nil })
}

// A batchWrapper is a [KeyWrapper] that wraps many data keys faster together than one by
// one. Its results are like those of RewrapBatch. A *transit.Wrapper is one.
type batchWrapper interface {
	WrapBatch(ctx context.Context, dataKeys, keyContexts [][]byte) (wrapped []string, errs []error)
}

// wrapMany wraps the data keys.
func (s *Store) wrapMany(ctx context.Context, puts []*manyPut) {
	batcher, ok := s.keys.(batchWrapper)
	if !ok {
		each(len(puts), len(puts), func(i int) {
			p := puts[i]
			p.draft.header.wrapped, p.err = s.wrap(ctx, p.draft.name, p.draft.dataKey)
		})
		return
	}
	dataKeys, contexts := make([][]byte, len(puts)), make([][]byte, len(puts))
	for i, p := range puts {
		dataKeys[i], contexts[i] = p.draft.dataKey, s.keyContext(p.draft.name)
	}
	texts, errs := batcher.WrapBatch(ctx, dataKeys, contexts)
	for i, p := range puts {
		switch {
		case len(texts) != len(puts) || len(errs) != len(puts):
			p.err = wrapError(errors.New("key wrapper returned another number of keys than it was given"))
		case errs[i] != nil:
			p.err = wrapError(errs[i])
		default:
			p.draft.header.wrapped, p.err = parseWrapped(texts[i])
		}
	}
}

// putDrafts puts the small ones in one call where the backend can do that, and the others
// beside them.
func (s *Store) putDrafts(ctx context.Context, puts []*manyPut) {
	batcher, ok := s.blobs.(backend.PutBatcher)
	var small, others []*manyPut
	for _, p := range puts {
		size, err := p.draft.cipher.SealedSize(int64(len(p.secret.Content)))
		if ok && err == nil && size <= batchBody && p.draft.cond.IfVersion == "" {
			small = append(small, p)
		} else {
			others = append(others, p)
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if len(others) > 0 {
		wg.Go(func() { each(len(others), len(others), func(i int) { s.putOne(ctx, others[i]) }) })
	}
	if len(small) > 0 {
		putSmall(ctx, batcher, small)
	}
}

func (s *Store) putOne(ctx context.Context, p *manyPut) {
	p.version, p.err = s.putDraft(ctx, p.draft, func(c *segment.Cipher) (sealed, error) {
		return sealSecret(c, p.secret.Content, s.segmentSize)
	})
}

func putSmall(ctx context.Context, batcher backend.PutBatcher, puts []*manyPut) {
	batch := make([]backend.SmallPut, len(puts))
	for i, p := range puts {
		var body []byte
		body, p.err = p.draft.cipher.Seal(p.secret.Content)
		batch[i] = backend.SmallPut{Name: p.draft.name, Header: p.draft.header.marshal(), Body: body, IfAbsent: p.draft.cond.IfAbsent}
	}
	if failed := slices.IndexFunc(puts, func(p *manyPut) bool { return p.err != nil }); failed >= 0 {
		// It can't be: so little has not too many segments.
		for _, p := range puts {
			p.err = puts[failed].err
		}
		return
	}
	versions, errs := batcher.PutBatch(ctx, batch)
	for i, p := range puts {
		if len(versions) != len(puts) || len(errs) != len(puts) {
			p.err = errors.New("backend returned another number of answers than it was given puts")
			continue
		}
		p.version, p.err = versions[i], errs[i]
	}
}

// gathered yields the items in chunks of up to n. None waits long for the next: what has not come
// within gatherTime goes with a later chunk. An error among the items comes after those before it,
// and is the last.
func gathered[T any](items iter.Seq2[T, error], n int) func(context.Context) iter.Seq2[[]T, error] {
	type read struct {
		item T
		err  error
	}
	return func(ctx context.Context) iter.Seq2[[]T, error] {
		return func(yield func([]T, error) bool) {
			ctx, cancel := context.WithCancel(ctx)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			came := make(chan read, n)
			wg.Go(func() {
				defer close(came)
				for item, err := range items {
					select {
					case came <- read{item, err}:
					case <-ctx.Done():
						return
					}
				}
			})
			for r := range came {
				var chunk []T
				late := time.After(gatherTime)
				for more := true; more && r.err == nil; {
					if chunk = append(chunk, r.item); len(chunk) == n {
						break
					}
					select {
					case r, more = <-came:
					case <-late:
						more = false
					}
				}
				if len(chunk) > 0 && !yield(chunk, nil) {
					return
				}
				if r.err != nil {
					yield(nil, r.err)
					return
				}
			}
		}
	}
}

package backendtest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/backend/backendtest"
)

type (
	putFunc      = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error)
	putBatchFunc = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error)
)

// putOneByOne is a sound PutBatch, if put is a sound Put.
func putOneByOne(ctx context.Context, put putFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
	versions, errs := make([]backend.Version, len(puts)), make([]error, len(puts))
	for i, p := range puts {
		versions[i], errs[i] = put(ctx, p.Name, p.Header, bytes.NewReader(p.Body), backend.Condition{IfAbsent: p.IfAbsent})
	}
	return versions, errs
}

// batchedPuts alters what PutBatch does, given one that is sound.
func batchedPuts(put func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error)) func(*altered) {
	return func(a *altered) {
		sound := func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
			return putOneByOne(ctx, a.Blobs.Put, puts)
		}
		a.putBatch = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
			return put(ctx, sound, puts)
		}
	}
}

// eachOfBatch alters each put before it is made.
func eachOfBatch(alter func(p *backend.SmallPut)) func(*altered) {
	return batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
		puts = slices.Clone(puts)
		for i := range puts {
			alter(&puts[i])
		}
		return sound(ctx, puts)
	})
}

// answersOfBatch alters what is returned.
func answersOfBatch(alter func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error)) func(*altered) {
	return batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
		versions, errs := sound(ctx, puts)
		return alter(puts, versions, errs)
	})
}

// onePutOfBatch makes each put in a way of its own.
func onePutOfBatch(put func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error)) func(*altered) {
	return func(a *altered) {
		a.putBatch = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
			versions, errs := make([]backend.Version, len(puts)), make([]error, len(puts))
			for i, p := range puts {
				versions[i], errs[i] = put(ctx, a.Blobs, p)
			}
			return versions, errs
		}
	}
}

// putSmall is a sound put.
func putSmall(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
	return b.Put(ctx, p.Name, p.Header, bytes.NewReader(p.Body), backend.Condition{IfAbsent: p.IfAbsent})
}

func isThere(ctx context.Context, b backend.Blobs, name string) bool {
	o, err := b.Get(ctx, name, backend.Range{}, "")
	if err == nil {
		o.Body.Close()
	}
	return err == nil
}

func batchMutants() []mutant {
	return slices.Concat(batchItemMutants(), batchPartMutants(), batchNameMutants(), batchRaceMutants())
}

// batchItemMutants mix up puts, or their answers.
func batchItemMutants() []mutant {
	return []mutant{
		{name: "fails a batch of puts as a whole", found: "PutBatch/Each", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
				errs = slices.Repeat(errs[i:i+1], len(errs))
			}
			return versions, errs
		})},
		{name: "ends a batch of puts at the first failure", found: "PutBatch/Each", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			versions, errs := make([]backend.Version, len(puts)), make([]error, len(puts))
			for i := range puts {
				v, err := sound(ctx, puts[i:i+1])
				if versions[i], errs[i] = v[0], err[0]; errs[i] != nil {
					break
				}
			}
			return versions, errs
		})},
		{name: "returns the versions of what was put only", found: "PutBatch/Each", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			return slices.DeleteFunc(versions, func(v backend.Version) bool { return v == "" }), errs
		})},
		{name: "returns the errors of a batch of puts only", found: "PutBatch/Each", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			return versions, slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		})},
		{name: "returns no versions for a batch", found: "PutBatch/Headers", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			return make([]backend.Version, len(versions)), errs
		})},
		{name: "returns versions that Get knows nothing of", found: "PutBatch/Each", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for i := range versions {
				versions[i] += "x"
			}
			return versions, errs
		})},
		{name: "gives each the header of the next", found: "PutBatch/Each", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			mixed := slices.Clone(puts)
			for i := range mixed {
				mixed[i].Header = puts[(i+1)%len(puts)].Header
			}
			return sound(ctx, mixed)
		})},
		{name: "gives each the body of the next", found: "PutBatch/Each", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			mixed := slices.Clone(puts)
			for i := range mixed {
				mixed[i].Body = puts[(i+1)%len(puts)].Body
			}
			return sound(ctx, mixed)
		})},
		{name: "sorts a batch of puts, and its answers", found: "PutBatch/Many", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			return sound(ctx, slices.SortedFunc(slices.Values(puts), byName))
		})},
		{name: "sorts the caller's batch of puts", found: "PutBatch/Many", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			slices.SortFunc(puts, byName)
			return sound(ctx, puts)
		})},
		{name: "refuses large batches of puts", found: "PutBatch/Many", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			if len(puts) > 2048 {
				return make([]backend.Version, len(puts)), slices.Repeat([]error{atrest.ErrTooLarge}, len(puts))
			}
			return sound(ctx, puts)
		})},
		{name: "puts the first part of large batches", found: "PutBatch/Many", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			versions, errs := sound(ctx, puts[:min(len(puts), 2048)])
			return slices.Concat(versions, slices.Repeat([]backend.Version{"1"}, len(puts)-len(versions))), append(errs, make([]error, len(puts)-len(errs))...)
		})},
		{name: "answers where nothing was to be put", found: "PutBatch/Empty", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			return append(versions, make([]backend.Version, max(0, 1-len(versions)))...), append(errs, make([]error, max(0, 1-len(errs)))...)
		})},
		{name: "puts a batch after its context has ended", found: "PutBatch/Canceled", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			return sound(context.WithoutCancel(ctx), puts)
		})},
		{name: "puts a batch and then looks at its context", found: "PutBatch/Canceled", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			versions, errs := sound(context.WithoutCancel(ctx), puts)
			for i := range errs {
				errs[i] = cmp.Or(ctx.Err(), errs[i])
			}
			return versions, errs
		})},
		{name: "hides why a batch has ended", found: "PutBatch/Canceled", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for i, err := range errs {
				if errors.Is(err, context.Canceled) {
					errs[i] = atrest.ErrUnavailable
				}
			}
			return versions, errs
		})},
	}
}

func byName(x, y backend.SmallPut) int { return cmp.Compare(x.Name, y.Name) }

// batchPartMutants do something wrong with the name, the header, the body or the memory of a put.
func batchPartMutants() []mutant {
	return []mutant{
		{name: "cuts long names of a batch", found: "PutBatch/Names", wrong: eachOfBatch(func(p *backend.SmallPut) { p.Name = p.Name[:min(len(p.Name), 255)] })},
		{name: "cleans paths in a batch", found: "PutBatch/Names", wrong: eachOfBatch(func(p *backend.SmallPut) { p.Name = path.Clean(p.Name) })},
		{name: "repairs UTF-8 in a batch", found: "PutBatch/Names", wrong: eachOfBatch(func(p *backend.SmallPut) { p.Name = strings.ToValidUTF8(p.Name, "?") })},
		{name: "cuts long headers of puts in a batch", found: "PutBatch/Headers", wrong: eachOfBatch(func(p *backend.SmallPut) { p.Header = p.Header[:min(len(p.Header), backend.MaxHeader)] })},
		{name: "refuses the longest header in a batch", found: "PutBatch/Headers", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			if len(p.Header) == backend.MaxHeader {
				return "", atrest.ErrTooLarge
			}
			return putSmall(ctx, b, p)
		})},
		{name: "keeps the old body if the new is empty", found: "PutBatch/Sizes", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			if o, err := b.Get(ctx, p.Name, backend.All, ""); err == nil && len(p.Body) == 0 {
				defer o.Body.Close()
				p.Body, _ = io.ReadAll(o.Body)
			}
			return putSmall(ctx, b, p)
		})},
		{name: "refuses empty bodies in a batch", found: "PutBatch/Headers", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			if len(p.Body) == 0 {
				return "", atrest.ErrUnsupported
			}
			return putSmall(ctx, b, p)
		})},
		{name: "cuts bodies that are not small", found: "PutBatch/Sizes", wrong: eachOfBatch(func(p *backend.SmallPut) { p.Body = p.Body[:min(len(p.Body), 1<<20)] })},
		{name: "refuses bodies that are not small", found: "PutBatch/Sizes", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			if len(p.Body) > 16<<10 {
				return "", atrest.ErrTooLarge
			}
			return putSmall(ctx, b, p)
		})},
		{name: "works in the caller's bodies", found: "PutBatch/Each", wrong: answersOfBatch(func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for _, p := range puts {
				clear(p.Body)
			}
			return versions, errs
		})},
		{name: "works in the caller's headers", found: "PutBatch/Each", wrong: answersOfBatch(func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for _, p := range puts {
				clear(p.Header)
			}
			return versions, errs
		})},
		{name: "keeps the headers of a batch", found: "PutBatch/Each", wrong: keepSmall(func(p backend.SmallPut, o *backend.Object) { o.Header = p.Header })},
		{name: "keeps the bodies of a batch", found: "PutBatch/Each", wrong: keepSmall(func(p backend.SmallPut, o *backend.Object) {
			o.Body = body{bytes.NewReader(p.Body), o.Body}
		})},
		{name: "answers a batch before it is put", found: "PutBatch/Each", wrong: func(a *altered) {
			a.putBatch = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
				later := slices.Clone(puts)
				for i, p := range puts {
					later[i].Header, later[i].Body = bytes.Clone(p.Header), bytes.Clone(p.Body)
				}
				go func() {
					time.Sleep(10 * time.Millisecond)
					putOneByOne(context.WithoutCancel(ctx), a.Blobs.Put, later)
				}()
				return slices.Repeat([]backend.Version{"1"}, len(puts)), make([]error, len(puts))
			}
		}},
	}
}

// keepSmall has an object of a batch refer to what the caller gave.
func keepSmall(refer func(p backend.SmallPut, o *backend.Object)) func(*altered) {
	return func(a *altered) {
		var mu sync.Mutex
		kept := make(map[backend.Version]backend.SmallPut)
		a.putBatch = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
			versions, errs := putOneByOne(ctx, a.Blobs.Put, puts)
			mu.Lock()
			defer mu.Unlock()
			for i, v := range versions {
				kept[v] = puts[i]
			}
			return versions, errs
		}
		a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
			o, err := a.Blobs.Get(ctx, name, rng, v)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			if p, ok := kept[o.Version]; ok {
				refer(p, o)
			}
			return o, nil
		}
	}
}

// batchNameMutants are wrong about conditions, and about puts of one name.
func batchNameMutants() []mutant {
	return []mutant{
		{name: "puts a batch in any case", found: "PutBatch/IfAbsent", wrong: eachOfBatch(func(p *backend.SmallPut) { p.IfAbsent = false })},
		{name: "puts all of a batch if absent", found: "PutBatch/IfAbsent", wrong: eachOfBatch(func(p *backend.SmallPut) { p.IfAbsent = true })},
		{name: "takes what exists for a conflict in a batch", found: "PutBatch/IfAbsent", wrong: answersOfBatch(func(_ []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for i, err := range errs {
				if errors.Is(err, atrest.ErrExists) {
					errs[i] = atrest.ErrConflict
				}
			}
			return versions, errs
		})},
		{name: "says nothing of what exists in a batch", found: "PutBatch/IfAbsent", wrong: answersOfBatch(func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for i, err := range errs {
				if errors.Is(err, atrest.ErrExists) {
					versions[i], errs[i] = "1", nil
				}
			}
			return versions, errs
		})},
		{name: "keeps no conditions, but in a batch", found: "PutBatch/IfAbsent", cfg: func(cfg *backendtest.Config) { cfg.NoConditions = true }, wrong: func(a *altered) {
			withoutConditions(a)
			batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
				return sound(ctx, puts)
			})(a)
		}},
		{name: "puts the last of a name only, with one version for all", found: "PutBatch/Duplicates", wrong: answersOfBatch(func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			last := make(map[string]backend.Version)
			for i, p := range puts {
				last[p.Name] = versions[i]
			}
			for i, p := range puts {
				if errs[i] == nil {
					versions[i] = last[p.Name]
				}
			}
			return versions, errs
		})},
		{name: "refuses a name that comes again", found: "PutBatch/Duplicates", wrong: batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			versions, errs := sound(ctx, puts)
			seen := make(map[string]bool)
			for i, p := range puts {
				if seen[p.Name] && errs[i] == nil {
					versions[i], errs[i] = "", atrest.ErrConflict
				}
				seen[p.Name] = true
			}
			return versions, errs
		})},
		{name: "takes an equal put for the same", found: "PutBatch/Duplicates", wrong: answersOfBatch(func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			for i, p := range puts {
				for j, q := range puts[:i] {
					if p.Name == q.Name && bytes.Equal(p.Body, q.Body) {
						versions[j] = versions[i]
					}
				}
			}
			return versions, errs
		})},
		{name: "looks at the names once for the batch", found: "PutBatch/Duplicates", wrong: func(a *altered) {
			a.putBatch = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
				there := make(map[string]bool)
				for _, p := range puts {
					there[p.Name] = isThere(ctx, a.Blobs, p.Name)
				}
				versions, errs := make([]backend.Version, len(puts)), make([]error, len(puts))
				for i, p := range puts {
					if p.IfAbsent && there[p.Name] {
						errs[i] = atrest.ErrExists
						continue
					}
					p.IfAbsent = false
					versions[i], errs[i] = putSmall(ctx, a.Blobs, p)
				}
				return versions, errs
			}
		}},
		{name: "tells all of a name that they were put if absent", found: "PutBatch/Duplicates", wrong: answersOfBatch(func(puts []backend.SmallPut, versions []backend.Version, errs []error) ([]backend.Version, []error) {
			made := make(map[string]bool)
			for i, p := range puts {
				if errs[i] == nil {
					made[p.Name] = true
				}
			}
			for i, p := range puts {
				if errors.Is(errs[i], atrest.ErrExists) && made[p.Name] {
					versions[i], errs[i] = backend.Version(p.Header), nil
				}
			}
			return versions, errs
		})},
	}
}

// batchRaceMutants are wrong only while another batch or a reader is there.
func batchRaceMutants() []mutant {
	return []mutant{
		{name: "locks in the order of the batch of puts", found: "PutBatch/Concurrent", wrong: func(a *altered) {
			lock := locks()
			a.putBatch = func(ctx context.Context, puts []backend.SmallPut) ([]backend.Version, []error) {
				held := make(map[string]bool)
				for _, p := range puts {
					if !held[p.Name] {
						defer lock(p.Name)()
					}
					held[p.Name] = true
					time.Sleep(moment / 10)
				}
				return putOneByOne(ctx, a.Blobs.Put, puts)
			}
		}},
		{name: "deletes before it puts a batch", found: "PutBatch/Concurrent", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			if !p.IfAbsent && p.Name != "" {
				_ = b.Delete(ctx, p.Name, backend.Condition{})
				time.Sleep(moment)
			}
			return putSmall(ctx, b, p)
		})},
		{name: "puts bodies of a batch before headers", found: "PutBatch/Concurrent", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			o, err := b.Get(ctx, p.Name, backend.Range{}, "")
			if err != nil || p.IfAbsent || len(p.Header) > backend.MaxHeader {
				return putSmall(ctx, b, p)
			}
			o.Body.Close()
			header := p.Header
			p.Header = o.Header
			v, err := putSmall(ctx, b, p)
			if err != nil {
				return "", err
			}
			time.Sleep(moment)
			err = b.SetHeader(ctx, backend.HeaderUpdate{Name: p.Name, Version: v, Old: p.Header, New: header})
			if errors.Is(err, atrest.ErrConflict) {
				err = nil // another was faster
			}
			return v, err
		})},
		{name: "gives a name the version of whoever was last", found: "PutBatch/Concurrent", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			v, err := putSmall(ctx, b, p)
			time.Sleep(moment)
			if o, getErr := b.Get(ctx, p.Name, backend.Range{}, ""); getErr == nil && err == nil {
				o.Body.Close()
				v = o.Version
			}
			return v, err
		})},
		{name: "looks first and then puts a batch", found: "PutBatchRaces/IfAbsent", wrong: onePutOfBatch(func(ctx context.Context, b backend.Blobs, p backend.SmallPut) (backend.Version, error) {
			if p.IfAbsent && isThere(ctx, b, p.Name) {
				return "", atrest.ErrExists
			}
			time.Sleep(moment)
			p.IfAbsent = false
			return putSmall(ctx, b, p)
		})},
	}
}

// TestPutBatchOfSound: what the mutants are made of has nothing wrong.
func TestPutBatchOfSound(t *testing.T) {
	for _, slow := range []bool{false, true} {
		cfg := config(batchedPuts(func(ctx context.Context, sound putBatchFunc, puts []backend.SmallPut) ([]backend.Version, []error) {
			return sound(ctx, puts)
		}))
		cfg.Reopen = func(_ *testing.T, b backend.Blobs) backend.Blobs { return b }
		cfg.Groups, cfg.Slow = []string{"PutBatch", "PutBatchRaces"}, slow
		backendtest.Run(t, cfg)
	}
}

package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// moment is long enough for another to come in between.
const moment = 100 * time.Microsecond

// conditioned alters the condition of each Put.
func conditioned(alter func(cond *backend.Condition)) func(*altered) {
	return func(a *altered) {
		a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
			alter(&cond)
			return a.Blobs.Put(ctx, name, header, body, cond)
		}
	}
}

// lookFirst checks conditions of a Put before, not while, it is done.
func lookFirst(a *altered) {
	a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
		o, err := a.Blobs.Get(ctx, name, backend.Range{}, "")
		switch {
		case err == nil && cond.IfAbsent:
			return "", atrest.ErrExists
		case cond.IfVersion != "" && (err != nil || o.Version != cond.IfVersion):
			return "", atrest.ErrConflict
		}
		time.Sleep(moment)
		return a.Blobs.Put(ctx, name, header, body, backend.Condition{})
	}
}

func conditionMutants() []mutant {
	ignoreVersion := conditioned(func(cond *backend.Condition) { cond.IfVersion = "" })
	ignoreAbsent := conditioned(func(cond *backend.Condition) { cond.IfAbsent = false })
	return []mutant{
		{name: "ignores IfVersion", found: "Conditions/Put/IfVersion", wrong: ignoreVersion},
		{name: "ignores IfAbsent", found: "Conditions/Put/IfAbsent", wrong: ignoreAbsent},
		{name: "ignores IfVersion, by the model", found: "Model", wrong: ignoreVersion},
		{name: "ignores IfAbsent for large bodies", found: "Conditions/LargePut", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				p, _ := io.ReadAll(io.LimitReader(body, 5<<20))
				if len(p) == 5<<20 {
					cond = backend.Condition{}
				}
				return a.Blobs.Put(ctx, name, header, io.MultiReader(bytes.NewReader(p), body), cond)
			}
		}},
		{name: "makes an object of IfVersion where none is", found: "Conditions/Put/IfVersion", wrong: func(a *altered) {
			a.put = func(ctx context.Context, name string, header []byte, body io.Reader, cond backend.Condition) (backend.Version, error) {
				if _, err := a.Blobs.Get(ctx, name, backend.Range{}, ""); errors.Is(err, atrest.ErrNotFound) {
					cond.IfVersion = ""
				}
				return a.Blobs.Put(ctx, name, header, body, cond)
			}
		}},
		{name: "lets two puts be the first", found: "Races/Put of 1000/IfAbsent", wrong: lookFirst},
		{name: "lets two puts replace one", found: "Races/Put of 1000/IfVersion", wrong: lookFirst},
		{name: "loses counts", found: "Races/Counter", wrong: lookFirst},
		{name: "lets a put and a delete have the same version", found: "Races/DeleteAgainstPut", wrong: lookFirst},
		{name: "locks per handle", found: "Races/Put of 1000/IfVersion", cfg: lockPerHandle},
		{name: "opens another store", found: "Put/OtherHandle", cfg: openAnother},
		{name: "lets two copies be the first", found: "Races/Copy", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
				if _, err := a.Blobs.Get(ctx, dst, backend.Range{}, ""); err == nil && cond.IfAbsent {
					return "", atrest.ErrExists
				}
				time.Sleep(moment)
				return a.Blobs.Copy(ctx, dst, src, v, header, backend.Condition{})
			}
		}},
		{name: "ignores the conditions of a copy", found: "Conditions/Copy/IfAbsent", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, _ backend.Condition) (backend.Version, error) {
				return a.Blobs.Copy(ctx, dst, src, v, header, backend.Condition{})
			}
		}},
		{name: "deletes any version", found: "Conditions/Delete", wrong: func(a *altered) {
			a.delete = func(ctx context.Context, name string, _ backend.Condition) error {
				return a.Blobs.Delete(ctx, name, backend.Condition{})
			}
		}},
		{name: "misses what is to be deleted", found: "Delete/Idempotent", wrong: func(a *altered) {
			a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
				if _, err := a.Blobs.Get(ctx, name, backend.Range{}, ""); err != nil {
					return err
				}
				return a.Blobs.Delete(ctx, name, cond)
			}
		}},
		{name: "deletes what is below", found: "Names/Odd", wrong: func(a *altered) {
			a.delete = func(ctx context.Context, name string, cond backend.Condition) error {
				list, _ := collect(a.Blobs.List(ctx, name+"/", ""))
				for _, e := range list {
					_ = a.Blobs.Delete(ctx, e.Name, backend.Condition{})
				}
				return a.Blobs.Delete(ctx, name, cond)
			}
		}},
	}
}

// current replaces what a HeaderUpdate says of the old header by what is so.
func current(alter func(u *backend.HeaderUpdate, o *backend.Object)) func(*altered) {
	return func(a *altered) {
		a.setHeader = func(ctx context.Context, u backend.HeaderUpdate) error {
			if o, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, ""); err == nil {
				alter(&u, o)
			}
			return a.Blobs.SetHeader(ctx, u)
		}
	}
}

func headerMutants() []mutant {
	return []mutant{
		{name: "does not compare the old header", found: "SetHeader/Conflict", wrong: current(func(u *backend.HeaderUpdate, o *backend.Object) { u.Old = o.Header })},
		{name: "compares the beginning of the old header", found: "SetHeader/Conflict", wrong: current(func(u *backend.HeaderUpdate, o *backend.Object) {
			if bytes.HasPrefix(o.Header, u.Old) {
				u.Old = o.Header
			}
		})},
		{name: "does not compare the version", found: "SetHeader/Conflict", wrong: current(func(u *backend.HeaderUpdate, o *backend.Object) { u.Version = o.Version })},
		{name: "does not set short headers", found: "SetHeader/Sizes", wrong: current(func(u *backend.HeaderUpdate, o *backend.Object) {
			if len(u.New) == 0 {
				u.New = o.Header
			}
		})},
		{name: "cuts long headers when it sets them", found: "SetHeader/TooLong", wrong: func(a *altered) {
			a.setHeader = func(ctx context.Context, u backend.HeaderUpdate) error {
				u.New = u.New[:min(len(u.New), backend.MaxHeader)]
				return a.Blobs.SetHeader(ctx, u)
			}
		}},
		{name: "sets the header of what is not there", found: "SetHeader/Conflict", wrong: func(a *altered) {
			a.setHeader = func(ctx context.Context, u backend.HeaderUpdate) error {
				_, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, "")
				if err == nil {
					return a.Blobs.SetHeader(ctx, u)
				}
				_, err = a.Blobs.Put(ctx, u.Name, u.New, bytes.NewReader(nil), backend.Condition{})
				return err
			}
		}},
		{name: "makes a version of SetHeader", found: "SetHeader/Sizes", wrong: func(a *altered) {
			a.setHeader = func(ctx context.Context, u backend.HeaderUpdate) error {
				_, err := a.Blobs.Copy(ctx, u.Name, u.Name, u.Version, u.New, backend.Condition{IfVersion: u.Version})
				return err
			}
		}},
		{name: "lets two set the same header", found: "SetHeaderRaces/SameOld", wrong: func(a *altered) {
			a.setHeader = func(ctx context.Context, u backend.HeaderUpdate) error {
				o, err := a.Blobs.Get(ctx, u.Name, backend.Range{}, u.Version)
				if err != nil || !bytes.Equal(o.Header, u.Old) {
					return atrest.ErrConflict
				}
				time.Sleep(moment)
				if o, err = a.Blobs.Get(ctx, u.Name, backend.Range{}, u.Version); err != nil {
					return atrest.ErrConflict
				}
				u.Old = o.Header
				return a.Blobs.SetHeader(ctx, u)
			}
		}},
		{name: "sets the header of a later content", found: "SetHeaderRaces/AgainstPut", wrong: rewriteHeader},
		{name: "brings back what was deleted", found: "SetHeaderRaces/AgainstDelete", wrong: rewriteHeader},
		{name: "sets the header of what was put after a delete", found: "SetHeaderRaces/AgainstDeleteAndPut", wrong: rewriteHeader},
	}
}

// rewriteHeader sets a header by reading the object and putting it again, under
// the version that it had. Whatever has happened in between is lost.
func rewriteHeader(a *altered) {
	var mu sync.Mutex
	versions := make(map[backend.Version]backend.Version) // that had, of that have
	a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
		o, err := a.Blobs.Get(ctx, name, rng, "")
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if had, ok := versions[o.Version]; ok {
			o.Version = had
		}
		if v != "" && v != o.Version {
			return nil, atrest.ErrConflict
		}
		return o, nil
	}
	a.setHeader = func(ctx context.Context, u backend.HeaderUpdate) error {
		o, err := a.get(ctx, u.Name, backend.All, "")
		if err != nil || o.Version != u.Version || !bytes.Equal(o.Header, u.Old) {
			return fmt.Errorf("%w: %v", atrest.ErrConflict, err)
		}
		time.Sleep(moment)
		mu.Lock()
		defer mu.Unlock()
		v, err := a.Blobs.Put(ctx, u.Name, u.New, o.Body, backend.Condition{})
		versions[v] = u.Version
		return err
	}
}

func copyMutants() []mutant {
	return []mutant{
		{name: "copies any version", found: "Copy/Refused", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
				if o, err := a.Blobs.Get(ctx, src, backend.Range{}, ""); err == nil {
					v = o.Version
				}
				return a.Blobs.Copy(ctx, dst, src, v, header, cond)
			}
		}},
		{name: "copies the header", found: "Copy/5000", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
				if o, err := a.Blobs.Get(ctx, src, backend.Range{}, ""); err == nil {
					header = o.Header
				}
				return a.Blobs.Copy(ctx, dst, src, v, header, cond)
			}
		}},
		{name: "copies onto itself by SetHeader", found: "Copy/OntoItself", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
				o, err := a.Blobs.Get(ctx, src, backend.Range{}, v)
				if err != nil || dst != src {
					return a.Blobs.Copy(ctx, dst, src, v, header, cond)
				}
				return v, a.Blobs.SetHeader(ctx, backend.HeaderUpdate{Name: src, Version: v, Old: o.Header, New: header})
			}
		}},
		{name: "finds a conflict where nothing is to be copied", found: "Copy/Refused", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
				w, err := a.Blobs.Copy(ctx, dst, src, v, header, cond)
				if errors.Is(err, atrest.ErrNotFound) {
					err = atrest.ErrConflict
				}
				return w, err
			}
		}},
		{name: "moves", found: "Copy/5000", wrong: func(a *altered) {
			a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
				w, err := a.Blobs.Copy(ctx, dst, src, v, header, cond)
				if err == nil && dst != src {
					err = a.Blobs.Delete(ctx, src, backend.Condition{})
				}
				return w, err
			}
		}},
		{name: "links the copy to its source", found: "Copy/IndependentFate of 5000", wrong: linked},
		{name: "links the copy to its source, by the model", found: "Model", wrong: linked},
	}
}

// linked has a copy read the body of its source.
func linked(a *altered) {
	var mu sync.Mutex
	source := make(map[backend.Version]string) // of copies
	a.copy = func(ctx context.Context, dst, src string, v backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
		w, err := a.Blobs.Copy(ctx, dst, src, v, header, cond)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && dst != src {
			source[w] = src
		}
		return w, err
	}
	a.get = func(ctx context.Context, name string, rng backend.Range, v backend.Version) (*backend.Object, error) {
		o, err := a.Blobs.Get(ctx, name, rng, v)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		src, ok := source[o.Version]
		mu.Unlock()
		if !ok {
			return o, nil
		}
		from, err := a.Blobs.Get(ctx, src, rng, "")
		if err != nil {
			return nil, err
		}
		o.Body = from.Body
		return o, nil
	}
}

package storage

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A promise is what is known of how the backend of dst takes conditions of one kind.
// The zero promise is nothing.
type promise struct {
	kept    atomic.Bool // it has been seen to check one
	refused atomic.Bool // it has been asked, and refuses them
}

// errRefused is for a put of which nothing but the condition is refused.
var errRefused = errors.New("conditions are refused")

// errProbe is what the body of a probe fails with.
var errProbe = errors.New("not to be put")

// probes is how many refusals in a row are believed. One may be anything: a request
// through a pooler that has lost it, a gateway without the method.
const probes = 5

// promise returns that of the condition of a put.
func (m *migration) promise(cond backend.Condition) *promise {
	if cond.IfAbsent {
		return &m.ifAbsent
	}
	return &m.ifVersion
}

// judge learns from the answer to a put, and returns errRefused if that is to be
// made without the condition.
func (t *transfer) judge(ctx context.Context, header []byte, cond backend.Condition, err error) error {
	if cond == (backend.Condition{}) {
		return err
	}
	p := t.promise(cond)
	refused := errors.Is(err, atrest.ErrUnsupported) && !isFatal(ctx, err) && t.confirm(ctx, p, func() error {
		_, err := t.dst.blobs.Put(ctx, t.name, header, unreadable{}, cond)
		return err
	})
	switch {
	case refused:
		return errRefused
	case err == nil:
		p.kept.Store(true)
	}
	return err
}

// refusesDelete reports whether the backend of dst can't delete on condition, after
// it has said so. No object has the version that it is asked for.
func (t *transfer) refusesDelete(ctx context.Context) bool {
	return t.confirm(ctx, &t.onDelete, func() error {
		return t.dst.blobs.Delete(ctx, t.name, backend.Condition{IfVersion: "none"})
	})
}

// confirm reports whether a condition is what the backend of dst refuses. ErrUnsupported
// may come from elsewhere, even from src by way of the body, and what is put without a
// condition may overwrite what somebody else has put. So ask has to be refused
// whenever it is called, while the backend answers to other requests. It changes
// nothing, whatever the answer.
func (t *transfer) confirm(ctx context.Context, p *promise, ask func() error) bool {
	for range probes {
		switch {
		case p.kept.Load():
			return false
		case p.refused.Load():
			return true
		}
		if err := ask(); !errors.Is(err, atrest.ErrUnsupported) {
			if err == nil || errors.Is(err, errProbe) || overtaken(err) {
				p.kept.Store(true)
			}
			return false
		}
		if _, err := look(ctx, t.dst, t.name); err != nil {
			return false
		}
	}
	p.refused.Store(true)
	return true
}

// unreadable is a body of which no backend makes an object.
type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, errProbe }

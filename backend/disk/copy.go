package disk

import (
	"context"
	"errors"
	"io"

	"github.com/atrest/atrest/backend"
)

// Copy makes a new object of an old one's body as [backend.Blobs] says. The
// body gets a second name, by a hard link, where the file system can do that:
// body files are never changed, so that the two can share it.
func (s *Store) Copy(ctx context.Context, dst, src string, srcVersion backend.Version, header []byte, cond backend.Condition) (v backend.Version, err error) {
	to, err := backend.Escape(dst)
	if err != nil {
		annotate(&err, "copy to", dst)
		return "", err
	}
	from, err := backend.Escape(src)
	if err == nil {
		v, err = s.copy(ctx, to, from, srcVersion, header, cond)
	}
	annotate(&err, "copy", src)
	return v, err
}

func (s *Store) copy(ctx context.Context, to, from string, version backend.Version, header []byte, cond backend.Condition) (backend.Version, error) {
	w, leave, err := s.newWrite(ctx, to, header, cond)
	if err != nil {
		return "", err
	}
	defer leave()
	at, err := w.takeBody(ctx, from, version)
	if err != nil {
		return "", w.abandon(err)
	}
	return w.commit(ctx, at.inline)
}

// takeBody makes the body of the object from that of the new object. It begins
// again if from is replaced meanwhile; see open.
func (w *write) takeBody(ctx context.Context, from string, version backend.Version) (found, error) {
	for {
		at, err := w.current(ctx, from, version, true)
		if err != nil {
			return at, err
		}
		w.rec.size, w.rec.inline = at.rec.size, at.rec.inline
		if at.rec.inline {
			return at, nil
		}
		// A link says nothing about lengths, so the body is looked at first.
		body, err := w.openBody(at.rec)
		if err == nil {
			err = w.linkBody(ctx, at.rec, body)
			body.Close()
		}
		if !isMissing(err) {
			return at, err
		}
		now, nowErr := w.current(ctx, from, version, false)
		if nowErr != nil {
			return at, nowErr
		}
		if now.rec.id == at.rec.id {
			return at, err
		}
	}
}

// linkBody gives the body its second name, or copies it. Its bytes have been
// durable since it was put; the name becomes so here.
func (w *write) linkBody(ctx context.Context, src *record, body io.ReaderAt) error {
	if err := w.note(w.rec.id); err != nil {
		return err
	}
	err := w.link(src.id.path(), w.rec.id.path())
	if isMissing(err) {
		if err := w.makeDirs(w.rec.id.dir()); err != nil {
			return err
		}
		err = w.link(src.id.path(), w.rec.id.path())
	}
	if isMissing(err) {
		return damaged(err)
	}
	if err != nil {
		// No links here (EPERM, ENOTSUP), too many (EMLINK), or some worse
		// trouble, which copying meets again.
		return w.copyBody(ctx, src, body, err)
	}
	return w.syncUp(w.rec.id.dir())
}

// copyBody writes the body anew. If that fails, why there was no link is part
// of the error.
func (w *write) copyBody(ctx context.Context, src *record, body io.ReaderAt, linkErr error) error {
	// An error of link does not tell that there is none.
	err := ignoreMissing(w.remove(w.rec.id.path()))
	if err == nil {
		err = w.rewriteBody(ctx, src, body)
	}
	if err != nil {
		return errors.Join(err, linkErr)
	}
	return nil
}

func (w *write) rewriteBody(ctx context.Context, src *record, body io.ReaderAt) error {
	file, err := w.beginBody()
	if err != nil {
		return err
	}
	defer file.close()
	buf := chunkPool.Get().(*[chunkSize]byte)
	defer chunkPool.Put(buf)
	for offset := int64(0); offset < src.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := body.ReadAt(buf[:min(chunkSize, src.size-offset)], offset)
		if n == 0 && err == io.EOF {
			return damaged(io.ErrUnexpectedEOF)
		}
		if n == 0 {
			return describe("read", src.id.path(), err)
		}
		if err := file.write(buf[:n]); err != nil {
			return err
		}
		offset += int64(n)
	}
	return w.endBody(file)
}

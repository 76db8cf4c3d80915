package disk

import (
	"context"
	"sync"

	"github.com/atrest/atrest/backend"
)

// LockRecords implements [backend.Records]. Who waits asks some hundred times a second, which
// costs next to nothing, and is heard by ctx.
func (r *Records) LockRecords(ctx context.Context, name string) (_ context.Context, unlock func(), err error) {
	defer annotateRecord(&err, "lock", name)
	if err := checkRecordCall(ctx, backend.CheckRecordName(name)); err != nil {
		return nil, nil, err
	}
	release, err := r.flock(ctx, recordLocksDir+"/"+name)
	if err != nil {
		return nil, nil, err
	}
	held, end := context.WithCancel(ctx)
	return held, sync.OnceFunc(func() {
		end()
		release()
	}), nil
}

// flock locks a file, against all others who open it, in this process too: each call opens
// it anew. The file is never removed, so that all lock the same one.
func (r *Records) flock(ctx context.Context, name string) (release func(), err error) {
	var st stripe
	if err := r.store.lockFile(ctx, &st, name); err != nil {
		if st.file != nil {
			st.file.Close()
		}
		return nil, err
	}
	return func() {
		// Closing alone would not do as long as a child that is being started has the file
		// too; unlocking alone is certain, and if it fails, so is closing.
		_ = funlock(st.file)
		st.file.Close()
	}, nil
}

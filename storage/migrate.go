package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"

	"github.com/atrest/atrest/backend"
)

const (
	// migrateObjects is how many objects are under way at a time, unless the
	// options say otherwise: enough for their data keys to share requests to
	// Vault.
	migrateObjects = 64

	// migrateLarge is how many of them are large, unless the options say
	// otherwise. A large one is a stream, with a stream's buffers.
	migrateLarge = 4

	// smallBody is how many bytes of ciphertext are held in memory whole. Times
	// migrateObjects, twice, it is 16 MiB.
	smallBody = 128 << 10
)

// MigrateOptions say what to migrate and how. A nil *MigrateOptions is the zero
// one.
type MigrateOptions struct {
	// Prefix and After are those of [ListOptions], for the listing of src.
	Prefix, After string
	// Concurrency is how many objects are under way at a time; zero means 64.
	Concurrency int
	// LargeConcurrency is how many of these may be larger than 128 KiB; zero means
	// 4. Each takes the memory of one stream; see Config.SegmentSize.
	LargeConcurrency int
	// Overwrite replaces other objects that dst has under a name of src's.
	// Without it they are failures, ErrExists, and stay.
	Overwrite bool
	// ReadBack reads each object back from dst, through decryption to its end,
	// before it counts, also one that was there already. So a run with ReadBack
	// after all others verifies everything, and one without it is the quick one.
	ReadBack bool
	// Progress, if not nil, is called after each object (after each batch where
	// no body is copied), never concurrently.
	Progress func(MigrateProgress)
	// Failed, if not nil, is called for each object that could not be migrated,
	// never concurrently.
	Failed func(name string, err error)
	// Gone, if not nil, is called for each object that is counted as Gone, never
	// concurrently.
	Gone func(name string)
}

// MigrateProgress counts the objects of a migration. Each object of src that
// was listed is one of Copied, Skipped, Failed and Gone.
type MigrateProgress struct {
	// Copied are in dst now and were not before.
	Copied int64
	// CopiedBytes are the sizes of their bodies, as stored. It is zero where no
	// body is copied.
	CopiedBytes int64
	// Skipped were in dst already.
	Skipped int64
	// SkippedBytes are the sizes of their bodies, as stored.
	SkippedBytes int64
	// Failed could not be migrated.
	Failed int64
	// Gone were deleted from src after they had been listed, or src says so; they
	// are not in dst unless somebody else has put them there.
	Gone int64
	// Changed were replaced in src or deleted from it while they were copied,
	// which was noticed. They are counted above as well, by what became of them.
	Changed int64
	// Last is the name up to which, in the order of listings, all is done or has
	// failed. As MigrateOptions.After it makes another Migrate go on from there,
	// which does not try again what has failed before it: that is for one without
	// After. Last stays before what ended it early, and before failures that don't say
	// that they are about one object, until a hundred others have fared better.
	Last string
}

func (p *MigrateProgress) add(q MigrateProgress) {
	p.Copied += q.Copied
	p.CopiedBytes += q.CopiedBytes
	p.Skipped += q.Skipped
	p.SkippedBytes += q.SkippedBytes
	p.Failed += q.Failed
	p.Gone += q.Gone
	p.Changed += q.Changed
}

// Migrate brings all objects of src into dst: into another backend, under
// another Vault, another transit key or another store ID, or any of these
// together. Names, contents, metadata and times stay, and so do the segment
// sizes. The objects of src are not changed.
//
// # What is copied
//
// Bodies are copied as they are, ciphertext; no segment is encrypted anew. The
// data key of each object is unwrapped by the keys of src and wrapped by those
// of dst, many in one request. A data key that somebody has had unwrapped from
// src therefore opens the copy too: to be rid of it, put the secret anew.
//
// Each body is authenticated on its way, and dst is not told its end before that
// has succeeded. So what is damaged in src is not in dst, but reported. With
// ReadBack, the copy is read back and authenticated as well.
//
// # In place
//
// If both Stores have the same Backend, nothing but headers is rewritten, and
// each object belongs to dst and no longer to src as soon as its header is, which
// is when dst has been seen to open the new one.
// Bodies are not read, unless ReadBack is set. Readers have to use the right
// Store for each object, until all is done.
//
// # Failures, interruptions
//
// An object that can't be migrated is reported and passed over; Migrate then
// returns an error that wraps the first such error, and the counts. What is not
// about one object, such as a sealed Vault or a storage engine that can't be
// reached or refuses (ErrPermission), ends it, and so do 100 failures in a row that
// don't say that they are about one object. Where an engine refuses only one
// object, the error names it, and a run with that name as After does the rest.
// However it ends, each object of dst is whole or not there.
//
// A second run skips what is in dst already: an object that dst can
// authenticate and that has the immutable header and the size of that in src.
// So what has ended early is finished by another run, and what has failed is tried
// again by one without After.
//
// # While src is in use
//
// Each object is read in one version and looked at again after it was put. If
// it has been replaced, the copy is replaced too; if deleted, the copy is deleted
// again. What is changed after that look is for another run, with Overwrite,
// once nobody writes to src any more. There remain two things that no run
// notices: an object that is deleted from src after the look stays in dst, and
// so does one that is deleted between the put and the look if Migrate is ended
// in just that moment. Who deletes while a migration runs deletes from both, or
// compares the names of both ([ListOptions].NamesOnly) in the end.
//
// What src lists and then does not find counts as Gone, not as failed. So src must
// answer from one state: where it reads from several servers, and one of them is a
// standby that lags behind, objects that are there look gone. If there are more of
// them (MigrateOptions.Gone) than were deleted, run it again without After.
//
// Whoever else writes to dst meanwhile is not overwritten: puts are conditional
// on what was seen. A backend that refuses such conditions (ErrUnsupported,
// each time that it is asked, before it reads a body) is looked at just before
// each put instead, so while one migrates into such a backend, nobody else may
// write to it.
//
// Migrate copies into dst by Put, not within an engine, so the bytes pass through
// this process. Two handles on the same objects are not the same Backend; that is
// noticed, at the latest after the first put, and ends the migration.
func Migrate(ctx context.Context, dst, src *Store, opts *MigrateOptions) (MigrateProgress, error) {
	m, err := newMigration(dst, src, opts)
	if err != nil {
		return MigrateProgress{}, fmt.Errorf("storage: migrate: %w", err)
	}
	progress := MigrateProgress{Last: m.opts.After}
	failed := failures{doing: "migrate", report: m.opts.Failed, last: m.opts.After, window: m.opts.Concurrency}
	for s, err := range m.steps(ctx) {
		if err != nil {
			return progress, failed.with(fmt.Errorf("storage: migrate: %w", err))
		}
		progress.add(s.counts)
		failed.add(s.failed)
		m.reportGone(s.gone)
		if s.fatal != nil {
			return progress, failed.with(s.fatal)
		}
		err := failed.follow(s.names, s.failed)
		progress.Last = failed.last
		if err != nil {
			return progress, err
		}
		if m.opts.Progress != nil {
			m.opts.Progress(progress)
		}
	}
	return progress, failed.err()
}

func (m *migration) reportGone(names []string) {
	if m.opts.Gone == nil {
		return
	}
	for _, name := range names {
		m.opts.Gone(name)
	}
}

// A migration is one call of Migrate.
type migration struct {
	dst, src *Store
	opts     MigrateOptions
	large    chan struct{} // holds one for each large body under way

	// What is known of how the backend of dst takes conditions.
	ifAbsent, ifVersion, onDelete promise
}

func newMigration(dst, src *Store, opts *MigrateOptions) (*migration, error) {
	if dst == nil || src == nil {
		return nil, errors.New("both a source and a destination are required, and one is nil")
	}
	m := &migration{dst: dst, src: src}
	if opts != nil {
		m.opts = *opts
	}
	m.opts.Concurrency = orDefault(m.opts.Concurrency, migrateObjects)
	m.large = make(chan struct{}, orDefault(m.opts.LargeConcurrency, migrateLarge))
	if m.inPlace() && dst.id == src.id && identical(dst.keys, src.keys) {
		return nil, errors.New("source and destination are the same store (same ID, backend and keys): there is nothing to do")
	}
	return m, nil
}

func (m *migration) inPlace() bool { return identical(m.dst.blobs, m.src.blobs) }

// identical reports whether two interfaces hold the same value. Values that
// can't be compared are never the same.
func identical(a, b any) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// A step is what became of an object, or of some.
type step struct {
	names  []string        // in the order of listings
	counts MigrateProgress // without Last
	gone   []string
	failed []failure
	fatal  error // ends the migration
}

// settle files an error of one object, or of everything.
func (s *step) settle(ctx context.Context, name string, err error) {
	switch {
	case !isFatal(ctx, err):
		s.counts.Failed++
		s.failed = append(s.failed, failure{name, err})
	case s.fatal == nil:
		s.fatal = opError("migrate", name, err)
	}
}

// steps does the work and yields what became of it, in the order of src's
// listing.
func (m *migration) steps(ctx context.Context) iter.Seq2[*step, error] {
	list := func(ctx context.Context) iter.Seq2[backend.Entry, error] {
		return m.src.blobs.List(ctx, m.opts.Prefix, m.opts.After)
	}
	if !m.inPlace() {
		return ordered(ctx, list, m.opts.Concurrency, m.object)
	}
	chunks := func(ctx context.Context) iter.Seq2[[]backend.Entry, error] { return chunked(list(ctx), rewrapChunk) }
	return ordered(ctx, chunks, 2, m.rekeyChunk)
}

// acquire waits for the turn of a large body, and returns what ends it. Small
// ones need not wait.
func (m *migration) acquire(ctx context.Context, size int64) (release func(), err error) {
	if size <= smallBody {
		return func() {}, nil
	}
	select {
	case m.large <- struct{}{}:
		return func() { <-m.large }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

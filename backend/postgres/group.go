package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/coalesce"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Small puts that are under way at once share a statement, and with it a round trip, a
// commit and its wait for the disk. A lone one goes by itself, at once, in the
// goroutine and with the context of its caller.
const (
	// groupBody is the longest body that is put together with others: the longer it
	// is, the less of the time is the statement's.
	groupBody = 16 << 10

	// groupSize is how many puts share a statement at most, also if more than groupsAtOnce
	// are then under way. With groupBody that bounds it to some 2 MB.
	groupSize = 128

	// groupsAtOnce is how many statements are under way before puts gather in any
	// number. While the server works at one, another is made ready, so that both have
	// work.
	groupsAtOnce = 2

	// putsBeside and getsBeside are how many it takes to leave beside a statement that is
	// under way: the fewer share one, the more it costs each. On 2 cores, with 64
	// callers, puts of 1 KiB through Vault were 13,100 a second with 32 and a
	// statement took 25 µs of PostgreSQL's time for each; 8,000 to 9,500 and 40 µs
	// with 1, 9,600 and 31 µs with one statement at a time. Puts without Vault
	// were 2.6 times as fast as a bare INSERT with 32, 2.0 to 2.4 times with 1, 1.9 to 2.1
	// times with one statement at a time. Gets whose keys are at hand were
	// 46,100 to 51,800 a second with one statement at a time, 59,100 to 64,600 with 16,
	// 53,800 to 59,800 with 32.
	putsBeside = 32
	getsBeside = 16

	// groupPatience is how long puts wait for the statements before theirs: longer than
	// a commit takes, also to a standby nearby.
	groupPatience = 50 * time.Millisecond

	// groupNear is what a statement takes at most, of the last few the fastest, where the
	// server is near and its disk fast. Otherwise a quarter of that time is
	// all that others wait for it.
	groupNear = 3 * time.Millisecond

	// groupLinger is longer than cancelTime, so that who waits for a statement that nobody
	// answers learns that from it.
	groupLinger = cancelTime + time.Second

	// groupLockTime is how long a shared statement waits for one row that another
	// transaction has locked. Then each put goes by itself, so that only
	// those wait on that must.
	groupLockTime = "100ms"
)

// errAlone tells a caller that its put is to go by itself.
var errAlone = errors.New("not put together with others")

type none = struct{}

type putGroup = coalesce.Group[object, none]

// gather makes the groups of a store. They are of that one, not of a copy.
func (s *Store) gather() {
	s.puts, s.putsIfAbsent = s.newPutGroup(backend.Condition{}), s.newPutGroup(backend.Condition{IfAbsent: true})
	s.gets = s.newGetGroup()
}

// newPutGroup returns what gathers puts under one condition. How many requests are
// under way is for the pool to bound: a put that waits for a connection is to
// wait in the pool's queue, where a standstill is noticed.
func (s *Store) newPutGroup(cond backend.Condition) *putGroup {
	return coalesce.New(coalesce.Config[object, none]{
		Send: func(ctx context.Context, objects []object) ([]none, []error) {
			return make([]none, len(objects)), s.putTogether(ctx, objects, cond)
		},
		Alone: func(ctx context.Context, o object) (none, error) {
			return none{}, s.putAlone(ctx, o, cond)
		},
		DropIn: func(object) {}, DropOut: func(none) {},
		MaxBatch: groupSize, MaxInFlight: math.MaxInt, MaxYoung: groupsAtOnce, MinBeside: putsBeside,
		Patience: groupPatience, Near: groupNear, Linger: groupLinger,
	})
}

func (s *Store) groupOf(cond backend.Condition) *putGroup {
	if cond.IfAbsent {
		return s.putsIfAbsent
	}
	return s.puts
}

// putShared puts an object in a statement that it may share with others. The end of ctx does
// not end that statement as long as any of the others waits for it, and so its answer is
// waited for, for as long as outlive waits for that of a lone one.
func (s *Store) putShared(ctx context.Context, o object, cond backend.Condition) error {
	o.header = bytes.Clone(o.header) // the call may return before the statement is sent
	_, err := s.groupOf(cond).Do(ctx, o)
	switch {
	case err == errAlone:
		return s.putAlone(ctx, o, cond)
	case errors.Is(err, coalesce.ErrLeft):
		return fmt.Errorf("%w: %w; the change may have been made or not", atrest.ErrUnavailable, err)
	case errors.Is(err, atrest.ErrUnavailable) && ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		// What has ended is the context of the statement, with that of the last caller.
		return fmt.Errorf("%w: %w (%s)", atrest.ErrUnavailable, ctx.Err(), err)
	}
	return describe(ctx, err)
}

func (s *Store) putAlone(ctx context.Context, o object, cond backend.Condition) error {
	affected, err := s.do(ctx, s.putStatement(cond), noRows, o.args(cond)...)
	if err != nil {
		return err
	}
	return conditionMet(affected, cond)
}

// putTogether puts objects in one statement. If the server refuses it, for whatever reason, each
// is to go by itself, and gets the answer that it gets without the others.
func (s *Store) putTogether(ctx context.Context, objects []object, cond backend.Condition) []error {
	batch := distinct(objects, cond)
	done, err := s.sendBatch(ctx, batch, cond)
	if isRefused(err) {
		err = errAlone
	}
	decisive := make(map[string]contentID, len(batch))
	for _, o := range batch {
		decisive[o.name] = o.id
	}
	errs := make([]error, len(objects))
	for i, o := range objects {
		id := decisive[o.name]
		switch {
		case err != nil:
			errs[i] = err
		case cond.IfAbsent && id != o.id:
			errs[i] = atrest.ErrExists
		case !done[id]:
			errs[i] = conditionMet(0, cond)
		}
	}
	return errs
}

// distinct returns one object for each name, for a statement can change a row but once. It
// is the one that decides if all are put one after the other with nothing in
// between, which nobody can tell from what happens: the last, or, if it
// is put only where there is none, the first. The order is that of the names, so that
// two statements with names in common do not wait for each other in a circle.
func distinct(objects []object, cond backend.Condition) []object {
	objects = slices.Clone(objects)
	if !cond.IfAbsent {
		slices.Reverse(objects)
	}
	slices.SortStableFunc(objects, func(a, b object) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(objects, func(a, b object) bool { return a.name == b.name })
}

// isRefused tells the errors after which nothing was changed, and of which others than
// those put together may know nothing: a row that is locked, a trigger or a policy that
// minds one, a time limit that all of them took up.
func isRefused(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return false
	}
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok
}

// sendBatch returns the versions that were put.
func (s *Store) sendBatch(ctx context.Context, batch []object, cond backend.Condition) (map[contentID]bool, error) {
	statement := s.sql.putBatch
	if cond.IfAbsent {
		statement = s.sql.putBatchIfAbsent
	}
	var done map[contentID]bool
	_, err := s.do(ctx, statement, func(rows pgx.Rows) error {
		done = make(map[contentID]bool, len(batch))
		for rows.Next() {
			var id contentID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			done[id] = true
		}
		return nil
	}, column{nameColumn, batch}, column{idColumn, batch}, column{headerColumn, batch}, column{bodyColumn, batch}, column{keyVersionColumn, batch})
	return done, err
}

// The time limit is that of this one transaction, which ends with the statement. It is
// set before the first row comes out of the join, and so before any is locked.
//
// The arrays stand in queries of their own as those of getBatchSQL do. So little is
// reckoned for a row here that PostgreSQL 15 plans puts for any values without that too.
const putBatchHead = `
INSERT INTO @schema@.objects (name, version, size, header, body, key_version)
SELECT o.name, o.version, octet_length(o.body), o.header, o.body, o.key_version
FROM (SELECT set_config('lock_timeout', '` + groupLockTime + `', true) AS t) AS limited,
    unnest((SELECT $1::text[]), (SELECT $2::uuid[]), (SELECT $3::bytea[]), (SELECT $4::bytea[]), (SELECT $5::integer[]))
        AS o (name, version, header, body, key_version)
WHERE limited.t IS NOT NULL
`

var (
	putBatchSQL = statement{putBatchHead + `
ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version, size = EXCLUDED.size,
    header = EXCLUDED.header, body = EXCLUDED.body, chunk_size = NULL, key_version = EXCLUDED.key_version
RETURNING version`, batchTypes, true}

	putBatchIfAbsentSQL = statement{putBatchHead + `
ON CONFLICT (name) DO NOTHING
RETURNING version`, batchTypes, true}

	batchTypes = []uint32{pgtype.TextArrayOID, pgtype.UUIDArrayOID, pgtype.ByteaArrayOID, pgtype.ByteaArrayOID, pgtype.Int4ArrayOID}
)

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// A Config says where the store is.
type Config struct {
	// Dir is the store's directory, and must not be empty. It is made with mode
	// 0700 if it is missing; its parent must exist. A directory that holds
	// something else, or that group or others can write to, is refused.
	Dir string

	// Logger gets warnings about foreign files and leftovers that could not be
	// removed. Nil discards them.
	Logger *slog.Logger

	// hook sees each step that changes the file system; for tests.
	hook func(op, name string, step func() error) error
}

// A Store keeps objects in a directory. It is safe for concurrent use, by any
// number of goroutines and, each with a Store of its own, of processes.
type Store struct {
	files
	log     *slog.Logger
	stripes *[stripes]stripe
	session *session

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // changes in progress
}

var _ backend.Blobs = (*Store)(nil)

// New opens the store in cfg.Dir, making it if the directory is empty or
// missing, and removes what processes that died have left there. Leftovers that
// can't be removed are logged and cost space only.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("disk: open %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		return nil, errors.New("Config.Dir is empty")
	}
	f, err := openDir(cfg.Dir, cfg.hook)
	if err != nil {
		return nil, err
	}
	s := &Store{
		files:   *f,
		log:     cfg.Logger,
		stripes: newStripes(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// start begins the session and sweeps.
func (s *Store) start(ctx context.Context) (err error) {
	if s.session, err = s.newSession(); err != nil {
		return err
	}
	if err := s.sweep(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		s.log.WarnContext(ctx, "disk: leftovers of a dead process remain", "error", err)
	}
	return nil
}

// Close waits for the changes in progress and releases the directory. Bodies
// that are open can be read to their end; all other calls fail from now on.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.calls.Wait()
	if s.session != nil {
		s.endSession()
	}
	s.closeLocks()
	return s.root.Close()
}

// enter registers a change, so that Close does not give up the session under
// it, and returns the function that ends it.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("store: %w", fs.ErrClosed)
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// annotate adds the operation and the name to an error, once.
func annotate(err *error, op, name string) {
	if *err != nil {
		*err = fmt.Errorf("disk: %s %.100q: %w", op, name, *err)
	}
}

// checkHeader returns ErrTooLarge for a header longer than the contract allows.
func checkHeader(header []byte) error {
	if len(header) > backend.MaxHeader {
		return fmt.Errorf("%w: the header has %d bytes, the limit is %d", atrest.ErrTooLarge, len(header), backend.MaxHeader)
	}
	return nil
}

// checkCondition returns ErrUnsupported for a condition that has no meaning.
func checkCondition(cond backend.Condition) error {
	if cond.IfAbsent && cond.IfVersion != "" {
		return fmt.Errorf("%w: both IfAbsent and IfVersion", atrest.ErrUnsupported)
	}
	return nil
}

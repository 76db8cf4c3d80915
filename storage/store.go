package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// Config says what a [Store] is made of.
type Config struct {
	// ID tells this store from every other that uses the same transit key, 1 to
	// 255 bytes of UTF-8. It is part of the context under which data keys are
	// wrapped, so objects can be read only through a store of the same ID. It does
	// not divide a backend: stores that share one overwrite each other's names, so
	// give each a directory of its own. Choose it once; it need not be secret.
	// Required.
	ID string

	// Backend keeps the ciphertext, of this store only. Required.
	Backend backend.Blobs

	// Keys wraps the data keys; a *transit.Wrapper. Required.
	Keys KeyWrapper

	// SegmentSize is the size in bytes of the segments of new objects, 64 to
	// 16 MiB. A ranged read fetches whole segments, and a stream holds batches of
	// some 256 KiB, or of one segment if that is larger: one for each processor
	// and up to five more. Zero means 64 KiB, which suits nearly everyone. Objects
	// of other segment sizes stay readable.
	SegmentSize int

	// KeyCache lets objects that are read often be read without asking Vault each
	// time, by keeping unwrapped data keys in memory for a while. Zero, which is
	// the default, keeps none.
	KeyCache KeyCache
}

// A KeyWrapper wraps data keys under a key that it does not give out. It is
// implemented by *transit.Wrapper. Its methods may be called concurrently and
// keep no argument.
//
// A wrapped key is Vault's text "vault:vN:BASE64". A context that differs from
// the one that a key was wrapped with must make Unwrap and RewrapBatch fail with
// atrest.ErrTampered, as must a wrapped key that has been altered.
type KeyWrapper interface {
	// Key returns the mount of the transit engine and the name of the key.
	Key() (mount, name string)
	// Wrap encrypts a data key.
	Wrap(ctx context.Context, dataKey, keyContext []byte) (wrapped string, err error)
	// Unwrap decrypts a data key, which the caller wipes.
	Unwrap(ctx context.Context, wrapped string, keyContext []byte) (dataKey []byte, err error)
	// RewrapBatch brings wrapped keys to the newest key version. It returns as
	// many results and errors as it is given keys; each stands for itself.
	RewrapBatch(ctx context.Context, wrapped []string, keyContexts [][]byte) (rewrapped []string, errs []error)
	// LatestVersion returns the newest version of the key.
	LatestVersion(ctx context.Context) (uint32, error)
}

// A Store puts and gets encrypted objects. It may be used concurrently, and any
// number of Stores, in any number of processes, may share a backend.
type Store struct {
	id          string
	blobs       backend.Blobs
	keys        KeyWrapper
	mount, key  string
	segmentSize int
	pool        *segment.Pool
	cache       *keyCache // nil without one
}

// New returns a Store. It does no input or output.
func New(cfg Config) (*Store, error) {
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = segment.DefaultSize
	}
	switch {
	case cfg.Backend == nil:
		return nil, errors.New("storage: Config.Backend is required")
	case cfg.Keys == nil:
		return nil, errors.New("storage: Config.Keys is required")
	case len(cfg.ID) == 0 || len(cfg.ID) > maxID || !utf8.ValidString(cfg.ID):
		return nil, fmt.Errorf("storage: Config.ID must be 1 to %d bytes of UTF-8", maxID)
	case cfg.SegmentSize < segment.MinSize || cfg.SegmentSize > segment.MaxSize:
		return nil, fmt.Errorf("storage: Config.SegmentSize must be %d to %d bytes", segment.MinSize, segment.MaxSize)
	}
	mount, key := cfg.Keys.Key()
	if mount == "" && key == "" {
		return nil, errors.New("storage: Config.Keys names no transit key: did transit.Open fail, and its error go unnoticed?")
	}
	if !validKeyName(mount) || !validKeyName(key) {
		return nil, fmt.Errorf("storage: transit mount and key name must be 1 to %d bytes of UTF-8", maxKeyName)
	}
	cache, err := newKeyCache(cfg.KeyCache)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return &Store{
		id:          cfg.ID,
		blobs:       cfg.Backend,
		keys:        cfg.Keys,
		mount:       mount,
		key:         key,
		segmentSize: cfg.SegmentSize,
		pool:        segment.NewPool(cfg.SegmentSize),
		cache:       cache,
	}, nil
}

// Version names one content of one object; see [backend.Version].
type Version = backend.Version

// Info is what is known of an object besides its content.
type Info struct {
	// Name is what the object was put under.
	Name string
	// Size is the length of the plaintext in bytes. Unless the object has been
	// read to its end, it is the backend's word.
	Size int64
	// Version names this content for conditional changes. Each put gives a new
	// one; a rewrap keeps it. It is the backend's word.
	Version Version
	// Modified is when the content was put, to the microsecond, by the clock of
	// who put it. A copy has the time of its source, and a rewrap keeps it.
	Modified time.Time
	// Metadata is what was put with it.
	Metadata Metadata
	// KeyVersion is the version of the transit key that wraps the data key.
	KeyVersion uint32
}

func opError(op, name string, err error) error {
	return fmt.Errorf("storage: %s %q: %w", op, name, err)
}

package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// Limits of S3 (AWS, "Amazon S3 multipart upload limits", and CopyObject).
const (
	minPart   = 5 << 20 // of every part but the last
	maxPart   = 5 << 30 // of every part
	copyLimit = 5 << 30 // of what CopyObject copies in one request
)

const (
	defaultPart        = 8 << 20
	defaultConcurrency = 4

	// maxConcurrency is a limit of this package: more requests for one body are
	// no faster, and their memory adds up.
	maxConcurrency = 64
)

// A Config says where the store is.
type Config struct {
	// Client speaks to the server, with endpoint, region, path style, credentials
	// and retries as its owner has set them. It must not be nil. What it uses of
	// connections stays its owner's to close. If its HTTPClient is the SDK's own,
	// the Store has a copy with other connections, which end when they are idle. A
	// BaseEndpoint has neither user information nor a query.
	Client *awss3.Client

	// Bucket must exist.
	Bucket string

	// Prefix stands before every key, so that stores can share a bucket. It is
	// empty or a path of plain components that ends with a slash, such as
	// "atrest/prod/", of 100 bytes at most. No store's prefix may begin with
	// another's.
	Prefix string

	// PartSize is the length in bytes of the first parts of a large body; a shorter
	// body is put in one request. Zero means 8 MiB. S3 allows
	// 5 MiB to 5 GiB. Later parts are longer, so that the 10,000 parts that S3
	// allows hold 335 GiB, or more with a larger PartSize.
	PartSize int64

	// Concurrency is how many parts of one body are sent, copied or, but at least
	// two, fetched at the same time; zero means 4. One Put holds up to
	// (Concurrency+2) × PartSize bytes, 48 MiB with the defaults, and one body that
	// is being read (Concurrency+1) × PartSize, or × 8 MiB if that is less.
	Concurrency int

	// ServerSideEncryption, if set, asks the server to encrypt what it stores once
	// more: "AES256", "aws:kms" or "aws:kms:dsse". SSEKMSKeyID and BucketKeyEnabled
	// go with the latter two. They are passed through with every put and copy.
	ServerSideEncryption types.ServerSideEncryption
	SSEKMSKeyID          string
	BucketKeyEnabled     bool

	// SoleWriter promises that no other process, and no other Store in this one,
	// changes anything under Prefix as long as this Store is in use. Then
	// conditions are decided here, one change of a name after the other, and work
	// on every server. If the promise is broken, changes of others can be lost.
	// Leave it off where the server honours all conditions.
	SoleWriter bool

	// PlaintextHosts are hosts other than this machine to which requests may be
	// sent without TLS.
	PlaintextHosts []string

	// Logger gets warnings about uploads that could not be aborted. Nil discards
	// them.
	Logger *slog.Logger

	// copyLimit and maxEmptyPages replace the constants, for tests.
	copyLimit     int64
	maxEmptyPages int
}

// A Store keeps objects in a bucket. It is safe for concurrent use, and needs no
// closing.
type Store struct {
	cfg     Config
	client  *awss3.Client
	http    awss3.HTTPClient // the client's, guarded and discreet
	log     *slog.Logger
	stripes [stripes]stripe // by key, for exclusively
	copies  [stripes]stripe // by key, for lockCopy
	probing stripe
	caps    *Capabilities // under probing; nil: not probed yet
	parts   sync.Pool     // of *[]byte of PartSize
	chunks  sync.Pool     // of *[]byte of chunkSize, unless that is the same
}

var _ backend.Blobs = (*Store)(nil)

// New opens the store. It sends one request, which tells whether the bucket is
// there and the credentials are good. No such bucket, or an endpoint that does not
// speak S3, is ErrStorageMissing; missing, wrong or expired credentials are
// ErrPermission; an endpoint where nobody answers is ErrUnavailable. One without TLS
// on another machine is ErrPlaintextConnection, unless it is among
// Config.PlaintextHosts. The errors say what to do.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	s := &Store{cfg: cfg, client: cfg.Client, log: cfg.Logger, probing: newStripe()}
	s.http = discreet{guarded(cfg.Client.Options().HTTPClient, cfg.PlaintextHosts)}
	for i := range s.stripes {
		s.stripes[i], s.copies[i] = newStripe(), newStripe()
	}
	if err := s.checkBucket(ctx); err != nil {
		return nil, fmt.Errorf("s3: open bucket %q: %w", cfg.Bucket, err)
	}
	return s, nil
}

// complete checks the fields and fills in the defaults.
func (cfg *Config) complete() error {
	cfg.PartSize = cmp.Or(cfg.PartSize, defaultPart)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, defaultConcurrency)
	cfg.copyLimit = cmp.Or(cfg.copyLimit, copyLimit)
	cfg.maxEmptyPages = cmp.Or(cfg.maxEmptyPages, maxEmptyPages)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Client == nil:
		return errors.New("Config.Client is nil")
	case cfg.Bucket == "":
		return errors.New("Config.Bucket is empty")
	case cfg.PartSize < minPart || cfg.PartSize > maxPart:
		return fmt.Errorf("Config.PartSize is %d, not between 5 MiB and 5 GiB", cfg.PartSize)
	case cfg.Concurrency < 1 || cfg.Concurrency > maxConcurrency:
		return fmt.Errorf("Config.Concurrency is %d, not between 1 and %d", cfg.Concurrency, maxConcurrency)
	}
	if err := checkEndpoint(cfg.Client.Options().BaseEndpoint); err != nil {
		return err
	}
	return checkPrefix(cfg.Prefix)
}

// checkBucket asks for a listing, as the answer to a HEAD has no error code:
// VersityGW answers with status 404 to an unknown access key.
func (s *Store) checkBucket(ctx context.Context) error {
	in := &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: optional(s.cfg.Prefix), MaxKeys: aws.Int32(1)}
	out, err := s.client.ListObjectsV2(ctx, in, s.guard)
	return checkListing(ctx, out, err)
}

// annotate adds the operation and the name to an error, once.
func annotate(err *error, op, name string) {
	if *err != nil {
		*err = fmt.Errorf("s3: %s %.100q: %w", op, name, *err)
	}
}

// checkCondition returns ErrUnsupported for a condition that has no meaning.
func checkCondition(cond backend.Condition) error {
	if cond.IfAbsent && cond.IfVersion != "" {
		return fmt.Errorf("%w: both IfAbsent and IfVersion", atrest.ErrUnsupported)
	}
	return nil
}

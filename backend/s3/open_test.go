package s3

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

func TestNewRefuses(t *testing.T) {
	eachServerAlone(t, func(t *testing.T, srv *devs3.Server) {
		good := config(t, srv)
		with := func(change func(o *awss3.Options)) Config {
			cfg := good
			// A new one, as the signer of the other remembers the right key.
			old := good.Client.Options()
			cfg.Client = awss3.New(awss3.Options{
				BaseEndpoint: old.BaseEndpoint, UsePathStyle: true, Region: old.Region,
				Credentials: old.Credentials, HTTPClient: old.HTTPClient, Retryer: aws.NopRetryer{},
				HTTPSignerV4: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
			}, change)
			return cfg
		}
		const secret = "THESECRETOFTHETEST"
		missing := good
		missing.Bucket = "no-such-bucket-of-atrest"
		static := func(id, secret string) aws.CredentialsProvider {
			return credentials.NewStaticCredentialsProvider(id, secret, "")
		}
		for name, test := range map[string]struct {
			cfg  Config
			want error
			text string // the remedy
		}{
			"missing bucket": {missing, atrest.ErrStorageMissing, "create it"},
			"wrong secret": {with(func(o *awss3.Options) {
				c, err := good.Client.Options().Credentials.Retrieve(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				o.Credentials = static(c.AccessKeyID, secret)
			}), atrest.ErrPermission, "the secret access key is not"},
			"unknown key":    {with(func(o *awss3.Options) { o.Credentials = static("NOBODY", secret) }), atrest.ErrPermission, "does not know the access key"},
			"no credentials": {with(func(o *awss3.Options) { o.Credentials = nil }), atrest.ErrPermission, "the client has no credentials"},
			"none to be had": {with(func(o *awss3.Options) { o.Credentials = nowhere(t) }), atrest.ErrPermission, "set AWS_ACCESS_KEY_ID"},
			"none for now": {with(func(o *awss3.Options) {
				o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					lost := &smithyhttp.RequestSendError{Err: io.ErrUnexpectedEOF}
					return aws.Credentials{}, &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: lost}
				})
			}), atrest.ErrUnavailable, "could not get them"},
			"no region":      {with(func(o *awss3.Options) { o.Region = "" }), nil, "set AWS_REGION"},
			"slow clock":     {with(func(o *awss3.Options) { o.HTTPSignerV4 = skewed{o.HTTPSignerV4, -time.Hour} }), atrest.ErrPermission, "clock"},
			"fast clock":     {with(func(o *awss3.Options) { o.HTTPSignerV4 = skewed{o.HTTPSignerV4, time.Hour} }), atrest.ErrPermission, "clock"},
			"nobody listens": {with(func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://" + freeAddress(t)) }), atrest.ErrUnavailable, "BaseEndpoint"},
			"no such host": {with(func(o *awss3.Options) { o.BaseEndpoint = aws.String("https://nowhere.invalid") }),
				atrest.ErrUnavailable, "BaseEndpoint"},
			"plaintext": {with(func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://s3.example.com:9000") }),
				atrest.ErrPlaintextConnection, "Config.PlaintextHosts"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := New(t.Context(), test.cfg)
				if test.want != nil {
					wantError(t, "New", err, test.want)
				}
				if err == nil || !strings.Contains(err.Error(), test.text) {
					t.Errorf("the error does not say %q: %v", test.text, err)
				}
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds the secret: %v", err)
				}
			})
		}
	})
}

// nowhere is what the SDK finds of credentials where there are none.
func nowhere(t *testing.T) aws.CredentialsProvider {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	cfg, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Credentials
}

// skewed signs as a machine would whose clock is wrong.
type skewed struct {
	awss3.HTTPSignerV4
	by time.Duration
}

func (s skewed) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, options ...func(*v4.SignerOptions)) error {
	return s.HTTPSignerV4.SignHTTP(ctx, c, r, hash, service, region, at.Add(s.by), options...)
}

// TestWrongRegion signs for another region than that of the server. MinIO, unless
// told of one, takes any.
func TestWrongRegion(t *testing.T) {
	t.Parallel()
	srv := server(t, conditional(t))
	if srv.Kind() == devs3.External {
		t.Skip("it is not known which regions an external server takes")
	}
	cfg := config(t, srv)
	cfg.Client = awss3.New(cfg.Client.Options(), func(o *awss3.Options) { o.Region = "eu-central-1" })
	_, err := New(t.Context(), cfg)
	wantError(t, "New with another region", err, atrest.ErrPermission)
	if !strings.Contains(err.Error(), "Region") {
		t.Errorf("the error does not name the region: %v", err)
	}
}

// TestPlaintextHosts sends to a host that is allowed, and not there.
func TestPlaintextHosts(t *testing.T) {
	t.Parallel()
	cfg := config(t, server(t, devs3.Kinds()[0]))
	cfg.Client = awss3.New(cfg.Client.Options(), func(o *awss3.Options) {
		o.BaseEndpoint, o.Retryer = aws.String("http://nowhere.invalid:9000"), aws.NopRetryer{}
	})
	cfg.PlaintextHosts = []string{"nowhere.invalid"}
	_, err := New(t.Context(), cfg)
	wantError(t, "New with an allowed host that does not exist", err, atrest.ErrUnavailable)
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestConfig(t *testing.T) {
	good := Config{Client: awss3.New(awss3.Options{}), Bucket: "b"}
	for name, test := range map[string]struct {
		change func(cfg *Config)
		names  string // what the error names
	}{
		"no client":      {func(cfg *Config) { cfg.Client = nil }, "Config.Client"},
		"no bucket":      {func(cfg *Config) { cfg.Bucket = "" }, "Config.Bucket"},
		"small parts":    {func(cfg *Config) { cfg.PartSize = minPart - 1 }, "Config.PartSize"},
		"large parts":    {func(cfg *Config) { cfg.PartSize = maxPart + 1 }, "Config.PartSize"},
		"negative parts": {func(cfg *Config) { cfg.PartSize = -1 }, "Config.PartSize"},
		"concurrency":    {func(cfg *Config) { cfg.Concurrency = -1 }, "Config.Concurrency"},
		"too many":       {func(cfg *Config) { cfg.Concurrency = maxConcurrency + 1 }, "between 1 and 64"},
		"far too many":   {func(cfg *Config) { cfg.Concurrency = math.MaxInt }, "between 1 and 64"},
		"no slash":       {func(cfg *Config) { cfg.Prefix = "a/b" }, "Config.Prefix"},
		"slash":          {func(cfg *Config) { cfg.Prefix = "/" }, "Config.Prefix"},
		"double slash":   {func(cfg *Config) { cfg.Prefix = "a//" }, "Config.Prefix"},
		"leading slash":  {func(cfg *Config) { cfg.Prefix = "/a/" }, "Config.Prefix"},
		"parent":         {func(cfg *Config) { cfg.Prefix = "../" }, "Config.Prefix"},
		"space":          {func(cfg *Config) { cfg.Prefix = "a b/" }, "Config.Prefix"},
		"long prefix":    {func(cfg *Config) { cfg.Prefix = strings.Repeat("x", maxPrefix) + "/" }, "Config.Prefix"},
	} {
		cfg := good
		test.change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), test.names) {
			t.Errorf("%s: New of %+v: error %v; want one that says %q", name, cfg, err, test.names)
		}
	}
	for _, cfg := range []Config{{}, {Concurrency: 1}, {Concurrency: maxConcurrency}, {PartSize: minPart}, {PartSize: maxPart, Concurrency: maxConcurrency}} {
		cfg.Client, cfg.Bucket = good.Client, good.Bucket
		if err := cfg.complete(); err != nil {
			t.Error(err)
		}
	}
	for _, prefix := range []string{"", "a/", "a/b.c-d_e/", strings.Repeat("x", maxPrefix-1) + "/"} {
		if err := checkPrefix(prefix); err != nil {
			t.Error(err)
		}
	}
}

// TestReadOnly uses credentials that may read only.
func TestReadOnly(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		if srv.Kind() == devs3.External {
			t.Skip("the bucket policy of an external server is left alone")
		}
		// A bucket of its own, as everyone may read it from now on.
		cfg := config(t, srv)
		var err error
		if cfg.Bucket, err = srv.NewBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		v := mustPut(t, newStore(t, cfg), "name", "header", []byte("body"))
		reader, err := srv.ReadOnlyClient(t.Context(), cfg.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Client = client(t, reader)
		s := newStore(t, cfg)
		want(t, s, "name", v, "header", []byte("body"))
		for e, err := range s.List(t.Context(), "", "") {
			if err != nil || e.Name != "name" {
				t.Fatalf("List: %q, %v", e.Name, err)
			}
		}
		put := func(cond backend.Condition) error {
			_, err := s.Put(t.Context(), "name", nil, strings.NewReader("new"), cond)
			return err
		}
		_, copyErr := s.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{})
		for what, err := range map[string]error{
			"Put":            put(backend.Condition{}),
			"Put if absent":  put(backend.Condition{IfAbsent: true}),
			"Put if version": put(backend.Condition{IfVersion: v}),
			"Copy":           copyErr,
			"Delete":         s.Delete(t.Context(), "name", backend.Condition{}),
			"SetHeader":      s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("header"), New: []byte("new")}),
			"large Put": func() error {
				_, err := s.Put(t.Context(), "name", nil, onlyReader(payload(1, 9<<20)), backend.Condition{})
				return err
			}(),
			"Capabilities":    func() error { _, err := s.Capabilities(t.Context()); return err }(),
			"Capabilities, 2": func() error { _, err := s.Capabilities(t.Context()); return err }(),
		} {
			wantError(t, what, err, atrest.ErrPermission)
		}
		want(t, s, "name", v, "header", []byte("body"))
	})
}

// TestDeadline has a server that has stopped to answer.
func TestDeadline(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		if srv.Kind() == devs3.External {
			t.Skip("an external server can't be paused")
		}
		srv = devs3.StartForTest(t, srv.Kind()) // others would wait too
		bucket, err := srv.NewBucket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, sole := range []bool{false, true} {
			s := newStore(t, Config{Client: client(t, srv.Client()), Bucket: bucket, SoleWriter: sole})
			if _, err := s.Capabilities(t.Context()); err != nil {
				t.Fatal(err)
			}
			v := mustPut(t, s, "name", "header", []byte("body"))
			if err := srv.Pause(); err != nil {
				t.Fatal(err)
			}
			calls := map[string]func(ctx context.Context) error{
				"Put": func(ctx context.Context) error {
					_, err := s.Put(ctx, "name", nil, strings.NewReader("x"), backend.Condition{})
					return err
				},
				"Get": func(ctx context.Context) error { _, err := s.Get(ctx, "name", backend.All, ""); return err },
				"Copy": func(ctx context.Context) error {
					_, err := s.Copy(ctx, "copy", "name", v, nil, backend.Condition{})
					return err
				},
				"Delete": func(ctx context.Context) error { return s.Delete(ctx, "name", backend.Condition{}) },
				"List": func(ctx context.Context) (err error) {
					for _, err = range s.List(ctx, "", "") {
					}
					return err
				},
			}
			for what, call := range calls {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				err := call(ctx)
				cancel()
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("%s returned %v after its deadline", what, took)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: error %v; want %q", what, err, context.DeadlineExceeded)
				}
			}
			if err := srv.Resume(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

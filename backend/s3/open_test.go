package s3

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

func TestNewRefuses(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		good := config(t, srv)
		with := func(change func(o *awss3.Options)) Config {
			cfg := good
			// A new one, as the signer of the other remembers the right key.
			old := good.Client.Options()
			cfg.Client = awss3.New(awss3.Options{
				BaseEndpoint: old.BaseEndpoint, UsePathStyle: true, Region: old.Region,
				Credentials: old.Credentials, HTTPClient: old.HTTPClient,
			}, change)
			return cfg
		}
		const secret = "THESECRETOFTHETEST"
		missing := good
		missing.Bucket = "no-such-bucket-of-atrest"
		for name, test := range map[string]struct {
			cfg  Config
			want error
		}{
			"missing bucket": {missing, atrest.ErrStorageMissing},
			"wrong secret": {with(func(o *awss3.Options) {
				c, err := good.Client.Options().Credentials.Retrieve(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				o.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, secret, "")
			}), atrest.ErrPermission},
			"unknown key":    {with(func(o *awss3.Options) { o.Credentials = credentials.NewStaticCredentialsProvider("NOBODY", secret, "") }), atrest.ErrPermission},
			"nobody listens": {with(func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://" + freeAddress(t)) }), atrest.ErrUnavailable},
			"plaintext":      {with(func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://s3.example.com:9000") }), atrest.ErrPlaintextConnection},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := New(t.Context(), test.cfg)
				wantError(t, "New", err, test.want)
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds the secret: %v", err)
				}
			})
		}
	})
}

// TestPlaintextHosts sends to a host that is allowed, and not there.
func TestPlaintextHosts(t *testing.T) {
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
	for name, change := range map[string]func(cfg *Config){
		"no client":     func(cfg *Config) { cfg.Client = nil },
		"no bucket":     func(cfg *Config) { cfg.Bucket = "" },
		"small parts":   func(cfg *Config) { cfg.PartSize = minPart - 1 },
		"large parts":   func(cfg *Config) { cfg.PartSize = maxPart + 1 },
		"concurrency":   func(cfg *Config) { cfg.Concurrency = -1 },
		"no slash":      func(cfg *Config) { cfg.Prefix = "a/b" },
		"slash":         func(cfg *Config) { cfg.Prefix = "/" },
		"double slash":  func(cfg *Config) { cfg.Prefix = "a//" },
		"leading slash": func(cfg *Config) { cfg.Prefix = "/a/" },
		"parent":        func(cfg *Config) { cfg.Prefix = "../" },
		"space":         func(cfg *Config) { cfg.Prefix = "a b/" },
		"long prefix":   func(cfg *Config) { cfg.Prefix = strings.Repeat("x", maxPrefix) + "/" },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: New accepts %+v", name, cfg)
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

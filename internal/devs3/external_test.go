package devs3

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestExternal has a server of ours stand for one of somebody else's.
func TestExternal(t *testing.T) {
	for _, kind := range ourKinds {
		t.Run(string(kind), func(t *testing.T) {
			theirs := StartForTest(t, kind)
			setExternal(t, theirs, "")
			if got := Kinds(); !slices.Equal(got, []Kind{External}) {
				t.Fatalf("Kinds() = %v, want only %s", got, External)
			}
			s := StartForTest(t, External)
			bucket := newBucket(t, s)
			mustPut(t, s, bucket, "text")
			checkGet(t, theirs.Client(), bucket, "text")
			for name, err := range map[string]error{
				"pause": s.Pause(), "resume": s.Resume(), "kill": s.Kill(), "restart": s.Restart(t.Context()),
			} {
				if !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%s: %v, want %v", name, err, errors.ErrUnsupported)
				}
			}
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			checkGet(t, theirs.Client(), bucket, "text")

			setExternal(t, theirs, bucket)
			if shared := newBucket(t, StartForTest(t, External)); shared != bucket {
				t.Errorf("NewBucket = %q, want the one of the environment, %q", shared, bucket)
			}
		})
	}
}

func TestExternalNotThere(t *testing.T) {
	theirs := StartForTest(t, MinIO)
	setExternal(t, theirs, "no-such-bucket")
	if s, err := Start(t.Context(), Options{Kind: External}); err == nil || !strings.Contains(err.Error(), theirs.Endpoint()) {
		t.Errorf("Start without its bucket = %v, %v", s, err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if s, err := Start(t.Context(), Options{Kind: External}); err == nil || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
		t.Errorf("Start without credentials = %v, %v", s, err)
	}
	t.Setenv(endpointVariable, "")
	if s, err := Start(t.Context(), Options{Kind: External}); err == nil || !strings.Contains(err.Error(), endpointVariable) {
		t.Errorf("Start without an endpoint = %v, %v", s, err)
	}
	if got := Kinds(); !slices.Equal(got, ourKinds) {
		t.Errorf("Kinds() = %v, want %v", got, ourKinds)
	}
}

func setExternal(t *testing.T, theirs *Server, bucket string) {
	t.Helper()
	for name, value := range map[string]string{
		endpointVariable:        theirs.Endpoint(),
		bucketVariable:          bucket,
		"AWS_ACCESS_KEY_ID":     theirs.credentials.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": theirs.credentials.SecretAccessKey,
		"AWS_SESSION_TOKEN":     "",
		"AWS_REGION":            "",
	} {
		t.Setenv(name, value)
	}
}

// TestEnvironmentHasNoSay sets what could lead clients and servers astray.
func TestEnvironmentHasNoSay(t *testing.T) {
	for name, value := range map[string]string{
		"HTTP_PROXY":            "http://127.0.0.1:1",
		"NO_PROXY":              "",
		"AWS_ACCESS_KEY_ID":     "somebody",
		"AWS_SECRET_ACCESS_KEY": "else",
		"AWS_ENDPOINT_URL":      "http://127.0.0.1:1",
		"AWS_REGION":            "eu-central-1",
		"MINIO_ROOT_PASSWORD":   "another-password",
		"MINIO_DOMAIN":          "example.org",
		"VGW_READ_ONLY":         "true",
		"ROOT_ACCESS_KEY_ID":    "somebody",
	} {
		t.Setenv(name, value)
	}
	for _, kind := range ourKinds {
		s := StartForTest(t, kind)
		bucket := newBucket(t, s)
		mustPut(t, s, bucket, "text")
		checkGet(t, s.Client(), bucket, "text")
	}
}

func TestMissingBinary(t *testing.T) {
	t.Chdir(t.TempDir()) // outside the repository
	if s, err := Start(t.Context(), Options{Kind: MinIO}); !errors.Is(err, ErrNoBinary) {
		t.Errorf("Start = %v, %v, want %v", s, err, ErrNoBinary)
	}
	if _, err := findBinary("none"); !errors.Is(err, ErrNoBinary) {
		t.Errorf("findBinary: %v, want %v", err, ErrNoBinary)
	}
}

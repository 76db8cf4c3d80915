package devs3

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary behave as another program; see orphan_linux_test.go.
const helperVariable = "DEVS3_TEST_HELPER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(helperVariable); kind != "" {
		if err := helper(Kind(kind)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// ourKinds are the servers that we run ourselves, whatever the environment names.
var ourKinds = []Kind{MinIO, VersityGW}

// forEachKind runs a test against each of the servers.
func forEachKind(t *testing.T, test func(t *testing.T, kind Kind)) {
	t.Helper()
	t.Parallel()
	for _, kind := range ourKinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

func newBucket(t *testing.T, s *Server) string {
	t.Helper()
	bucket, err := s.NewBucket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

const object = "team/app/state-1.json"

var metadata = map[string]string{"atrest-header": "AQID"}

func put(ctx context.Context, client *s3.Client, bucket, text string) error {
	key := object
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(text), Metadata: metadata})
	return err
}

func mustPut(t *testing.T, s *Server, bucket, text string) {
	t.Helper()
	if err := put(t.Context(), s.Client(), bucket, text); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, client *s3.Client, bucket string) (text, header string, err error) {
	key := object
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", "", err
	}
	defer out.Body.Close() // read to its end, or the test fails
	body, err := io.ReadAll(out.Body)
	return string(body), out.Metadata["atrest-header"], err
}

// checkGet requires that a client can read what put has stored.
func checkGet(t *testing.T, client *s3.Client, bucket, want string) {
	t.Helper()
	text, header, err := get(t.Context(), client, bucket)
	if err != nil {
		t.Fatal(err)
	}
	if text != want || header != metadata["atrest-header"] {
		t.Errorf("get = %q with header %q, want %q with %q", text, header, want, metadata["atrest-header"])
	}
}

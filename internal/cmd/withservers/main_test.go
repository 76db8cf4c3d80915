//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/atrest/atrest/internal/beside/besidetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	besidetest.BeProgram(main)
	goleak.VerifyTestMain(m)
}

// elsewhere is what the command must not see.
var elsewhere = []string{"PGHOST=elsewhere", "AWS_PROFILE=elsewhere", "DATABASE_URL=elsewhere", "S3_BUCKET=elsewhere"}

// TestEnvironment checks by which names the command finds the servers. That they
// serve it, the tests of their packages show.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"minio", "versitygw"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			got := besidetest.Run(t, append(elsewhere, "VAULT_ADDR=http://withvault"), "-postgres", "-s3", kind, "--", "env")
			if got.Code != 0 {
				t.Fatalf("got %+v", got)
			}
			for _, want := range []string{
				"DATABASE_URL=postgres://atrest:", "AWS_ENDPOINT_URL_S3=http://127.0.0.1:", "AWS_REGION=us-east-1\n",
				"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "S3_BUCKET=atrest-test-", "VAULT_ADDR=http://withvault\n",
			} {
				if !strings.Contains(got.Stdout, want) {
					t.Errorf("the command's environment lacks %s", want)
				}
			}
			if strings.Contains(got.Stdout, "=elsewhere") {
				t.Error("the command's environment points to other servers")
			}
			if !strings.Contains(got.Stderr, "PostgreSQL at 127.0.0.1:") || !strings.Contains(got.Stderr, "S3 ("+kind+") at http://127.0.0.1:") {
				t.Errorf("stderr = %q", got.Stderr)
			}
		})
	}
}

// TestOnlyWhatIsAskedFor leaves the variables of servers alone that it does not
// start.
func TestOnlyWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	got := besidetest.Run(t, elsewhere, "-quiet", "--", "env")
	if got.Code != 0 || got.Stderr != "" {
		t.Fatalf("code %d, stderr %q", got.Code, got.Stderr)
	}
	for _, want := range elsewhere {
		if !strings.Contains(got.Stdout, want+"\n") {
			t.Errorf("the command's environment lacks %s", want)
		}
	}
}

// TestSecondServerDoesNotStart must stop the first one, and leave nothing of it.
func TestSecondServerDoesNotStart(t *testing.T) {
	t.Parallel()
	// Its endpoint is a port at which nobody listens.
	got := besidetest.Run(t, []string{"ATREST_TEST_S3_ENDPOINT=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"},
		"-postgres", "-s3", "external", "--", "true")
	if got.Code != 125 || !strings.Contains(got.Stderr, "127.0.0.1:1") {
		t.Errorf("got %+v, want code 125 and the reason", got)
	}
}

func TestUnknownKind(t *testing.T) {
	t.Parallel()
	got := besidetest.Run(t, nil, "-s3", "no-such-kind", "--", "true")
	if got.Code != 2 || !strings.Contains(got.Stderr, "versitygw") {
		t.Errorf("got %+v, want code 2 and the kinds", got)
	}
}

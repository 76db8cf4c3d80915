package atrest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/atrest/atrest"

// mayImport says which packages of this module each package may import, beside
// the root, which holds the errors and imports nothing. A name that ends in
// "/..." stands for everything below it.
var mayImport = map[string][]string{
	"":                           {},
	"backend":                    {},
	"backend/backendtest":        {"backend"},
	"backend/disk":               {"backend"},
	"backend/memory":             {"backend"},
	"backend/postgres":           {"backend", "internal/coalesce", "internal/plaintext"},
	"backend/s3":                 {"backend", "internal/plaintext"},
	"internal/plaintext":         {},
	"internal/tinyfs":            {},
	"internal/coalesce":          {},
	"internal/faultproxy":        {},
	"internal/child":             {},
	"internal/devpostgres":       {"internal/child"},
	"internal/devs3":             {"internal/child"},
	"internal/segment":           {},
	"storage":                    {"backend", "internal/segment"},
	"internal/vaultclient":       {"internal/plaintext"},
	"seal":                       {"backend", "internal/vaultclient"},
	"seal/vaultserver":           {"internal/child", "internal/plaintext"},
	"transit":                    {"internal/coalesce", "internal/vaultclient"},
	"internal/devvault":          {"internal/child"},
	"internal/beside":            {},
	"internal/beside/besidetest": {},
	"internal/cmd/withvault":     {"internal/beside", "internal/devvault"},
	"internal/cmd/withservers":   {"internal/beside", "internal/devpostgres", "internal/devs3"},
	"examples":                   {},
	"examples/...":               {"backend", "backend/disk", "backend/memory", "backend/postgres", "backend/s3", "seal", "seal/vaultserver", "storage", "transit"},
}

// clients are the modules that only some packages may import, tests apart.
var clients = map[string][]string{
	"github.com/hashicorp/vault/api": {"transit", "seal", "seal/vaultserver", "internal/vaultclient", "internal/devvault", "examples/..."},
	"pgregory.net/rapid":             {"backend/backendtest"},

	"golang.org/x/crypto/argon2":           {"seal"},
	"go.opentelemetry.io/otel/attribute":   {"seal"},
	"go.opentelemetry.io/otel/metric":      {"seal"},
	"go.opentelemetry.io/otel/metric/noop": {"seal"},
	"golang.org/x/crypto/chacha20poly1305": {"seal"},

	"go.uber.org/goleak": {"backend/backendtest"},

	"github.com/jackc/pgx/v5":                         {"backend/postgres", "internal/devpostgres", "examples/..."},
	"github.com/jackc/pgx/v5/pgconn":                  {"backend/postgres", "internal/devpostgres"},
	"github.com/jackc/pgx/v5/pgxpool":                 {"backend/postgres", "internal/devpostgres", "examples/..."},
	"github.com/jackc/pgx/v5/pgtype":                  {"backend/postgres"},
	"github.com/aws/aws-sdk-go-v2/aws":                {"backend/s3", "internal/devs3", "examples/..."},
	"github.com/aws/aws-sdk-go-v2/aws/middleware":     {"backend/s3"},
	"github.com/aws/aws-sdk-go-v2/aws/transport/http": {"backend/s3", "internal/devs3"},
	"github.com/aws/aws-sdk-go-v2/config":             {"internal/devs3", "examples/..."},
	"github.com/aws/aws-sdk-go-v2/credentials":        {"internal/devs3", "examples/..."},
	"github.com/aws/aws-sdk-go-v2/service/s3":         {"backend/s3", "internal/devs3", "examples/..."},
	"github.com/aws/aws-sdk-go-v2/service/s3/types":   {"backend/s3", "internal/devs3"},
	"github.com/aws/smithy-go":                        {"backend/s3", "internal/devs3"},
	"github.com/aws/smithy-go/middleware":             {"backend/s3"},
	"github.com/aws/smithy-go/transport/http":         {"backend/s3"},
}

// TestLayering keeps the rooms of the house apart: ciphertext backends know no
// Vault, the Vault client knows no storage, and nothing knows the tests.
func TestLayering(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		checkImports(t, strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/"), pkg.Imports)
	}
	if seen < 9 {
		t.Fatalf("only %d packages were found", seen)
	}
}

func checkImports(t *testing.T, pkg string, imports []string) {
	t.Helper()
	allowed, ok := lookUp(pkg)
	if !ok {
		t.Errorf("package %q has no line in mayImport", pkg)
		return
	}
	for _, path := range imports {
		if own, ok := strings.CutPrefix(path, module+"/"); ok && !slices.Contains(allowed, own) {
			t.Errorf("%s must not import %s", pkg, path)
		}
		if users, ok := clients[path]; ok && !slices.ContainsFunc(users, func(u string) bool { return covers(u, pkg) }) {
			t.Errorf("%s must not import %s", pkg, path)
		} else if !ok && strings.Contains(path, ".") && !strings.HasPrefix(path, module) {
			t.Errorf("%s imports %s, which has no line in clients", pkg, path)
		}
	}
}

func lookUp(pkg string) (allowed []string, ok bool) {
	for name, allowed := range mayImport {
		if covers(name, pkg) {
			return allowed, true
		}
	}
	return nil, false
}

func covers(pattern, pkg string) bool {
	below, ok := strings.CutSuffix(pattern, "...")
	return pkg == pattern || ok && strings.HasPrefix(pkg, below)
}

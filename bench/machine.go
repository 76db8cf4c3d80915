package main

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/atrest/atrest/internal/child"
)

// A machine is what figures depend on, line by line, for people.
type machine []string

func (m machine) String() string {
	var b strings.Builder
	for _, line := range m {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	return b.String()
}

// describe says where and of what was measured. What can't be found out is
// "unknown": that is no reason to lose the figures.
func describe(ctx context.Context, e *env) machine {
	info, _ := debug.ReadBuildInfo()
	m := machine{
		"Command: `bench " + strings.Join(os.Args[1:], " ") + "`, " + time.Now().UTC().Format("2006-01-02"),
		"Commit: " + commit(ctx),
		fmt.Sprintf("Processor: %s, %d cores; memory: %s; kernel: %s", fieldOf("/proc/cpuinfo", "model name"),
			runtime.NumCPU(), memorySize(), kernel()),
		"Go: " + runtime.Version() + "; " + modules(info, "github.com/tink-crypto/tink-go/v2", "github.com/minio/sio",
			"filippo.io/age", "gocloud.dev/secrets/hashivault", "github.com/jackc/pgx/v5"),
	}
	if servers := serverVersions(ctx, e); servers != "" {
		m = append(m, "Servers, on the same machine: "+servers)
	}
	return m
}

// commit is that of the working directory's repository.
func commit(ctx context.Context) string {
	revision, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain").Output()
	if err != nil || len(changes) > 0 {
		return strings.TrimSpace(string(revision)) + ", with changes"
	}
	return strings.TrimSpace(string(revision))
}

// fieldOf returns the first value of a "name: value" file.
func fieldOf(path, name string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memorySize() string {
	kilobytes, err := strconv.Atoi(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB"))
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(kilobytes)/(1<<20))
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(release))
}

// modules names those that a program was built with.
func modules(info *debug.BuildInfo, paths ...string) string {
	var found []string
	if info != nil {
		for _, path := range paths {
			for _, m := range info.Deps {
				if m.Path == path {
					found = append(found, strings.TrimSuffix(path, "/v5")+" "+m.Version)
				}
			}
		}
	}
	return strings.Join(found, ", ")
}

// serverVersions are those of the servers that took part.
func serverVersions(ctx context.Context, e *env) string {
	var versions []string
	if e.vaultServer != nil {
		version := "unknown"
		if client, err := e.vaultServer.Client(); err == nil {
			if health, err := client.Sys().HealthWithContext(ctx); err == nil {
				version = health.Version
			}
		}
		versions = append(versions, "Vault "+version+" (data in memory)")
	}
	if e.sharedPool != nil {
		version := "unknown"
		_ = e.sharedPool.QueryRow(ctx, "SHOW server_version").Scan(&version)
		versions = append(versions, "PostgreSQL "+version)
	}
	if e.s3Server != nil {
		versions = append(versions, s3Version(string(e.s3Server.Kind())))
	}
	return strings.Join(versions, ", ")
}

// s3Version reads the version of an S3 server from its program, which is a build
// of the repository's own.
func s3Version(kind string) string {
	upstream := map[string]string{"versitygw": "github.com/versity/versitygw", "minio": "github.com/minio/minio"}[kind]
	root, err := child.RepositoryRoot()
	if err != nil || upstream == "" {
		return kind
	}
	info, err := buildinfo.ReadFile(filepath.Join(root, "dev", "bin", kind))
	if err != nil {
		return kind
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == upstream {
			return kind + " " + m.Version
		}
	}
	return kind
}

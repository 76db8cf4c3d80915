package seal

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/atrest/atrest/backend/memory"
	"github.com/atrest/atrest/internal/devvault"
)

// BenchmarkBoot boots a machine of an installation that exists, with a Vault that is
// sealed, in a new process each time, and reports what is beyond the cost of Argon2id.
func BenchmarkBoot(b *testing.B) {
	vault := devvault.StartForTest(b, devvault.Options{Bare: true, StorageDir: b.TempDir()})
	records := memory.NewRecords()
	path := filepath.Join(b.TempDir(), "node", "password")
	start := func() *Manager {
		client, err := vault.Client()
		if err != nil {
			b.Fatal(err)
		}
		m, err := New(Config{Vault: client, Records: records, InstanceKey: fixedKey(1), PasswordFile: path})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	first := start()
	if err := first.Boot(b.Context(), []byte(testPassword)); err != nil {
		b.Fatal(err)
	}
	first.Close()
	var boots, argon time.Duration
	for b.Loop() {
		if err := vault.Restart(b.Context()); err != nil {
			b.Fatal(err)
		}
		m := start()
		began := time.Now()
		if err := m.Boot(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		boots += time.Since(began)
		m.Close()
		began = time.Now()
		k := new(kdfCache)
		key, err := k.key(secretOf(testPassword), newSalt(), Argon2id{}.withDefaults())
		if err != nil {
			b.Fatal(err)
		}
		argon += time.Since(began)
		key.wipe()
		k.close()
	}
	b.ReportMetric(0, "ns/op") // the restarts are in it
	b.ReportMetric(float64(boots.Milliseconds())/float64(b.N), "boot-ms")
	b.ReportMetric(float64(argon.Milliseconds())/float64(b.N), "argon2id-ms")
	b.ReportMetric(float64((boots-argon).Milliseconds())/float64(b.N), "beyond-ms")
}

// BenchmarkReunseal kills Vault under KeepUnsealed, and reports how long after its start
// it is unsealed.
func BenchmarkReunseal(b *testing.B) {
	vault := devvault.StartForTest(b, devvault.Options{Bare: true, StorageDir: b.TempDir()})
	client, err := vault.Client()
	if err != nil {
		b.Fatal(err)
	}
	m, err := New(Config{Vault: client, Records: memory.NewRecords(), InstanceKey: fixedKey(1), PasswordFile: filepath.Join(b.TempDir(), "node", "password")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	if err := m.Boot(b.Context(), []byte(testPassword)); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.KeepUnsealed(ctx) }()
	var total, most time.Duration
	for b.Loop() {
		if err := vault.Kill(); err != nil {
			b.Fatal(err)
		}
		if err := vault.Restart(b.Context()); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for {
			if state, err := m.vaultState(b.Context()); err == nil && state == VaultActive {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		total += time.Since(began)
		most = max(most, time.Since(began))
	}
	cancel()
	<-ended
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "unsealed-after-ms")
	b.ReportMetric(float64(most.Milliseconds()), "at-most-ms")
}

package storage_test

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/storage"
	"github.com/atrest/atrest/transit"
)

// twoOnPostgres returns two stores with the same objects and the same key, which share nothing
// but PostgreSQL and Vault, and counts the requests of the first to Vault.
func twoOnPostgres(t *testing.T) (writer, reader *storage.Store, requests *atomic.Int64) {
	t.Helper()
	keys, requests := countedKeys(t)
	pool := newPool(t, database.get(t).URL())
	schema := newSchema(t, pool)
	writer = newStore(t, storage.Config{Keys: keys, Backend: openPostgres(t, pool, schema)})

	client, err := vault.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, key := keys.Key()
	other, err := transit.Open(t.Context(), transit.Config{Client: client, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	reader = newStore(t, storage.Config{Keys: other, Backend: openPostgres(t, newPool(t, database.get(t).URL()), schema)})
	return writer, reader, requests
}

// variedSize is mostly small, and now and then what goes to the backend by itself, or has several
// rows there.
func variedSize(i int) int {
	switch i % 400 {
	case 11:
		return 0
	case 12, 13, 14:
		return 15<<10 + i%400 - 13 // around what goes into a batch
	case 15, 16, 17:
		return 16<<10 + i%400 - 16
	case 18:
		return 100 << 10
	case 19:
		return 300 << 10
	}
	return 10 + i%1500
}

// varied gives a secret a content of its own, and some of them metadata.
func varied(i int, s *storage.Secret) {
	s.Content = noise(variedSize(i))
	copy(s.Content, fmt.Sprintf("%08d", i))
	if i%10 == 3 {
		s.Options = &storage.PutOptions{Metadata: storage.Metadata{"number": fmt.Sprint(i)}}
	}
}

// allOf returns all of a source that does not fail.
func allOf(t *testing.T, secrets iter.Seq2[storage.Secret, error]) []storage.Secret {
	t.Helper()
	var all []storage.Secret
	for s, err := range secrets {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// wantMany gets the secrets and compares them with what they are to be. Those of whom an
// error is wanted have it.
func wantMany(t *testing.T, s *storage.Store, want []storage.Secret, infos []storage.Info, wantErrs map[int]error) {
	t.Helper()
	i := 0
	for got, err := range s.GetMany(t.Context(), func(yield func(string, error) bool) {
		for _, secret := range want {
			if !yield(secret.Name, nil) {
				return
			}
		}
	}, nil) {
		switch secret := want[i]; {
		case wantErrs[i] != nil:
			wantError(t, err, wantErrs[i])
		case err != nil:
			t.Fatalf("%d: %v", i, err)
		case got.Info.Name != secret.Name || !bytes.Equal(got.Content, secret.Content):
			t.Fatalf("%d: %q has %d bytes, which are not the %d that were put as %q", i, got.Info.Name, len(got.Content), len(secret.Content), secret.Name)
		case got.Info.Version != infos[i].Version:
			t.Fatalf("%d: version %q; PutMany said %q", i, got.Info.Version, infos[i].Version)
		case secret.Options != nil && got.Info.Metadata["number"] != secret.Options.Metadata["number"]:
			t.Fatalf("%d: metadata %v", i, got.Info.Metadata)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%d of %d were got", i, len(want))
	}
}

// TestPutManyOnServers puts some thousands, of all sizes, and then puts them again.
func TestPutManyOnServers(t *testing.T) {
	const n = 3000
	writer, reader, requests := twoOnPostgres(t)
	secrets := allOf(t, secretsOf(n, varied))
	var infos []storage.Info
	for range 2 {
		before := infos
		infos = nil
		for info, err := range writer.PutMany(t.Context(), secretsOf(n, varied), nil) {
			i := len(infos)
			switch {
			case err != nil:
				t.Fatalf("%d: %v", i, err)
			case info.Name != secrets[i].Name || info.Size != int64(len(secrets[i].Content)) || info.Version == "":
				t.Fatalf("%d: %+v", i, info)
			case before != nil && info.Version == before[i].Version:
				t.Fatalf("%d: version %q again", i, info.Version)
			}
			infos = append(infos, info)
		}
		if len(infos) != n {
			t.Fatalf("%d of %d were put", len(infos), n)
		}
		wantMany(t, reader, secrets, infos, nil)
	}
	if got := requests.Load(); got > 2*n/20 {
		t.Errorf("%d requests to Vault for %d secrets", got, 2*n)
	}
	listed := 0
	for _, err := range reader.List(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		listed++
	}
	if listed != n {
		t.Errorf("%d objects are listed", listed)
	}
}

// TestPutManyRefusedOnServers has some refused, by this library and by the database. They fail
// alone.
func TestPutManyRefusedOnServers(t *testing.T) {
	const n = 1000
	writer, reader, _ := twoOnPostgres(t)
	kept := map[int]storage.Info{}
	for _, i := range []int{700, 701} {
		kept[i] = mustPut(t, writer, fmt.Sprintf("secret-%05d", i), []byte("it was there"))
	}
	refused := map[int]error{
		3: atrest.ErrInvalidName, 130: atrest.ErrInvalidName, 131: atrest.ErrTooLarge,
		700: atrest.ErrExists, 701: atrest.ErrConflict, 999: atrest.ErrInvalidName,
	}
	secrets := allOf(t, secretsOf(n, varied, func(i int, s *storage.Secret) {
		switch i {
		case 3:
			s.Name = ""
		case 130:
			s.Name = "a\x00b"
		case 131:
			s.Options = &storage.PutOptions{Metadata: storage.Metadata{"long": strings.Repeat("x", 1<<20)}}
		case 600: // of which there is none yet
			s.Options = &storage.PutOptions{IfAbsent: true}
		case 700:
			s.Options = &storage.PutOptions{IfAbsent: true}
		case 701:
			s.Options = &storage.PutOptions{IfVersion: kept[700].Version}
		case 999:
			s.Name = "\xff"
		}
	}))
	infos := make([]storage.Info, 0, n)
	for info, err := range writer.PutMany(t.Context(), theseSecrets(secrets), nil) {
		i := len(infos)
		if info.Name != secrets[i].Name {
			t.Fatalf("%d: %q, not %q; %v", i, info.Name, secrets[i].Name, err)
		}
		if want := refused[i]; want != nil {
			wantError(t, err, want)
		} else if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		infos = append(infos, info)
	}
	if len(infos) != n {
		t.Fatalf("it ended after %d", len(infos))
	}
	for i, info := range kept {
		secrets[i].Content, secrets[i].Options, infos[i] = []byte("it was there"), nil, info
	}
	wantMany(t, reader, secrets, infos, map[int]error{
		3: atrest.ErrInvalidName, 130: atrest.ErrInvalidName, 131: atrest.ErrNotFound, 999: atrest.ErrInvalidName,
	})
}

// theseSecrets yields the secrets.
func theseSecrets(secrets []storage.Secret) iter.Seq2[storage.Secret, error] {
	return func(yield func(storage.Secret, error) bool) {
		for _, s := range secrets {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// TestPutManySlowSource has a source that yields a few and none after that before these
// were put, as one does whose secrets come from somebody who waits for them.
func TestPutManySlowSource(t *testing.T) {
	writer, reader, _ := twoOnPostgres(t)
	secrets := allOf(t, secretsOf(40, varied))
	put := make(chan string, len(secrets))
	late := time.After(15 * time.Second) // for all of them, which take a second, if that
	slow := func(yield func(storage.Secret, error) bool) {
		rest := secrets
		for size := 1; len(rest) > 0; size = size%4 + 1 {
			some := rest[:min(size, len(rest))]
			rest = rest[len(some):]
			for _, s := range some {
				if !yield(s, nil) {
					return
				}
			}
			for _, s := range some {
				select {
				case name := <-put:
					if name != s.Name {
						t.Errorf("%q was put, not %q", name, s.Name)
					}
				case <-late:
					t.Errorf("%q is not put, and the source waits for it", s.Name)
					return
				}
				if got, _, err := reader.GetBytes(t.Context(), s.Name); err != nil || !bytes.Equal(got, s.Content) {
					t.Errorf("%q is said to be put; its %d bytes are %d: %v", s.Name, len(s.Content), len(got), err)
				}
			}
		}
	}
	n := 0
	for info, err := range writer.PutMany(t.Context(), slow, nil) {
		if err != nil {
			t.Error(err)
		}
		put <- info.Name
		n++
	}
	if n != len(secrets) {
		t.Errorf("%d of %d were put", n, len(secrets))
	}
}

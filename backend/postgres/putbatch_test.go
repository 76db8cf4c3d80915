package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// TestPutBatch puts more than one statement's worth, some that fail, some that are long, and two
// of one name.
func TestPutBatch(t *testing.T) {
	s := newStore(t, newPool(t, server.URL()))
	if _, err := s.Put(t.Context(), "taken", nil, bytes.NewReader([]byte("old")), backend.Condition{}); err != nil {
		t.Fatal(err)
	}
	var puts []backend.SmallPut
	for i := range 2*groupSize + 10 {
		puts = append(puts, backend.SmallPut{Name: fmt.Sprintf("n%04d", i), Header: []byte{byte(i)}, Body: randomBytes(i)})
	}
	special := len(puts)
	puts = append(puts,
		backend.SmallPut{Name: "taken", Body: []byte("new"), IfAbsent: true},
		backend.SmallPut{Name: ""},
		backend.SmallPut{Name: "long header", Header: make([]byte, backend.MaxHeader+1)},
		backend.SmallPut{Name: "long", Body: randomBytes(groupBody + 1)},
		backend.SmallPut{Name: "twice", Body: []byte("a")},
		backend.SmallPut{Name: "twice", Body: []byte("b")},
		backend.SmallPut{Name: "absent", Body: []byte("c"), IfAbsent: true},
	)
	versions, errs := s.PutBatch(t.Context(), puts)
	if len(versions) != len(puts) || len(errs) != len(puts) {
		t.Fatalf("%d versions, %d errors", len(versions), len(errs))
	}
	if !errors.Is(errs[special], atrest.ErrExists) || !errors.Is(errs[special+1], atrest.ErrInvalidName) || errs[special+2] == nil {
		t.Errorf("%v", errs[special:special+3])
	}
	for i, p := range puts {
		switch {
		case i >= special && i < special+3:
			if versions[i] != "" {
				t.Errorf("%q failed and has version %q", p.Name, versions[i])
			}
			continue
		case errs[i] != nil:
			t.Errorf("%q: %v", p.Name, errs[i])
			continue
		}
		o, err := s.Get(t.Context(), p.Name, backend.All, "")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(o.Body)
		if p.Name == "twice" {
			if o.Version != versions[special+4] && o.Version != versions[special+5] {
				t.Errorf("%q is neither of the two", p.Name)
			}
			continue
		}
		if err != nil || !bytes.Equal(body, p.Body) || !bytes.Equal(o.Header, p.Header) || o.Version != versions[i] {
			t.Errorf("%q: %d bytes, header %x, version %q, %v", p.Name, len(body), o.Header, o.Version, err)
		}
	}
	if versions, errs := s.PutBatch(t.Context(), nil); len(versions) != 0 || len(errs) != 0 {
		t.Error("nothing has results")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range second(s.PutBatch(ctx, puts[:3])) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

func second(_ []backend.Version, errs []error) []error { return errs }

// TestPutBatchRefused has the server refuse one, which fails alone.
func TestPutBatchRefused(t *testing.T) {
	s := newStore(t, newPool(t, server.URL()))
	execSQL(t, s, `CREATE FUNCTION @schema@.mind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.name = 'n0003' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$`)
	execSQL(t, s, `CREATE TRIGGER mind BEFORE INSERT ON @schema@.objects FOR EACH ROW EXECUTE FUNCTION @schema@.mind()`)
	var puts []backend.SmallPut
	for i := range 10 {
		puts = append(puts, backend.SmallPut{Name: fmt.Sprintf("n%04d", i), Body: []byte("body")})
	}
	versions, errs := s.PutBatch(t.Context(), puts)
	for i := range puts {
		if bad := i == 3; (errs[i] != nil) != bad || (versions[i] == "") != bad {
			t.Errorf("%d: %q, %v", i, versions[i], errs[i])
		}
	}
}

// TestPutBatchLost cuts the connection before the server hears of the statement: all puts are looked
// for at once.
func TestPutBatchLost(t *testing.T) {
	t.Parallel()
	c := &cutter{text: "n0003", when: unsent}
	s := newStore(t, newPool(t, server.URL()))
	cut := elsewhere(s, newPool(t, server.URL(), c.intoPool))
	var puts []backend.SmallPut
	for i := range 100 {
		puts = append(puts, backend.SmallPut{Name: fmt.Sprintf("n%04d", i), Body: []byte("body")})
	}
	start := time.Now()
	versions, errs := cut.PutBatch(t.Context(), puts)
	for i := range puts {
		if !errors.Is(errs[i], atrest.ErrUnavailable) || !strings.Contains(errs[i].Error(), "may have been made") || versions[i] != "" {
			t.Fatalf("%d: %q, %v, want an error that leaves it open", i, versions[i], errs[i])
		}
	}
	if took := time.Since(start); c.cuts.Load() != 1 || took > 3*settleTime {
		t.Errorf("it took %v, with %d connections cut", took, c.cuts.Load())
	}
}

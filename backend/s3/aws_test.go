package s3

import (
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// TestAsOnAWS takes the server for one that honours all conditions, which no
// server here does, and looks at what is sent to it. Nobody else writes, so that
// the outcome is right nevertheless.
func TestAsOnAWS(t *testing.T) {
	cfg := config(t, server(t, conditional(t)))
	var w *wire
	cfg.Client, w = tap(t, cfg.Client)
	s := newStore(t, cfg)
	s.caps = &Capabilities{ConditionalPut: true, CopySource: true, ConditionalCopy: true, ConditionalDelete: true}
	body := payload(1, 1000)
	v := mustPut(t, s, "name", "1", body)
	key, err := s.key("name")
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.look(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	sent := func(what, want string, headers map[string]string) {
		t.Helper()
		for header, value := range headers {
			if got := w.headersOf("CopyObject", header); len(got) != 1 || got[0] != value {
				t.Errorf("%s: the header %s is %q; want %q", what, header, got, value)
			}
		}
		if got := w.take(); got != want {
			t.Errorf("%s: sent were %s; want %s", what, got, want)
		}
	}
	w.take()
	update := backend.HeaderUpdate{Name: "name", Version: v, Old: []byte("1"), New: []byte("2")}
	if err := s.SetHeader(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	sent("SetHeader", "GetObject CopyObject", map[string]string{"X-Amz-Copy-Source-If-Match": at.etag, "If-Match": at.etag})
	wantError(t, "SetHeader again", s.SetHeader(t.Context(), update), atrest.ErrConflict)
	want(t, s, "name", v, "2", body)

	w.take()
	again, err := s.Copy(t.Context(), "name", "name", v, []byte("3"), backend.Condition{IfVersion: v})
	if err != nil {
		t.Fatal(err)
	}
	sent("Copy onto itself", "GetObject CopyObject", map[string]string{"X-Amz-Copy-Source-If-Match": at.etag, "If-Match": at.etag})
	want(t, s, "name", again, "3", body)
	_, err = s.Copy(t.Context(), "name", "name", v, nil, backend.Condition{})
	wantError(t, "Copy of a version that is no more", err, atrest.ErrConflict)

	w.take()
	copied, err := s.Copy(t.Context(), "copy", "name", again, []byte("4"), backend.Condition{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	sent("Copy if absent", "GetObject CopyObject", map[string]string{"X-Amz-Copy-Source-If-Match": at.etag, "If-None-Match": "*", "If-Match": ""})
	want(t, s, "copy", copied, "4", body)

	wantError(t, "Delete of another version", s.Delete(t.Context(), "name", backend.Condition{IfVersion: v}), atrest.ErrConflict)
	if err := s.Delete(t.Context(), "name", backend.Condition{IfVersion: again}); err != nil {
		t.Fatal(err)
	}
	if names := list(t, s, "", ""); names != "copy" {
		t.Errorf("listed are %q", names)
	}
	if _, err := s.Put(t.Context(), "copy", nil, strings.NewReader(""), backend.Condition{IfVersion: copied}); err != nil {
		t.Fatal(err)
	}
}

package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"pgregory.net/rapid"
)

// testModel compares random sequences of calls with a map. All sequences have
// one store, emptied in between, since some engines take long to make one.
func (s suite) testModel(t *testing.T) {
	st := s.open(t)
	runs, failed := 0, false
	check := func(rt *rapid.T) {
		// rapid takes its number of runs from a flag only. Runs beyond those
		// asked for do nothing, unless rapid looks for a shorter failure.
		if s.ModelRuns > 0 && runs >= s.ModelRuns && !failed {
			return
		}
		runs++
		done := false
		defer func() { failed = failed || !done }()
		m := &model{st: st, cfg: s.Config, objects: make(map[string]modelObject), seen: make(map[string]bool)}
		m.empty(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"Put":       m.put,
			"Get":       m.get,
			"SetHeader": m.setHeader,
			"Copy":      m.copy,
			"Delete":    m.delete,
			"List":      m.list,
		})
		m.compare(rt)
		done = true
	}
	for once := true; once || runs < s.ModelRuns && !t.Failed(); once = false {
		rapid.Check(t, check)
	}
	t.Logf("%d sequences of calls", runs)
}

// modelNames are few, so that calls meet.
var modelNames = []string{"a", "a/b", "a//b", "..", "é", "a!"}

type modelObject struct {
	header  string
	content content
	version backend.Version
}

type model struct {
	st      store
	cfg     Config
	objects map[string]modelObject
	seen    map[string]bool // name and version
	last    backend.Version
	puts    uint64
}

// empty deletes what the sequence before has left.
func (m *model) empty(rt *rapid.T) {
	for e, err := range m.st.List(m.st.ctx, "", "") {
		if err == nil {
			err = m.st.Delete(m.st.ctx, e.Name, backend.Condition{})
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
	m.list(rt)
}

func (m *model) name(rt *rapid.T, label string) string {
	return rapid.SampledFrom(modelNames).Draw(rt, label)
}

func (m *model) header(rt *rapid.T) string {
	n := rapid.SampledFrom([]int{0, 1, 30, backend.MaxHeader}).Draw(rt, "length of the header")
	b := rapid.Byte().Draw(rt, "byte of the header")
	return strings.Repeat(string(rune(b&0x7f)), n)
}

// version is the current one of a name, or one that is not.
func (m *model) version(rt *rapid.T, name string) backend.Version {
	switch o, ok := m.objects[name]; {
	case ok && rapid.IntRange(0, 3).Draw(rt, "current version unless 0") > 0:
		return o.version
	case m.last != "" && rapid.Bool().Draw(rt, "version of another"):
		return m.last
	default:
		return "nonsense"
	}
}

func (m *model) condition(rt *rapid.T, name string) backend.Condition {
	switch rapid.IntRange(0, 3).Draw(rt, "condition: 1 absent, 2 version") {
	case 1:
		return backend.Condition{IfAbsent: true}
	case 2:
		return backend.Condition{IfVersion: m.version(rt, name)}
	}
	return backend.Condition{}
}

// refusal is the error that a change of name under cond has to return.
func (m *model) refusal(name string, cond backend.Condition) error {
	o, ok := m.objects[name]
	switch {
	case m.cfg.NoConditions && cond != (backend.Condition{}):
		return atrest.ErrUnsupported
	case cond.IfAbsent && ok:
		return atrest.ErrExists
	case cond.IfVersion != "" && o.version != cond.IfVersion:
		return atrest.ErrConflict
	}
	return nil
}

// changed takes note of a change that returned version and err.
func (m *model) changed(rt *rapid.T, what, name string, o modelObject, err, want error) {
	if !errors.Is(err, want) {
		rt.Fatalf("%s: error %v; want %v", what, err, want)
	}
	if want != nil {
		return
	}
	key := name + "\x00" + string(o.version)
	if o.version == "" || m.seen[key] {
		rt.Fatalf("%s: the version %q is not a new one", what, o.version)
	}
	m.seen[key], m.last, m.objects[name] = true, o.version, o
}

func (m *model) put(rt *rapid.T) {
	name, header := m.name(rt, "name"), m.header(rt)
	cond := m.condition(rt, name)
	m.puts++
	c := content{m.puts, rapid.SampledFrom([]int64{0, 1, 100, 5000, 70 * kib}).Draw(rt, "size")}
	v, err := m.st.Put(m.st.ctx, name, []byte(header), c.reader(), cond)
	m.changed(rt, fmt.Sprintf("Put(%q) with %+v", name, cond), name, modelObject{header, c, v}, err, m.refusal(name, cond))
}

func (m *model) copy(rt *rapid.T) {
	dst, src, header := m.name(rt, "dst"), m.name(rt, "src"), m.header(rt)
	cond, srcVersion := m.condition(rt, dst), m.version(rt, src)
	o, there := m.objects[src]
	var want []error
	if !there {
		want = append(want, atrest.ErrNotFound)
	} else if o.version != srcVersion {
		want = append(want, atrest.ErrConflict)
	}
	if refusal := m.refusal(dst, cond); refusal != nil {
		want = append(want, refusal)
	}
	v, err := m.st.Copy(m.st.ctx, dst, src, srcVersion, []byte(header), cond)
	// Where several reasons meet, any will do.
	reason := error(nil)
	for _, reason = range want {
		if errors.Is(err, reason) {
			break
		}
	}
	what := fmt.Sprintf("Copy(%q, %q, %q) with %+v", dst, src, srcVersion, cond)
	m.changed(rt, what, dst, modelObject{header, o.content, v}, err, reason)
}

func (m *model) setHeader(rt *rapid.T) {
	name, header := m.name(rt, "name"), m.header(rt)
	o, ok := m.objects[name]
	u := backend.HeaderUpdate{Name: name, Version: m.version(rt, name), Old: []byte(o.header), New: []byte(header)}
	if !m.cfg.NoHeaderCompare && rapid.IntRange(0, 3).Draw(rt, "old header unless 0") == 0 {
		u.Old = []byte(m.header(rt))
	}
	var want error
	if !ok || o.version != u.Version || !bytes.Equal(u.Old, []byte(o.header)) {
		want = atrest.ErrConflict
	}
	if err := m.st.SetHeader(m.st.ctx, u); !errors.Is(err, want) {
		rt.Fatalf("SetHeader(%q, %q) from %.20q to %.20q: error %v; want %v", name, u.Version, u.Old, u.New, err, want)
	}
	if want == nil {
		o.header = header
		m.objects[name] = o
	}
}

func (m *model) delete(rt *rapid.T) {
	name := m.name(rt, "name")
	var cond backend.Condition
	if rapid.Bool().Draw(rt, "conditional") {
		cond.IfVersion = m.version(rt, name)
	}
	_, there := m.objects[name]
	want := m.refusal(name, cond)
	if m.cfg.NoConditionalDelete && cond.IfVersion != "" {
		want = atrest.ErrUnsupported
	}
	err := m.st.Delete(m.st.ctx, name, cond)
	if !there && err == nil {
		return // "a success, whatever cond says"
	}
	if !there && !m.cfg.NoConditionalDelete {
		want = nil
	}
	if !errors.Is(err, want) {
		rt.Fatalf("Delete(%q) with %+v: error %v; want %v", name, cond, err, want)
	}
	if want == nil {
		delete(m.objects, name)
	}
}

func (m *model) get(rt *rapid.T) {
	name := m.name(rt, "name")
	o, ok := m.objects[name]
	want := backend.Version("")
	if rapid.Bool().Draw(rt, "of a version") {
		want = m.version(rt, name)
	}
	rng := backend.Range{
		Offset: rapid.Int64Range(0, 80*kib).Draw(rt, "offset"),
		Length: rapid.Int64Range(-1, 80*kib).Draw(rt, "length"),
	}
	got, err := m.st.Get(m.st.ctx, name, rng, want)
	switch {
	case !ok:
		if !errors.Is(err, atrest.ErrNotFound) {
			rt.Fatalf("Get(%q): error %v; want %v", name, err, atrest.ErrNotFound)
		}
		return
	case want != "" && want != o.version:
		if !errors.Is(err, atrest.ErrConflict) {
			rt.Fatalf("Get(%q, %q): error %v; want %v", name, want, err, atrest.ErrConflict)
		}
		return
	case err != nil:
		rt.Fatalf("Get(%q): %v", name, err)
	}
	defer got.Body.Close()
	if got.Version != o.version || got.Size != o.content.size || string(got.Header) != o.header {
		rt.Fatalf("Get(%q): version %q, size %d, header %.20q; want %q, %d, %.20q", name, got.Version, got.Size, got.Header, o.version, o.content.size, o.header)
	}
	n := max(0, o.content.size-rng.Offset)
	if rng.Length >= 0 {
		n = min(n, rng.Length)
	}
	if err := o.content.compare(got.Body, rng.Offset, n, 32*kib); err != nil {
		rt.Fatalf("Get(%q) of %d bytes from %d: %v", name, rng.Length, rng.Offset, err)
	}
}

func (m *model) list(rt *rapid.T) {
	prefix := rapid.SampledFrom(append([]string{"", "a/", "."}, modelNames...)).Draw(rt, "prefix")
	after := rapid.SampledFrom(append([]string{"", "", "a/", "b"}, modelNames...)).Draw(rt, "after")
	var names []string
	for name := range m.objects {
		names = append(names, name)
	}
	names = inOrder(names, prefix, after)
	list, err := entries(m.st.ctx, m.st, prefix, after)
	if err != nil || len(list) != len(names) {
		rt.Fatalf("List(%q, %q): %d entries and error %v; want %d", prefix, after, len(list), err, len(names))
	}
	for i, e := range list {
		o := m.objects[names[i]]
		if err := (suite{m.cfg}).checkEntry(e, names[i], o.version, []byte(o.header), o.content.size); err != nil {
			rt.Fatalf("List(%q, %q): entry %d: %v", prefix, after, i, err)
		}
	}
}

// compare looks at the whole store.
func (m *model) compare(rt *rapid.T) {
	for _, name := range modelNames {
		o, ok := m.objects[name]
		if !ok {
			if _, err := m.st.Get(m.st.ctx, name, backend.Range{}, ""); !errors.Is(err, atrest.ErrNotFound) {
				rt.Fatalf("Get(%q): error %v; want %v", name, err, atrest.ErrNotFound)
			}
			continue
		}
		if err := check(m.st.ctx, m.st, name, o.version, []byte(o.header), o.content); err != nil {
			rt.Fatal(err)
		}
	}
}

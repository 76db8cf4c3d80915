package s3

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/devs3"
)

// plant puts an object past the Store.
func plant(t *testing.T, s *Store, key string, meta map[string]string, body string) {
	t.Helper()
	_, err := s.client.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &key, Metadata: meta, Body: strings.NewReader(body),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wrongValues are what is not the metadata of an object.
func wrongValues() map[string]map[string]string {
	good := metadata(newVersion(), []byte("header"))[metadataName]
	id := string(newVersion())
	values := map[string]map[string]string{"none": nil, "another": {"something": good}}
	for name, value := range map[string]string{
		"no format":      strings.TrimPrefix(good, formatVersion),
		"another format": "2." + strings.TrimPrefix(good, formatVersion),
		"no id":          "1..aGVhZGVy",
		"short id":       "1." + id[1:] + ".aGVhZGVy",
		"long id":        "1." + id + "A.aGVhZGVy",
		"lower case id":  "1." + strings.ToLower(id) + ".aGVhZGVy",
		"no header":      "1." + id,
		"not base64":     "1." + id + ".a_b-",
		"padded":         "1." + id + ".aGVhZGU=",
		"odd bits":       "1." + id + ".aGVhZGVyZ",
		"trailing bits":  "1." + id + ".aGVhZGV5cB", // two bits too many are set
		"too long":       "1." + id + "." + headerEncoding.EncodeToString(make([]byte, backend.MaxHeader+1)),
		"garbage":        "x",
	} {
		values[name] = map[string]string{metadataName: value}
	}
	return values
}

func TestParseMetadata(t *testing.T) {
	for name, m := range wrongValues() {
		if v, header, err := parseMetadata(m); err == nil {
			t.Errorf("%s: %q is taken for version %q and header %q", name, m, v, header)
		}
	}
	for _, value := range []string{"1.%s.aGVh\nZGVy", "1.%s.aGVhZGVy\r\n", "1.%s.\n"} {
		m := map[string]string{metadataName: strings.Replace(value, "%s", string(newVersion()), 1)}
		if _, _, err := parseMetadata(m); err == nil {
			t.Errorf("%q is accepted", value)
		}
	}
	for _, header := range [][]byte{nil, {0}, payload(1, 100), payload(2, backend.MaxHeader)} {
		v := newVersion()
		got, h, err := parseMetadata(metadata(v, header))
		if err != nil || got != v || !bytes.Equal(h, header) {
			t.Errorf("%d bytes come back as version %q, %d bytes, %v", len(header), got, len(h), err)
		}
		if n := len(metadataName) + len(metadata(v, header)[metadataName]); n > 1500 {
			t.Errorf("metadata of %d bytes", n)
		}
	}
}

// FuzzMetadata checks that whatever is accepted is what metadata makes.
func FuzzMetadata(f *testing.F) {
	for _, m := range wrongValues() {
		f.Add(m[metadataName])
	}
	f.Add(metadata(newVersion(), []byte("header"))[metadataName])
	f.Fuzz(func(t *testing.T, value string) {
		v, header, err := parseMetadata(map[string]string{metadataName: value})
		if err == nil && metadata(v, header)[metadataName] != value {
			t.Errorf("%q is accepted and is made as %q", value, metadata(v, header)[metadataName])
		}
	})
}

// TestDamage alters metadata behind the Store's back.
func TestDamage(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg := config(t, srv)
		cfg.SoleWriter = true
		s := newStore(t, cfg)
		v := mustPut(t, s, "good", "header", []byte("body"))
		key, err := s.key("name")
		if err != nil {
			t.Fatal(err)
		}
		for name, meta := range wrongValues() {
			plant(t, s, key, meta, "body")
			for _, rng := range []backend.Range{{}, backend.All, {Offset: 1, Length: 2}, {Offset: 10, Length: 1}} {
				_, err := s.Get(t.Context(), "name", rng, "")
				wantError(t, "Get, "+name, err, atrest.ErrTampered)
			}
			_, err := s.Copy(t.Context(), "copy", "name", v, nil, backend.Condition{})
			wantError(t, "Copy, "+name, err, atrest.ErrTampered)
			err = s.SetHeader(t.Context(), backend.HeaderUpdate{Name: "name", Version: v, New: []byte("new")})
			wantError(t, "SetHeader, "+name, err, atrest.ErrTampered)
			_, err = s.Put(t.Context(), "name", nil, strings.NewReader(""), backend.Condition{IfVersion: v})
			wantError(t, "Put if version, "+name, err, atrest.ErrConflict)
			_, err = s.Put(t.Context(), "name", nil, strings.NewReader(""), backend.Condition{IfAbsent: true})
			wantError(t, "Put if absent, "+name, err, atrest.ErrExists)
			if names := list(t, s, "", ""); names != "good name" {
				t.Fatalf("%s: listed are %s", name, names)
			}
		}
		w := mustPut(t, s, "name", "new", []byte("new body"))
		want(t, s, "name", w, "new", []byte("new body"))
		want(t, s, "good", v, "header", []byte("body"))
		plant(t, s, key, nil, "body")
		if err := s.Delete(t.Context(), "name", backend.Condition{}); err != nil {
			t.Fatal(err)
		}
	})
}

func list(t *testing.T, s *Store, prefix, after string) string {
	t.Helper()
	var names []string
	for e, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Header != nil || e.Version != "" {
			t.Errorf("the entry %q has header %q and version %q", e.Name, e.Header, e.Version)
		}
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

// TestForeignKeys has objects of others under the prefix, and beside it.
func TestForeignKeys(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *devs3.Server) {
		cfg := config(t, srv)
		s := newStore(t, cfg)
		v := mustPut(t, s, "b", "header", []byte("body"))
		for _, key := range []string{"a", "c", "a!/b", "b!x", "!probe-LEFTOVER!", "x!2!", "x!2f!", "z!!/!", "a b!", "a%20b!", "é!", "a&b!", "a+b!", "readme.txt"} {
			plant(t, s, cfg.Prefix+key, nil, "foreign")
		}
		plant(t, s, strings.TrimSuffix(cfg.Prefix, "/")+"-other/b!", nil, "foreign")
		// Characters that XML can't hold; not every server takes them.
		_, err := s.client.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &cfg.Bucket, Key: aws.String(cfg.Prefix + "x\x01y!"), Body: strings.NewReader("x")})
		t.Logf("key with a control character: %v", err)
		mustPut(t, s, "x", "header", []byte("body"))
		for _, test := range []struct{ prefix, after, want string }{
			{"", "", "b x"}, {"", "a", "b x"}, {"", "b", "x"}, {"b", "", "b"}, {"x", "b", "x"}, {"b", "x", ""}, {"", "x", ""}, {"q", "", ""}, {"b", "a", "b"},
		} {
			if names := list(t, s, test.prefix, test.after); names != test.want {
				t.Errorf("List(%q, %q) has %q; want %q", test.prefix, test.after, names, test.want)
			}
		}
		want(t, s, "b", v, "header", []byte("body"))
	})
}

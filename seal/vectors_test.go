package seal

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

var makeVectors = flag.Bool("write-vectors", false, "write test vectors that are missing from testdata/vectors")

const vectorDir = "testdata/vectors"

// A vector is one record or password file as docs/seal.md has it, and all that
// is needed to open it. They are committed for good: whatever wrote one, every
// later version must read it.
type vector struct {
	Comment     string `json:"comment"`
	Kind        string `json:"kind"` // "record" or "password file"
	Text        string `json:"text"`
	Password    string `json:"password,omitempty"`     // opens a record; is in a password file
	Pending     string `json:"pending,omitempty"`      // is in a password file
	InstanceKey string `json:"instance_key,omitempty"` // opens a password file; in hexadecimal
	Install     string `json:"install,omitempty"`
	Generation  uint32 `json:"generation,omitempty"`
	State       string `json:"state,omitempty"`
	Contents    string `json:"contents,omitempty"` // of a record, without padding
	Error       string `json:"error,omitempty"`    // what an invalid one is refused with
}

var vectorErrors = map[string]error{
	"corrupt record": atrest.ErrCorruptRecord, "wrong password": atrest.ErrWrongPassword, "wrong instance key": atrest.ErrWrongInstanceKey,
}

func readVectors(t testing.TB) (vectors []*vector) {
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := &vector{}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

func TestVectors(t *testing.T) {
	if *makeVectors {
		writeVectors(t)
	}
	count := map[string]int{}
	k := cheapKDF(t)
	for _, v := range readVectors(t) {
		var err error
		if v.Kind == "record" {
			err = v.checkRecord(t, k)
		} else {
			err = v.checkPasswordFile(t)
		}
		if want := vectorErrors[v.Error]; !errors.Is(err, want) || want == nil && v.Error != "" {
			t.Errorf("%s: %v, want %q", v.Comment, err, v.Error)
		}
		if v.Error == "" {
			count[v.Kind]++
		} else {
			count["invalid "+v.Kind]++
		}
	}
	for kind, least := range map[string]int{"record": 7, "password file": 4, "invalid record": 10, "invalid password file": 5} {
		if count[kind] < least {
			t.Errorf("%d vectors of kind %s were found; some are missing", count[kind], kind)
		}
	}
}

// checkRecord opens the record, and seals it again to the same bytes.
func (v *vector) checkRecord(t *testing.T, k *kdfCache) error {
	r, err := parseRecord([]byte(v.Text))
	if err != nil {
		return err
	}
	p, err := r.open(k, secretOf(v.Password))
	if err != nil {
		return err
	}
	if string(p.append(nil)) != v.Contents || string(r.install) != v.Install || r.generation != v.Generation || string(r.state) != v.State {
		t.Errorf("%s: %+v", v.Comment, r)
	}
	key, err := k.key(secretOf(v.Password), r.salt, r.params)
	if err != nil {
		return err
	}
	again := &record{recordHeader: r.recordHeader, nonce: r.nonce}
	if err := again.seal(key, p); err != nil {
		return err
	}
	if string(again.marshal()) != v.Text {
		t.Errorf("%s: seals to %s", v.Comment, again.marshal())
	}
	return nil
}

func (v *vector) checkPasswordFile(t *testing.T) error {
	key, err := hex.DecodeString(v.InstanceKey)
	if err != nil {
		return err
	}
	f, err := openPasswordFile([]byte(v.Text), [][]byte{key})
	if err != nil {
		return err
	}
	if string(f.password.bytes()) != v.Password || string(f.pending.bytes()) != v.Pending || string(f.install) != v.Install || f.generation != v.Generation {
		t.Errorf("%s: %+v", v.Comment, f)
	}
	lines, err := parsePasswordFile([]byte(v.Text))
	if err != nil {
		return err
	}
	for _, l := range lines {
		if _, _, err := l.open(key); err != nil {
			continue // the line of the other key
		}
		again := *l
		if err := again.seal(key, f.password, f.pending); err != nil {
			return err
		}
		if !strings.Contains(v.Text, string(again.marshal())) {
			t.Errorf("%s: seals to %s", v.Comment, again.marshal())
		}
	}
	return nil
}

// TestVectorsIndependently makes every valid vector's text from its fields and
// the primitives, without the package.
func TestVectorsIndependently(t *testing.T) {
	made := 0
	for _, v := range readVectors(t) {
		if v.Error != "" {
			continue
		}
		fields := strings.Split(strings.TrimSuffix(v.Text, "\n"), "$")
		var again string
		switch {
		case v.Kind == "record":
			var memory, passes uint32
			var lanes uint8
			if _, err := fmt.Sscanf(fields[8], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
				t.Fatal(err)
			}
			salt, nonce := unbase64(t, fields[9]), unbase64(t, fields[10])
			key := hkdfOf(argon2idOf([]byte(v.Password), salt, passes, memory, lanes), salt, "atrest seal record v1")
			plain := v.Contents + strings.Repeat(" ", (256-len(v.Contents)%256)%256)
			prefix := fmt.Sprintf("$atrest-seal$v=1$install=%s$generation=%d$state=%s$argon2id$v=19$m=%d,t=%d,p=%d$",
				v.Install, v.Generation, v.State, memory, passes, lanes)
			again = lineOf(t, prefix, key, salt, nonce, []byte(plain))
		case strings.Count(v.Text, "\n") == 1:
			salt, nonce := unbase64(t, fields[5]), unbase64(t, fields[6])
			instanceKey, err := hex.DecodeString(v.InstanceKey)
			if err != nil {
				t.Fatal(err)
			}
			plain := binary.BigEndian.AppendUint16(nil, uint16(len(v.Password)))
			plain = append(plain, v.Password...)
			plain = binary.BigEndian.AppendUint16(plain, uint16(len(v.Pending)))
			plain = append(plain, v.Pending...)
			plain = append(plain, make([]byte, (64-len(plain)%64)%64)...)
			prefix := fmt.Sprintf("$atrest-password$v=1$install=%s$generation=%d$", v.Install, v.Generation)
			again = lineOf(t, prefix, hkdfOf(instanceKey, salt, "atrest password file v1"), salt, nonce, plain)
		default:
			continue // of two keys one is not known
		}
		made++
		if again != v.Text {
			t.Errorf("%s: made independently it is %s", v.Comment, again)
		}
	}
	if made < 8 {
		t.Errorf("only %d were made", made)
	}
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeVectors writes the vectors that are not there. It never replaces one.
func writeVectors(t *testing.T) {
	random := rand.NewChaCha8([32]byte([]byte("atrest seal vectors, version one")))
	m := &vectorMaker{t: t, random: random, kdf: cheapKDF(t), install: "bXlpbnN0YWxsYXRpb24wMA"}
	for i, v := range slices.Concat(m.records(), m.passwordFiles(), m.shares()) {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(vectorDir, fmt.Sprintf("%02d-%s.json", i, strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(v.Comment)))
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if err := os.WriteFile(name, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

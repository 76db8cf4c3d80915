package seal

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/atrest/atrest"
)

// maxPasswordFile is the length of a password file in bytes, at most.
const maxPasswordFile = 8 << 10

// maxPasswordLines is how many instance keys may open a password file: one, and
// two while the instance key is being changed.
const maxPasswordLines = 2

// A passwordFile is the Encryption Password on this machine. The caller wipes it.
type passwordFile struct {
	install    installID
	generation uint32  // of the seal record that password opens
	password   *secret // 1 to 1024 bytes
	pending    *secret // opens the record of the next generation; nil if there is none

	// What readPasswordFile tells beside the contents. Writing looks at neither.
	lines int // how many instance keys open the file
	key   int // index of the one, among those given, that did
}

func (f *passwordFile) wipe() {
	if f == nil {
		return
	}
	f.password.wipe()
	f.pending.wipe()
}

// readPasswordFile reads the file and opens it with the first of the instance
// keys that fits. Errors are ErrPasswordMissing, ErrUnsafePermissions,
// ErrCorruptRecord and ErrWrongInstanceKey.
func readPasswordFile(path string, instanceKeys ...[]byte) (*passwordFile, error) {
	data, err := readPrivate(path, maxPasswordFile, ownerReads)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %q does not exist", atrest.ErrPasswordMissing, path)
	case errors.Is(err, errTooLong):
		err = atrest.ErrCorruptRecord
	}
	if err != nil {
		return nil, fmt.Errorf("password file %q: %w", path, err)
	}
	f, err := openPasswordFile(data, instanceKeys)
	if err != nil {
		return nil, fmt.Errorf("password file %q: %w", path, err)
	}
	return f, nil
}

func openPasswordFile(data []byte, instanceKeys [][]byte) (*passwordFile, error) {
	lines, err := parsePasswordFile(data)
	if err != nil {
		return nil, err
	}
	for i, key := range instanceKeys {
		for _, l := range lines {
			password, pending, err := l.open(key)
			if errors.Is(err, atrest.ErrWrongInstanceKey) {
				continue
			}
			if err != nil {
				return nil, err
			}
			return &passwordFile{l.install, l.generation, password, pending, len(lines), i}, nil
		}
	}
	return nil, atrest.ErrWrongInstanceKey
}

// parsePasswordFile takes the file apart. It is accepted only in the spelling
// that marshal gives its lines. Nothing is authenticated yet.
func parsePasswordFile(data []byte) ([]*passwordLine, error) {
	if len(data) > maxPasswordFile {
		return nil, atrest.ErrCorruptRecord
	}
	var lines []*passwordLine
	for text := range strings.Lines(string(data)) {
		l, ok := parsePasswordLine(text)
		if !ok || len(lines) == maxPasswordLines {
			return nil, atrest.ErrCorruptRecord
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 || lines[0].install != lines[len(lines)-1].install || lines[0].generation != lines[len(lines)-1].generation {
		return nil, atrest.ErrCorruptRecord
	}
	return lines, nil
}

// writePasswordFile replaces the file by one that each of the instance keys
// opens, or leaves it as it is if it fails. When it returns without an error the
// new file is durable. Of several writers at the same time, the last one's file
// stays. The directory is made if it is missing.
func writePasswordFile(path string, f *passwordFile, instanceKeys ...[]byte) error {
	data, err := marshalPasswordFile(f, instanceKeys)
	if err != nil {
		return err
	}
	err = makePrivateDir(filepath.Dir(path))
	if err == nil {
		err = writePrivate(path, data, 0o600, replace)
	}
	if err != nil {
		return fmt.Errorf("password file %q: %w", path, err)
	}
	return nil
}

func marshalPasswordFile(f *passwordFile, instanceKeys [][]byte) ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := checkInstanceKeys(instanceKeys); err != nil {
		return nil, err
	}
	var data []byte
	for _, key := range instanceKeys {
		l := &passwordLine{install: f.install, generation: f.generation, salt: newSalt(), nonce: newNonce()}
		if err := l.seal(key, f.password, f.pending); err != nil {
			return nil, err
		}
		data = append(data, l.marshal()...)
	}
	return data, nil
}

func (f *passwordFile) check() error {
	if !f.install.valid() || f.generation == 0 || f.password.size() == 0 ||
		f.password.size() > maxPassword || f.pending.size() > maxPassword || f.pending.size() > 0 && f.generation+1 == 0 {
		return errors.New("seal: a password file was to be written with fields out of bounds")
	}
	return nil
}

func checkInstanceKeys(keys [][]byte) error {
	if len(keys) < 1 || len(keys) > maxPasswordLines {
		return fmt.Errorf("seal: a password file is for 1 to %d instance keys", maxPasswordLines)
	}
	for _, key := range keys {
		if len(key) != keySize {
			return fmt.Errorf("%w: it must have %d bytes", atrest.ErrWrongInstanceKey, keySize)
		}
	}
	if len(keys) == 2 && subtle.ConstantTimeCompare(keys[0], keys[1]) == 1 {
		return errors.New("seal: the two instance keys are the same")
	}
	return nil
}

package seal

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/atrest/atrest"
)

// A keyFile is a path.
type keyFile string

// KeyFile returns the instance key in a file, as base64 of 32 bytes, which
// [CreateKeyFile] makes.
//
// The file must be a regular one, owned by this user or root, with no
// permissions for anyone else (0400), in a directory in which nobody else can
// replace it; otherwise reading it is ErrUnsafePermissions. The path may lead
// through symbolic links but must not be one. On systems other than Unix owner
// and permissions can't be checked, and are not.
func KeyFile(path string) InstanceKey { return keyFile(path) }

func (f keyFile) InstanceKey(ctx context.Context) ([]byte, error) {
	return readKeyFile(ctx, string(f), ownerReads)
}

// A credential is the name of one.
type credential string

// Credential returns the instance key in a credential that systemd passes to
// the service, such as one of LoadCredentialEncrypted=, which only this
// machine's TPM or its root opens. Its contents are those of a key file. See
// systemd-creds(1).
//
// systemd keeps credentials in memory, in files that the group may read where it
// grants access by way of an access control list. So that is allowed; otherwise
// the rules are those of [KeyFile].
func Credential(name string) InstanceKey { return credential(name) }

// credentialsDirectory is set by systemd: see systemd.exec(5), "Credentials".
const credentialsDirectory = "CREDENTIALS_DIRECTORY"

func (c credential) InstanceKey(ctx context.Context) ([]byte, error) {
	name, dir := string(c), os.Getenv(credentialsDirectory)
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
		return nil, fmt.Errorf("%w: %q is no name of a credential", atrest.ErrInstanceKeyMissing, name)
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("%w: credential %q: systemd has passed none to this service: $%s is not set",
			atrest.ErrInstanceKeyMissing, name, credentialsDirectory)
	}
	return readKeyFile(ctx, filepath.Join(dir, name), groupReads)
}

func readKeyFile(ctx context.Context, path string, who reader) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := readPrivate(path, maxKeyText, who)
	defer wipe(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %q does not exist", atrest.ErrInstanceKeyMissing, path)
	case errors.Is(err, errTooLong):
		err = errNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("instance key %q: %w", path, err)
	}
	key, err := parseInstanceKey(text)
	if err != nil {
		return nil, fmt.Errorf("instance key %q: %w", path, err)
	}
	return key, nil
}

// CreateKeyFile makes a random instance key in a new file of mode 0400, durably,
// for [KeyFile]. The directory must be there. If the file is, the error is
// ErrExists and the file stays as it is: it may be all that opens a password
// file.
func CreateKeyFile(path string) error {
	key := make([]byte, keySize)
	defer wipe(key)
	rand.Read(key) // never fails: it would end the program
	text := make([]byte, 0, base64.StdEncoding.EncodedLen(keySize)+1)
	defer func() { wipe(text) }()
	text = append(base64.StdEncoding.AppendEncode(text, key), '\n')
	if err := writePrivate(path, text, 0o400, create); err != nil {
		return fmt.Errorf("instance key %q: %w", path, err)
	}
	return nil
}

package s3

import (
	"fmt"
	"strings"

	"github.com/atrest/atrest/backend"
)

// maxPrefix is the length in bytes of the longest Config.Prefix: with the longest
// escaped name and suffix it stays below the 1,024 bytes that S3 allows a key.
const maxPrefix = 100

const (
	// suffix ends every key. Servers that keep objects as files can then have both
	// "dir" and "dir/file". See [backend.Escape] for why the order stays.
	suffix = "!"

	// probePrefix begins the keys of probes. No escaped name begins so: "!" is
	// followed there by an upper-case hexadecimal digit or a "-".
	probePrefix = "!probe-"
)

// checkPrefix accepts prefixes that no server rewrites, and that mean the same in
// a URL.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	path, slash := strings.CutSuffix(prefix, "/")
	escaped, err := backend.Escape(path)
	if err != nil || !slash || escaped != path || strings.HasSuffix(path, "/") || len(prefix) > maxPrefix {
		return fmt.Errorf(`Config.Prefix %.120q is not a path of letters, digits, "-", "_" and ".", that ends with a slash and has %d bytes at most`,
			prefix, maxPrefix)
	}
	return nil
}

// key returns the key of a name.
func (s *Store) key(name string) (string, error) {
	escaped, err := backend.Escape(name)
	if err != nil {
		return "", err
	}
	return s.cfg.Prefix + escaped + suffix, nil
}

// parseKey returns the name whose key is given, and its escaped form, or false
// for a key that is not one of the store's.
func (s *Store) parseKey(key string) (name, escaped string, ok bool) {
	rest, ok := strings.CutPrefix(key, s.cfg.Prefix)
	if !ok {
		return "", "", false
	}
	if escaped, ok = strings.CutSuffix(rest, suffix); !ok {
		return "", "", false
	}
	name, err := backend.Unescape(escaped)
	return name, escaped, err == nil
}

// copySource is the value of x-amz-copy-source for a key: of the bytes that keys
// have, "!" is the only one that URLs encode.
func (s *Store) copySource(key string) string {
	return s.cfg.Bucket + "/" + strings.ReplaceAll(key, "!", "%21")
}

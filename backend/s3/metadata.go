package s3

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// metadataName is the entry of user metadata that is the store's, in the lower
// case in which servers return it.
const metadataName = "atrest"

// formatVersion begins its value, which is therefore never empty: not every
// server keeps an empty one.
const formatVersion = "1."

// versionLength is the length of what rand.Text returns.
const versionLength = 26

// headerEncoding is base64 without padding. Strict refuses the bits that the
// last character may have too many.
var headerEncoding = base64.RawStdEncoding.Strict()

// newVersion returns a content version: 130 random bits, so that none comes twice.
func newVersion() backend.Version { return backend.Version(rand.Text()) }

// metadata returns the user metadata of an object. It takes 1,408 of the 2,048
// bytes that S3 allows, at most.
func metadata(version backend.Version, header []byte) map[string]string {
	return map[string]string{
		metadataName: formatVersion + string(version) + "." + headerEncoding.EncodeToString(header),
	}
}

// parseMetadata is the inverse of metadata. Whatever that would not have made is
// ErrTampered.
func parseMetadata(m map[string]string) (version backend.Version, header []byte, err error) {
	value, ok := m[metadataName]
	if !ok {
		return "", nil, damaged("it has no metadata of this store")
	}
	rest, ok := strings.CutPrefix(value, formatVersion)
	if !ok {
		return "", nil, damaged("its metadata are of no known format")
	}
	id, encoded, ok := strings.Cut(rest, ".")
	if !ok || !isVersion(id) {
		return "", nil, damaged("its metadata have no content version")
	}
	if len(encoded) > headerEncoding.EncodedLen(backend.MaxHeader) {
		return "", nil, damaged("its header is too long")
	}
	header, err = headerEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder skips
		return "", nil, damaged("its header is not base64")
	}
	return backend.Version(id), header, nil
}

// isVersion tells whether id looks as newVersion makes them (RFC 4648, base32).
func isVersion(id string) bool {
	if len(id) != versionLength {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !('A' <= c && c <= 'Z' || '2' <= c && c <= '7') {
			return false
		}
	}
	return true
}

func damaged(what string) error {
	return fmt.Errorf("%w: %s", atrest.ErrTampered, what)
}

// checkHeader returns ErrTooLarge for a header longer than the contract allows.
func checkHeader(header []byte) error {
	if len(header) > backend.MaxHeader {
		return fmt.Errorf("%w: the header has %d bytes, the limit is %d", atrest.ErrTooLarge, len(header), backend.MaxHeader)
	}
	return nil
}

package storage

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/atrest/atrest"
)

// MaxMetadata is the length in bytes of the longest encoded [Metadata]: the
// keys and values and three bytes for each entry. The header has to fit into S3
// user metadata.
const MaxMetadata = 512

// Metadata is a small map that is sealed with an object: keys of 1 to 255 bytes
// and values, all UTF-8, at most [MaxMetadata] bytes together with three more
// for each entry. What prints or logs it does not show the contents.
type Metadata map[string]string

// Format implements fmt.Formatter, so that no verb prints what is sealed at
// rest.
func (m Metadata) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "Metadata(%d entries)", len(m)) }

// LogValue implements slog.LogValuer likewise.
func (m Metadata) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(m)) }

// MarshalJSON implements json.Marshaler likewise, since that is how JSON logs
// print structs. To marshal the contents, convert it to a map[string]string.
func (m Metadata) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(m)) }

// encode returns the canonical encoding (docs/format.md, "Metadata"), nil for
// an empty map.
func (m Metadata) encode() ([]byte, error) {
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(m)) {
		value := m[key]
		if len(key) == 0 || len(key) > 255 || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("invalid metadata: keys are 1 to 255 bytes, keys and values UTF-8")
		}
		if len(b)+3+len(key)+len(value) > MaxMetadata {
			return nil, fmt.Errorf("metadata: %w: at most %d bytes", atrest.ErrTooLarge, MaxMetadata)
		}
		b = append(b, byte(len(key)))
		b = append(b, key...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	return b, nil
}

// decodeMetadata is the inverse of encode and accepts nothing else.
func decodeMetadata(b []byte) (Metadata, error) {
	if len(b) == 0 {
		return nil, nil
	}
	m := make(Metadata)
	last := ""
	for p := (parser{b: b}); len(p.b) > 0 || p.failed; {
		key := string(p.next(int(p.uint8())))
		value := string(p.next(int(p.uint16())))
		if p.failed || key <= last || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, atrest.ErrTampered
		}
		m[key], last = value, key
	}
	return m, nil
}

package postgres

import (
	"encoding/binary"
	"math"
)

// What a header begins with if it is an envelope of version 1 and suite 1, and where
// in it is what is needed here (docs/format.md).
const (
	envelopeStart   = "atrest\x01\x01"
	metadataLength  = 60 // where the length of the sealed metadata is, in 16 bits
	keyVersionAfter = 94 // where, that length further on, the key version is, in 32 bits
)

// keyVersion returns what the column key_version is to say of a header: the version of the
// transit key under which the object's data key is wrapped, or nil, for NULL, if the
// header is none of the envelope's version 1. Nothing here depends on it.
//
// Up to version 3 of the schema the database did this, see migration 1, and it cost more
// than the rest of a small put.
func keyVersion(header []byte) *int32 {
	if len(header) < keyVersionAfter+4 || string(header[:len(envelopeStart)]) != envelopeStart {
		return nil
	}
	at := keyVersionAfter + int(binary.BigEndian.Uint16(header[metadataLength:]))
	if len(header) < at+4 {
		return nil
	}
	version := binary.BigEndian.Uint32(header[at:])
	if version == 0 || version > math.MaxInt32 {
		return nil
	}
	return new(int32(version))
}

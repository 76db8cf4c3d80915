package disk

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"

	"github.com/atrest/atrest/backend"
)

// The bytes of a header file, all numbers big-endian:
//
//	offset  size
//	     0     8  "atrest" 0x00 0x01: what this is, and version 1 of it
//	     8     1  kind: 0 the body follows inline, 1 it is the file bodies/xx/<id>
//	     9    16  id: the content version; in hexadecimal, the body file's name
//	    25     8  size of the body
//	    33     2  n, length of the header, at most 1024
//	    35     n  header
//	  35+n     4  CRC-32C of all bytes before
//	only for kind 0:
//	  39+n  size  body, at most 1048576
//	     …     4  CRC-32C of the body
//
// The checksums tell a torn or decayed file from a good one. They keep nobody
// from forging it; that is what the storage package authenticates against.
// There are two so that a listing reads no bodies.
const (
	recordMagic   = "atrest\x00\x01"
	idSize        = 16
	recordPrefix  = len(recordMagic) + 1 + idSize + 8 + 2
	checksumSize  = 4
	maxHead       = recordPrefix + backend.MaxHeader + checksumSize
	maxInline     = 1 << 20 // what a reader accepts; inlineLimit is what a writer makes
	kindInline    = 0
	kindSeparate  = 1
	offKind       = len(recordMagic)
	offID         = offKind + 1
	offSize       = offID + idSize
	offHeaderSize = offSize + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged means that a header file is not what was written. What exactly is
// wrong with it helps nobody and is not said.
var errDamaged = errors.New("header file is damaged")

// A bodyID names one content for ever: 128 random bits. It is the content
// version and the name of the body file.
type bodyID [idSize]byte

func (id bodyID) String() string           { return hex.EncodeToString(id[:]) }
func (id bodyID) version() backend.Version { return backend.Version(id.String()) }

// path is where the body of that id is.
func (id bodyID) path() string { return id.dir() + "/" + id.String() }
func (id bodyID) dir() string  { return bodiesDir + "/" + hex.EncodeToString(id[:1]) }

// parseBodyID is the inverse of String.
func parseBodyID(s string) (id bodyID, ok bool) {
	if len(s) != 2*idSize {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil || id.String() != s {
		return id, false
	}
	return id, true
}

// A record is what a header file says before the inline body.
type record struct {
	id     bodyID
	size   int64
	inline bool
	header []byte
}

func (r *record) attrs() backend.Attrs {
	return backend.Attrs{Size: r.size, Version: r.id.version()}
}

// fileSize is the length of the header file.
func (r *record) fileSize() int64 {
	n := int64(r.headSize())
	if r.inline {
		n += r.size + checksumSize
	}
	return n
}

func (r *record) headSize() int { return recordPrefix + len(r.header) + checksumSize }

// appendHead appends the part of a header file that parseHead reads.
func (r *record) appendHead(b []byte) []byte {
	start := len(b)
	b = append(b, recordMagic...)
	if r.inline {
		b = append(b, kindInline)
	} else {
		b = append(b, kindSeparate)
	}
	b = append(b, r.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.header)))
	b = append(b, r.header...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// marshal returns the whole header file, with the body if it is inline.
func (r *record) marshal(inlineBody []byte) []byte {
	b := r.appendHead(make([]byte, 0, r.fileSize()))
	if r.inline {
		b = append(b, inlineBody...)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(inlineBody, castagnoli))
	}
	return b
}

// parseHead reads the head from the first bytes of a header file, of which
// there must be maxHead or all. fileSize is the length of the whole file: bytes
// that are missing or left over are damage too. The header is copied out of b.
func parseHead(b []byte, fileSize int64) (*record, error) {
	if len(b) < recordPrefix+checksumSize || string(b[:offKind]) != recordMagic {
		return nil, errDamaged
	}
	n := int(binary.BigEndian.Uint16(b[offHeaderSize:]))
	end := recordPrefix + n
	if n > backend.MaxHeader || end+checksumSize > len(b) {
		return nil, errDamaged
	}
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, errDamaged
	}
	size := binary.BigEndian.Uint64(b[offSize:])
	kind := b[offKind]
	if size > math.MaxInt64 || kind > kindSeparate || kind == kindInline && size > maxInline {
		return nil, errDamaged
	}
	r := &record{
		id:     bodyID(b[offID:offSize]),
		size:   int64(size),
		inline: kind == kindInline,
		header: append([]byte{}, b[recordPrefix:end]...),
	}
	if r.fileSize() != fileSize {
		return nil, errDamaged
	}
	return r, nil
}

// parseInline returns the inline body from the bytes that follow the head.
func parseInline(b []byte) ([]byte, error) {
	end := len(b) - checksumSize
	if end < 0 || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, errDamaged
	}
	return b[:end:end], nil
}

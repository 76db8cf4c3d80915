package storage

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// The numbers of docs/format.md, "Header".
const (
	magic          = "atrest"
	formatVersion  = 1
	suiteV1        = 1
	fixedSize      = 60 // up to the length of the sealed metadata
	sealedAt       = fixedSize + 2
	macSize        = 32
	minSealed      = 4 + segment.TagSize
	maxSealed      = MaxMetadata + segment.TagSize
	minWrapped     = segment.KeySize + segment.TagSize // no cipher of Vault's makes it shorter
	maxWrapped     = 192
	maxKeyName     = 96
	maxKeyVersion  = math.MaxInt32
	maxHeaderBytes = sealedAt + maxSealed + macSize + 4 + 2 + maxWrapped + 1 + maxKeyName + 1 + maxKeyName
)

// Every header that can be made fits what backends take.
const _ = uint(backend.MaxHeader - maxHeaderBytes)

// header is the envelope's header, as it stands: nothing in it has been
// authenticated.
type header struct {
	immutable immutable
	wrapped   wrappedKey
	mount     string
	key       string
}

// immutable is the part that never changes while the body exists, and the tag
// that covers it and the context: a copy under another name has another tag.
type immutable struct {
	segmentSize int
	micros      uint64 // time of the put
	prefix      segment.Prefix
	sealed      []byte // metadata
	tag         [macSize]byte
}

// appendAuthenticated appends the bytes that the tag covers. The first sealedAt of
// them are the associated data of the sealed metadata.
func (im *immutable) appendAuthenticated(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, formatVersion, suiteV1)
	b = binary.BigEndian.AppendUint32(b, uint32(im.segmentSize))
	b = binary.BigEndian.AppendUint64(b, im.micros)
	b = append(b, im.prefix[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(im.sealed)))
	return append(b, im.sealed...)
}

func (im *immutable) modified() time.Time { return time.UnixMicro(int64(im.micros)) }

// marshal returns the bytes of the header.
func (h *header) marshal() []byte {
	size := sealedAt + len(h.immutable.sealed) + macSize + 4 + 2 + len(h.wrapped.ciphertext) + 1 + len(h.mount) + 1 + len(h.key)
	return h.appendTo(make([]byte, 0, size))
}

func (h *header) appendTo(b []byte) []byte {
	b = append(h.immutable.appendAuthenticated(b), h.immutable.tag[:]...)
	b = binary.BigEndian.AppendUint32(b, h.wrapped.version)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.wrapped.ciphertext)))
	b = append(b, h.wrapped.ciphertext...)
	for _, s := range []string{h.mount, h.key} {
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b
}

// parseHeader is the inverse of marshal. It returns ErrTampered for anything
// that marshal would not have produced.
func parseHeader(b []byte) (*header, error) {
	if len(b) > backend.MaxHeader {
		return nil, atrest.ErrTampered
	}
	p := parser{b: b}
	h := new(header)
	known := bytes.Equal(p.next(len(magic)), []byte(magic))
	known = p.uint8() == formatVersion && known
	known = p.uint8() == suiteV1 && known
	segmentSize := p.uint32()
	h.immutable.micros = p.uint64()
	copy(h.immutable.prefix[:], p.next(segment.PrefixSize))
	sealed := int(p.uint16())
	h.immutable.sealed = bytes.Clone(p.next(sealed))
	copy(h.immutable.tag[:], p.next(macSize))
	h.wrapped.version = p.uint32()
	h.wrapped.ciphertext = bytes.Clone(p.next(int(p.uint16())))
	h.mount = string(p.next(int(p.uint8())))
	h.key = string(p.next(int(p.uint8())))

	switch {
	case p.failed, len(p.b) > 0, !known,
		segmentSize < segment.MinSize, segmentSize > segment.MaxSize,
		h.immutable.micros > math.MaxInt64,
		h.immutable.prefix[0] != segment.PrefixSize,
		sealed != 0 && (sealed < minSealed || sealed > maxSealed),
		!h.wrapped.valid(), !validKeyName(h.mount), !validKeyName(h.key):
		return nil, atrest.ErrTampered
	}
	h.immutable.segmentSize = int(segmentSize)
	return h, nil
}

func validKeyName(s string) bool {
	return len(s) > 0 && len(s) <= maxKeyName && s[0] != '/' && s[len(s)-1] != '/' && utf8.ValidString(s)
}

// A parser takes fields off a byte string. Once a field was not there, it
// yields zeros and stays failed.
type parser struct {
	b      []byte
	failed bool
}

func (p *parser) next(n int) []byte {
	if p.failed || n > len(p.b) {
		p.failed, p.b = true, nil
		return nil
	}
	field := p.b[:n]
	p.b = p.b[n:]
	return field
}

func (p *parser) uint8() uint8 {
	if b := p.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint16() uint16 {
	if b := p.next(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.next(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) uint64() uint64 {
	if b := p.next(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

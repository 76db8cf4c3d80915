package main

import (
	"bytes"
	"io"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"github.com/atrest/atrest/internal/segment"
)

// info is what the store derives its body keys with (docs/format.md).
const info = "atrest body v1"

// sealOurs makes a body in memory at once.
func sealOurs(key, plaintext []byte, size int) ([]byte, error) {
	c, err := segment.NewCipher(key, segment.NewPrefix(), info, size, new(segment.Pool))
	if err != nil {
		return nil, err
	}
	return c.Seal(plaintext)
}

// openOurs opens a body in memory at once.
func openOurs(key, body []byte, size int) ([]byte, error) {
	c, err := cipherOf(key, body, size, new(segment.Pool))
	if err != nil {
		return nil, err
	}
	return c.Open(body)
}

// encryptOurs makes a body as a stream, as a put of more than one segment does.
func encryptOurs(w io.Writer, key []byte, src io.Reader, size int, pool *segment.Pool) error {
	c, err := segment.NewCipher(key, segment.NewPrefix(), info, size, pool)
	if err != nil {
		return err
	}
	e := c.Encrypt(src)
	defer e.Close()
	_, err = e.WriteTo(w)
	return err
}

// decryptOurs opens a body as a stream, as a get of more than one segment does.
func decryptOurs(w io.Writer, key, body []byte, size int, pool *segment.Pool) error {
	c, err := cipherOf(key, body, size, pool)
	if err != nil {
		return err
	}
	span, err := segment.NewSpan(0, -1, int64(len(body)), size)
	if err != nil {
		return err
	}
	d := c.Decrypt(bytes.NewReader(body), span)
	defer d.Close()
	_, err = d.WriteTo(w)
	return err
}

// cipherOf returns the Cipher for a body, whose prefix the store has from the
// header.
func cipherOf(key, body []byte, size int, pool *segment.Pool) (*segment.Cipher, error) {
	var prefix segment.Prefix
	copy(prefix[:], body)
	return segment.NewCipher(key, prefix, info, size, pool)
}

// newTink returns Tink's streaming AEAD with the parameters of docs/format.md:
// AES-256, HKDF-SHA256, the first segment at the start of the stream.
func newTink(key []byte, size int) (*subtle.AESGCMHKDF, error) {
	return subtle.NewAESGCMHKDF(key, "SHA256", segment.KeySize, size, 0)
}

// encryptTink makes a body with Tink. The plaintext goes into as few Writes as
// can be, which saves Tink a copy into a buffer of the caller's.
func encryptTink(w io.Writer, key []byte, src source, size int) error {
	aead, err := newTink(key, size)
	if err != nil {
		return err
	}
	e, err := aead.NewEncryptingWriter(w, []byte(info))
	if err != nil {
		return err
	}
	err = src.chunks(len(src.block), func(plaintext []byte) error {
		_, err := e.Write(plaintext)
		return err
	})
	if err != nil {
		return err
	}
	return e.Close()
}

// decryptTink opens a body with Tink, whose Read yields a segment at a time: the
// buffer has the size of one.
func decryptTink(w io.Writer, key []byte, body io.Reader, size int) error {
	aead, err := newTink(key, size)
	if err != nil {
		return err
	}
	d, err := aead.NewDecryptingReader(body, []byte(info))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{w}, d, make([]byte, size))
	return err
}

package main

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"io"

	"filippo.io/age"
	"github.com/minio/sio"

	"github.com/atrest/atrest/internal/segment"
)

// A scheme encrypts bodies. What encrypt writes, decrypt opens.
type scheme interface {
	encrypt(w io.Writer, src source) error
	decrypt(w io.Writer, body []byte) error
}

// newSchemes returns all that are compared, by name, ours among them.
func newSchemes() (map[string]scheme, error) {
	key := noise(segment.KeySize)
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return map[string]scheme{
		oursName: &oursScheme{key, segment.DefaultSize, segment.NewPool(segment.DefaultSize)},
		"aesgcm": &rawScheme{aead: aead},
		"tink":   tinkScheme{key},
		"sio": sioScheme{sio.Config{
			MinVersion: sio.Version20, MaxVersion: sio.Version20, CipherSuites: []byte{sio.AES_256_GCM}, Key: key,
		}},
		"age":  ageScheme{identity},
		"copy": new(copyScheme),
	}, nil
}

// oursScheme is what package storage does with a body: at once if it fits one
// segment, else as a stream.
type oursScheme struct {
	key  []byte
	size int // of segments
	pool *segment.Pool
}

func (o *oursScheme) encrypt(w io.Writer, src source) error {
	if src.size < int64(o.size-segment.TagSize-segment.PrefixSize) && src.size <= int64(len(src.block)) {
		body, err := sealOurs(o.key, src.block[:src.size], o.size)
		if err != nil {
			return err
		}
		_, err = w.Write(body)
		return err
	}
	return encryptOurs(w, o.key, src.reader(), o.size, o.pool)
}

func (o *oursScheme) decrypt(w io.Writer, body []byte) error {
	if len(body) > o.size {
		return decryptOurs(w, o.key, body, o.size, o.pool)
	}
	plaintext, err := openOurs(o.key, body, o.size)
	if err != nil {
		return err
	}
	_, err = w.Write(plaintext)
	return err
}

// rawScheme is the work that no scheme can do without: AES-256-GCM on one thread,
// over segments of 1 MiB, from memory into one small buffer. It is no scheme to
// use: its segments can be rearranged.
type rawScheme struct {
	aead cipher.AEAD
	buf  []byte
}

const rawSegment = 1 << 20

func (r *rawScheme) encrypt(w io.Writer, src source) error {
	nonce, n := make([]byte, r.aead.NonceSize()), uint64(0)
	return src.chunks(rawSegment, func(plaintext []byte) error {
		n++
		binary.BigEndian.PutUint64(nonce[4:], n)
		r.buf = r.aead.Seal(r.buf[:0], nonce, plaintext, nil)
		_, err := w.Write(r.buf)
		return err
	})
}

func (r *rawScheme) decrypt(w io.Writer, body []byte) error {
	nonce, n := make([]byte, r.aead.NonceSize()), uint64(0)
	for len(body) > 0 {
		n++
		binary.BigEndian.PutUint64(nonce[4:], n)
		sealed := body[:min(len(body), rawSegment+r.aead.Overhead())]
		body = body[len(sealed):]
		var err error
		if r.buf, err = r.aead.Open(r.buf[:0], nonce, sealed, nil); err != nil {
			return err
		}
		if _, err := w.Write(r.buf); err != nil {
			return err
		}
	}
	return nil
}

// tinkScheme is Tink's AES256_GCM_HKDF_1MB.
type tinkScheme struct{ key []byte }

const tinkSegment = 1 << 20

func (t tinkScheme) encrypt(w io.Writer, src source) error {
	return encryptTink(w, t.key, src, tinkSegment)
}

func (t tinkScheme) decrypt(w io.Writer, body []byte) error {
	return decryptTink(w, t.key, bytes.NewReader(body), tinkSegment)
}

// sioScheme is MinIO's DARE 2.0 with AES-256-GCM.
type sioScheme struct{ config sio.Config }

func (s sioScheme) encrypt(w io.Writer, src source) error {
	_, err := sio.Encrypt(w, src.reader(), s.config)
	return err
}

func (s sioScheme) decrypt(w io.Writer, body []byte) error {
	_, err := sio.Decrypt(w, bytes.NewReader(body), s.config)
	return err
}

// ageScheme is age for one X25519 recipient. It encrypts with ChaCha20-Poly1305.
type ageScheme struct{ identity *age.X25519Identity }

func (a ageScheme) encrypt(w io.Writer, src source) error {
	e, err := age.Encrypt(w, a.identity.Recipient())
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

func (a ageScheme) decrypt(w io.Writer, body []byte) error {
	d, err := age.Decrypt(bytes.NewReader(body), a.identity)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{w}, onlyReader{d}, make([]byte, 64<<10))
	return err
}

// copyScheme copies, and does not encrypt.
type copyScheme struct{ buf []byte }

func (c *copyScheme) encrypt(w io.Writer, src source) error {
	return src.chunks(rawSegment, func(p []byte) error { return c.pass(w, p) })
}

func (c *copyScheme) decrypt(w io.Writer, body []byte) error {
	for len(body) > 0 {
		n := min(len(body), rawSegment)
		if err := c.pass(w, body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

func (c *copyScheme) pass(w io.Writer, p []byte) error {
	c.buf = append(c.buf[:0], p...)
	_, err := w.Write(c.buf)
	return err
}

package storage

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/segment"
)

// The labels of docs/format.md, "Keys", one for each use of a data key.
const (
	contextLabel  = "atrest object v1"
	bodyInfo      = "atrest body v1"
	metadataInfo  = "atrest metadata v1"
	headerKeyInfo = "atrest header v1"

	maxID = 255
)

// keyContext returns what binds a data key to this store and the object's name.
func (s *Store) keyContext(name string) []byte {
	b := make([]byte, 0, 2+len(contextLabel)+2+len(s.id)+2+len(name))
	for _, part := range [...]string{contextLabel, s.id, name} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func newDataKey() []byte {
	key := make([]byte, segment.KeySize)
	rand.Read(key) // never fails: it would end the program
	return key
}

// wrap returns the mutable part of a header for the object's data key.
func (s *Store) wrap(ctx context.Context, name string, dataKey []byte) (wrappedKey, error) {
	text, err := s.keys.Wrap(ctx, dataKey, s.keyContext(name))
	if err != nil {
		return wrappedKey{}, wrapError(err)
	}
	return parseWrapped(text)
}

func wrapError(err error) error { return fmt.Errorf("wrap data key: %w", &keyError{err}) }

// objectKeys are the data key of an object and the segment key of its body.
type objectKeys struct {
	data, body [segment.KeySize]byte
}

func (k *objectKeys) wipe() { *k = objectKeys{} }

// unwrap returns the keys of an object, which the caller wipes, having made sure that the
// immutable part of the header is what was made with them. It asks Vault unless
// that was done of the very same header before, and its keys are in the cache.
func (s *Store) unwrap(ctx context.Context, name string, h *header) (*objectKeys, error) {
	if err := s.checkKeyName(h); err != nil {
		return nil, err
	}
	keyContext := s.keyContext(name)
	cached, q := s.cache.lookup(h, keyContext)
	if cached != nil {
		return cached, nil
	}
	dataKey, err := s.askVault(ctx, h, keyContext)
	if err != nil {
		return nil, err
	}
	defer clear(dataKey)
	if err := h.immutable.check(dataKey, keyContext); err != nil {
		return nil, err
	}
	bodyKey, err := segment.DeriveKey(dataKey, h.immutable.prefix, bodyInfo)
	if err != nil {
		return nil, err
	}
	defer clear(bodyKey)
	keys := &objectKeys{[segment.KeySize]byte(dataKey), [segment.KeySize]byte(bodyKey)}
	s.cache.keep(q, keys)
	return keys, nil
}

// askVault returns what a header's wrapped key holds, of the length of a data key.
func (s *Store) askVault(ctx context.Context, h *header, keyContext []byte) ([]byte, error) {
	dataKey, err := s.keys.Unwrap(ctx, h.wrapped.text(), keyContext)
	if isDamage(err) {
		return nil, fmt.Errorf("unwrap data key: %w (or it was put by a store with another ID than %q)", &keyError{err}, s.id)
	} else if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", &keyError{err})
	}
	if len(dataKey) != segment.KeySize {
		clear(dataKey)
		return nil, atrest.ErrTampered
	}
	return dataKey, nil
}

// checkKeyName refuses a header that names another transit key than ours.
func (s *Store) checkKeyName(h *header) error {
	if h.mount != s.mount || h.key != s.key {
		return fmt.Errorf("%w (its header names another transit key than %s/%s)", atrest.ErrTampered, s.mount, s.key)
	}
	return nil
}

// sign sets the tag.
func (im *immutable) sign(dataKey, keyContext []byte) error {
	tag, err := im.mac(dataKey, keyContext)
	if err != nil {
		return err
	}
	copy(im.tag[:], tag)
	return nil
}

// check compares the tag.
func (im *immutable) check(dataKey, keyContext []byte) error {
	tag, err := im.mac(dataKey, keyContext)
	if err != nil {
		return err
	}
	if !hmac.Equal(tag, im.tag[:]) {
		return atrest.ErrTampered
	}
	return nil
}

// mac covers the context too. Vault binds the data key to it already; this keeps
// the bond if the transit key is ever replaced by one that is not derived.
func (im *immutable) mac(dataKey, keyContext []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, dataKey, nil, headerKeyInfo, sha256.Size)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	h := hmac.New(sha256.New, key)
	h.Write(im.appendAuthenticated(make([]byte, 0, sealedAt+len(im.sealed))))
	h.Write(keyContext)
	return h.Sum(nil), nil
}

// sealMetadata sets the sealed metadata from its encoding. All other fields
// but the tag are set already: they are its associated data.
func (im *immutable) sealMetadata(dataKey, encoded []byte) error {
	if len(encoded) == 0 {
		return nil
	}
	aead, err := metadataAEAD(dataKey)
	if err != nil {
		return err
	}
	// The associated data includes the length of what is not sealed yet.
	im.sealed = make([]byte, len(encoded)+aead.Overhead())
	im.sealed = aead.Seal(im.sealed[:0], make([]byte, aead.NonceSize()), encoded, im.appendAuthenticated(nil)[:sealedAt])
	return nil
}

func (im *immutable) openMetadata(dataKey []byte) (Metadata, error) {
	if len(im.sealed) == 0 {
		return nil, nil
	}
	aead, err := metadataAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	encoded, err := aead.Open(nil, make([]byte, aead.NonceSize()), im.sealed, im.appendAuthenticated(nil)[:sealedAt])
	if err != nil {
		return nil, atrest.ErrTampered
	}
	defer clear(encoded)
	return decodeMetadata(encoded)
}

// metadataAEAD is used for one message, so its nonce can be zero.
func metadataAEAD(dataKey []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, dataKey, nil, metadataInfo, segment.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// openingCipher is that of a body whose header has been authenticated.
func (s *Store) openingCipher(keys *objectKeys, im *immutable) (*segment.Cipher, error) {
	return segment.KeyedCipher(keys.body[:], im.prefix, im.segmentSize, s.pool)
}

func (s *Store) bodyCipher(dataKey []byte, im *immutable) (*segment.Cipher, error) {
	return segment.NewCipher(dataKey, im.prefix, bodyInfo, im.segmentSize, s.pool)
}

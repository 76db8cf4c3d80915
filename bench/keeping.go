package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/api"
	"gocloud.dev/secrets"
	"gocloud.dev/secrets/hashivault"

	"github.com/atrest/atrest/storage"
)

// A keeping is a way to keep secrets: ours, or what one would do without us. Bare
// places are such ways, too, that keep no secret.
type keeping = bare

// oursKept are in a store.
type oursKept struct{ store *storage.Store }

func (o oursKept) put(ctx context.Context, name string, secret []byte) error {
	_, err := o.store.PutBytes(ctx, name, secret, nil)
	return err
}

func (o oursKept) get(ctx context.Context, name string) ([]byte, error) {
	secret, _, err := o.store.GetBytes(ctx, name)
	return secret, err
}

func (o oursKept) count(ctx context.Context) (n int64, err error) {
	for _, err := range o.store.List(ctx, &storage.ListOptions{NamesOnly: true}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// naive is envelope encryption as one would write it in an afternoon: a data key
// for each secret, wrapped by Vault in a request of its own, and stored before
// the ciphertext.
type naive struct {
	vault *api.Client
	key   string // of the transit engine, derived
	bare
}

// call makes one transit request and returns one field of the answer.
func (n *naive) call(ctx context.Context, operation, name, field string, in map[string]any) (string, error) {
	in["context"] = base64.StdEncoding.EncodeToString([]byte(name))
	secret, err := n.vault.Logical().WriteWithContext(ctx, transitMount+"/"+operation+"/"+n.key, in)
	if err != nil {
		return "", err
	}
	text, ok := secret.Data[field].(string)
	if !ok {
		return "", fmt.Errorf("no %s in Vault's answer", field)
	}
	return text, nil
}

func (n *naive) put(ctx context.Context, name string, secret []byte) error {
	dataKey := make([]byte, 32)
	rand.Read(dataKey)
	aead, err := newGCM(dataKey)
	if err != nil {
		return err
	}
	wrapped, err := n.call(ctx, "encrypt", name, "ciphertext",
		map[string]any{"plaintext": base64.StdEncoding.EncodeToString(dataKey)})
	if err != nil {
		return err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	content := binary.BigEndian.AppendUint16(make([]byte, 0, len(secret)+256), uint16(len(wrapped)))
	content = append(append(content, wrapped...), nonce...)
	return n.bare.put(ctx, name, aead.Seal(content, nonce, secret, []byte(name)))
}

func (n *naive) get(ctx context.Context, name string) ([]byte, error) {
	content, err := n.bare.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(content) < 2 {
		return nil, errors.New("too short")
	}
	length, rest := int(binary.BigEndian.Uint16(content)), content[2:]
	const nonceSize = 12
	if len(rest) < length+nonceSize {
		return nil, errors.New("too short")
	}
	encoded, err := n.call(ctx, "decrypt", name, "plaintext", map[string]any{"ciphertext": string(rest[:length])})
	if err != nil {
		return nil, err
	}
	dataKey, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(dataKey)
	if err != nil {
		return nil, err
	}
	nonce, sealed := rest[length:length+nonceSize], rest[length+nonceSize:]
	return aead.Open(sealed[:0], nonce, sealed, []byte(name))
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// gocloud has each secret encrypted by Vault itself, through gocloud.dev/secrets.
type gocloud struct {
	keeper *secrets.Keeper
	bare
}

func (g *gocloud) put(ctx context.Context, name string, secret []byte) error {
	content, err := g.keeper.Encrypt(ctx, secret)
	if err != nil {
		return err
	}
	return g.bare.put(ctx, name, content)
}

func (g *gocloud) get(ctx context.Context, name string) ([]byte, error) {
	content, err := g.bare.get(ctx, name)
	if err != nil {
		return nil, err
	}
	return g.keeper.Decrypt(ctx, content)
}

// keepings returns ours at a place, and those others that are needed, each with a
// place of its own on the same engine. Cached says that ours keeps unwrapped keys.
func (e *env) keepings(ctx context.Context, p *place, cached bool, need need) (ours keeping, others map[string]keeping, err error) {
	open := e.newStore
	if cached {
		open = e.newCachedStore
	}
	store, err := open(ctx, p.blobs)
	if err != nil {
		return nil, nil, err
	}
	others = make(map[string]keeping)
	for name := range need {
		b, err := p.bare(ctx)
		if err != nil {
			return nil, nil, err
		}
		client, err := e.client(ctx, "")
		if err != nil {
			return nil, nil, err
		}
		switch name {
		case "naive":
			_, key := e.wrapper.Key()
			others[name] = &naive{client, key, b}
		case "gocloud":
			// It knows no context, so its key is not derived.
			key := "gocloud-" + random()
			if _, err := client.Logical().WriteWithContext(ctx, transitMount+"/keys/"+key, nil); err != nil {
				return nil, nil, err
			}
			others[name] = &gocloud{hashivault.OpenKeeper(client, key, &hashivault.KeeperOptions{Engine: transitMount}), b}
		case "bare":
			others[name] = b
		default:
			return nil, nil, fmt.Errorf("nobody keeps secrets like %q", name)
		}
	}
	return oursKept{store}, others, nil
}

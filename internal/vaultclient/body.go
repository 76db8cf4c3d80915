package vaultclient

import (
	"encoding/json"
	"errors"
	"fmt"
)

// SecretField is a field of a request's body whose value is a secret.
type SecretField struct {
	Name string
	Text []byte // printable ASCII without quotes and backslashes
}

// Body returns a body that is the JSON of v, which is an object, or nil for none,
// with the secrets as further fields of it. The caller keeps their texts.
//
// package json keeps a copy of what it encodes, which nobody can wipe. So what is
// worth wiping belongs into secrets, which are written into one buffer that never
// grows.
func Body(v any, secrets ...SecretField) (*SecretBody, error) {
	object := []byte("{}")
	if v != nil {
		var err error
		if object, err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("encoding a request to Vault: %w", err)
		}
	}
	defer Wipe(object)
	if object[0] != '{' {
		return nil, errors.New("encoding a request to Vault: not an object")
	}
	size := len(object)
	for _, s := range secrets {
		if !plain(s.Name) || !plain(s.Text) {
			return nil, fmt.Errorf("the value of %q is not printable ASCII without quotes and backslashes", s.Name)
		}
		size += len(s.Name) + len(s.Text) + len(`,"":""`)
	}
	b := append(make([]byte, 0, size), object[:len(object)-1]...)
	for _, s := range secrets {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, `"`+s.Name+`":"`...)
		b = append(b, s.Text...)
		b = append(b, '"')
	}
	return RawBody(append(b, '}')), nil
}

package seal

import (
	"encoding/base64"
	"errors"
)

// The types below are what encoding/json takes a payload's text apart into.

type jsonPayload struct {
	Attempt     attemptID    `json:"attempt"`
	Keys        *jsonKeys    `json:"keys"`
	Pending     *jsonKeys    `json:"pending"`
	AppRole     *jsonAppRole `json:"approle"`
	NextAppRole *jsonAppRole `json:"next_approle"`
	Set         setID        `json:"set"`
	Number      int          `json:"number"`
	Share       jsonBase64   `json:"share"`
}

type jsonKeys struct {
	Threshold int          `json:"threshold"`
	Set       setID        `json:"set"`
	Count     int          `json:"count"`
	Shares    []jsonBase64 `json:"shares"`
}

type jsonAppRole struct {
	Mount    string   `json:"mount"`
	Role     string   `json:"role"`
	RoleID   jsonText `json:"role_id"`
	SecretID jsonText `json:"secret_id"`
	Accessor jsonText `json:"accessor"`
}

// payload moves the values. Nothing is checked.
func (j *jsonPayload) payload() *payload {
	p := &payload{
		attempt:     j.Attempt,
		keys:        j.Keys.keys(),
		pending:     j.Pending.keys(),
		appRole:     j.AppRole.appRole(),
		nextAppRole: j.NextAppRole.appRole(),
	}
	if j.Set != "" || j.Share.secret != nil {
		p.share = &share{j.Set, j.Number, j.Share.secret}
	}
	return p
}

func (j *jsonKeys) keys() *unsealKeys {
	if j == nil {
		return nil
	}
	k := &unsealKeys{threshold: j.Threshold, set: j.Set, count: j.Count, shares: make([]*secret, len(j.Shares))}
	for i, s := range j.Shares {
		k.shares[i] = s.secret
	}
	return k
}

func (j *jsonAppRole) appRole() *appRole {
	if j == nil {
		return nil
	}
	return &appRole{j.Mount, j.Role, j.RoleID.secret, j.SecretID.secret, j.Accessor.secret}
}

// errNotPlain stands for a string with escapes, or for no string.
var errNotPlain = errors.New("not a plain string")

// A jsonText is a string without escapes.
type jsonText struct{ *secret }

func (t *jsonText) UnmarshalJSON(text []byte) error {
	t.wipe() // a second value under the same name
	if len(text) < 2 || text[0] != '"' {
		return errNotPlain
	}
	t.secret = newSecret(append(make([]byte, 0, len(text)-2), text[1:len(text)-1]...))
	return nil
}

// A jsonBase64 is what a string has in base64.
type jsonBase64 struct{ *secret }

func (b *jsonBase64) UnmarshalJSON(text []byte) error {
	b.wipe()
	if len(text) < 2 || text[0] != '"' {
		return errNotPlain
	}
	text = text[1 : len(text)-1]
	raw := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Strict().Decode(raw, text)
	if err != nil {
		wipe(raw)
		return errNotPlain
	}
	b.secret = newSecret(raw[:n])
	return nil
}

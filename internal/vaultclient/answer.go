package vaultclient

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
)

// Answer says how Vault answered.
type Answer struct {
	Status int // of HTTP: 200 to 299, or one of Request.Accept
}

// Data is an answer that has what was asked for under "data", as most have. [Do]
// takes one without for an answer that is not Vault's, so that the field is never
// nil in what Do returns.
type Data[T any] struct {
	Data *T `json:"data"`
}

func (d *Data[T]) empty() bool { return d.Data == nil }

// Do sends a request, again where that is safe and may help, and returns the whole
// answer, decoded from JSON, or nil if Vault answered "done" without any. It wipes
// the request's body and the text of the answer; the caller wipes the secrets in the
// result.
//
// Errors: atrest.ErrVaultSealed, atrest.ErrVaultUnavailable, also for an answer that
// makes no sense, atrest.ErrPermission, atrest.ErrPlaintextConnection for a redirect
// that leads there, [ErrNotFound], [*RefusedError], those of Request.Refused, and
// ctx's. After ErrVaultUnavailable or ctx's, Vault may have done what was asked.
func Do[T any](ctx context.Context, c *Client, r Request) (*T, *Answer, error) {
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	if r.Body != nil {
		defer r.Body.Wipe()
	}
	var (
		value *T
		with  *Answer
	)
	err := c.retry(ctx, r, func() error {
		a, err := c.try(ctx, r)
		if err != nil {
			return err
		}
		defer Wipe(a.body)
		value, err = decode[T](c, r, a)
		with = &Answer{a.status}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return value, with, nil
}

// present notes that a field is there and not null.
type present bool

func (p *present) UnmarshalJSON(text []byte) error {
	*p = string(text) != "null"
	return nil
}

// decode returns the value of an answer or the error that it is. Vault sends data
// along with some errors: transit's results of a batch with 400 if each item failed
// (batchRequestResponse in path_encrypt.go).
func decode[T any](c *Client, r Request, a *answer) (*T, error) {
	if a.status < 200 || a.status >= 300 {
		var e struct {
			Data   present  `json:"data"`
			Errors []string `json:"errors"`
		}
		if err := json.Unmarshal(a.body, &e); err != nil {
			return nil, notVault(a) // err may quote the answer
		}
		accepted := slices.Contains(r.Accept, a.status)
		switch {
		case accepted && (bool(e.Data) || e.Errors == nil):
		case e.Errors == nil:
			return nil, notVault(a)
		default:
			return nil, c.refusal(r, a, e.Errors)
		}
	} else if len(a.body) == 0 {
		return nil, nil
	}
	value := new(T)
	if !bytes.HasPrefix(bytes.TrimLeft(a.body, " \t\r\n"), []byte("{")) { // null would do otherwise
		return nil, notVault(a)
	}
	if err := json.Unmarshal(a.body, value); err != nil {
		return nil, notVault(a)
	}
	if d, ok := any(value).(interface{ empty() bool }); ok && d.empty() {
		return nil, notVault(a)
	}
	return value, nil
}

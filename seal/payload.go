package seal

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/atrest/atrest"
)

// A payload is what a seal record or a candidate holds sealed. Which fields are
// there depends on the state. Its secrets are of the type secret, so that it may
// be printed; the caller wipes it.
type payload struct {
	attempt     attemptID   // intent and candidate: whose
	keys        *unsealKeys // candidate and ready: what unseals Vault
	pending     *unsealKeys // ready: what will, once a rekey is verified
	appRole     *appRole    // ready: how to log in; absent until set-up is finished
	nextAppRole *appRole    // ready: how to, once its change is finished
	share       *share      // share: one of the unseal key
}

// unsealKeys are the shares of Vault's unseal key and how many of them it takes. The shares
// are in the record itself, or, if set is there, in count records of their own: then shares
// are those that have been gathered, and header is that of the record that names the set.
type unsealKeys struct {
	threshold int
	shares    []*secret
	set       setID
	count     int
	header    *recordHeader
}

// A share is one of a set, numbered from 1.
type share struct {
	set    setID
	number int
	value  *secret
}

// An appRole is what it takes to log in to Vault by AppRole.
type appRole struct {
	mount, role                string
	roleID, secretID, accessor *secret
}

// Bounds of the fields. Vault takes 1 to 255 shares (vault/seal.go,
// SealConfig.Validate). A share is 32 bytes long, or 33 if there are several.
const (
	maxShares = 255
	minShare  = 16
	maxShare  = 64
	maxText   = 255
)

func (p *payload) wipe() {
	if p == nil {
		return
	}
	p.keys.wipe()
	p.pending.wipe()
	p.appRole.wipe()
	p.nextAppRole.wipe()
	if p.share != nil {
		p.share.value.wipe()
	}
}

func (k *unsealKeys) wipe() {
	if k == nil {
		return
	}
	for _, s := range k.shares {
		s.wipe()
	}
}

func (a *appRole) wipe() {
	if a == nil {
		return
	}
	a.roleID.wipe()
	a.secretID.wipe()
	a.accessor.wipe()
}

// fits reports whether these are the fields of that state, within their bounds.
func (p *payload) fits(state recordState) bool {
	ready := p.pending != nil || p.appRole != nil || p.nextAppRole != nil
	switch state {
	case stateIntent:
		return p.attempt.valid() && p.keys == nil && !ready && p.share == nil
	case stateCandidate:
		return p.attempt.valid() && p.keys.valid() && p.keys.set == "" && !ready && p.share == nil
	case stateShare:
		return p.attempt == "" && p.keys == nil && !ready && p.share.valid()
	case stateReady:
		return p.attempt == "" && p.keys.valid() && p.share == nil &&
			(p.pending == nil || p.pending.valid()) &&
			(p.appRole == nil || p.appRole.valid()) &&
			(p.nextAppRole == nil || p.nextAppRole.valid())
	}
	return false
}

func (k *unsealKeys) valid() bool {
	if k == nil || k.threshold < 1 || k.threshold > k.total() || k.total() > maxShares {
		return false
	}
	for _, s := range k.shares {
		if !validShare(s) {
			return false
		}
	}
	return k.set == "" || k.set.valid()
}

// total is how many shares there are, gathered or not.
func (k *unsealKeys) total() int {
	if k.set != "" {
		return k.count
	}
	return len(k.shares)
}

func (s *share) valid() bool {
	return s != nil && s.set.valid() && 1 <= s.number && s.number <= maxShares && validShare(s.value)
}

func validShare(s *secret) bool { return minShare <= s.size() && s.size() <= maxShare }

func (a *appRole) valid() bool {
	return plain([]byte(a.mount)) && plain([]byte(a.role)) &&
		plain(a.roleID.bytes()) && plain(a.secretID.bytes()) && plain(a.accessor.bytes())
}

// plain reports whether text is 1 to 255 printable characters of ASCII that no
// encoder of JSON escapes. So there is one spelling of a payload.
func plain(text []byte) bool {
	for _, c := range text {
		if c <= ' ' || c > '~' || bytes.IndexByte([]byte(`"&<>\`), c) >= 0 {
			return false
		}
	}
	return 1 <= len(text) && len(text) <= maxText
}

// append appends the JSON text of a payload that fits. encoding/json would keep
// a copy in its pool.
func (p *payload) append(dst []byte) []byte {
	w := objectWriter{dst: append(dst, '{')}
	if p.attempt != "" {
		w.text("attempt", []byte(p.attempt))
	}
	w.keys("keys", p.keys)
	w.keys("pending", p.pending)
	w.appRole("approle", p.appRole)
	w.appRole("next_approle", p.nextAppRole)
	if p.share != nil {
		w.text("set", []byte(p.share.set))
		w.number("number", p.share.number)
		w.base64("share", p.share.value)
	}
	return append(w.dst, '}')
}

// size is how many bytes append appends, or a few more, so that the buffer need
// not grow and leave copies behind.
func (p *payload) size() int {
	n := 256
	for _, k := range []*unsealKeys{p.keys, p.pending} {
		if k != nil {
			n += 64 + len(k.shares)*(maxShare*4/3+4)
		}
	}
	for _, a := range []*appRole{p.appRole, p.nextAppRole} {
		if a != nil {
			n += 128 + 5*maxText
		}
	}
	return n
}

// An objectWriter appends the members of a JSON object.
type objectWriter struct{ dst []byte }

func (w *objectWriter) name(name string) {
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(append(append(w.dst, '"'), name...), `":`...)
}

func (w *objectWriter) text(name string, value []byte) {
	w.name(name)
	w.dst = append(append(append(w.dst, '"'), value...), '"')
}

func (w *objectWriter) number(name string, n int) {
	w.name(name)
	w.dst = strconv.AppendInt(w.dst, int64(n), 10)
}

func (w *objectWriter) base64(name string, s *secret) {
	w.name(name)
	w.dst = append(appendBase64(append(w.dst, '"'), s.bytes()), '"')
}

func (w *objectWriter) keys(name string, k *unsealKeys) {
	if k == nil {
		return
	}
	w.name(name)
	w.dst = append(w.dst, '{')
	w.number("threshold", k.threshold)
	if k.set != "" {
		w.text("set", []byte(k.set))
		w.number("count", k.count)
		w.dst = append(w.dst, '}')
		return
	}
	w.name("shares")
	w.dst = append(w.dst, '[')
	for i, s := range k.shares {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = append(appendBase64(append(w.dst, '"'), s.bytes()), '"')
	}
	w.dst = append(w.dst, "]}"...)
}

func (w *objectWriter) appRole(name string, a *appRole) {
	if a == nil {
		return
	}
	w.name(name)
	w.dst = append(w.dst, '{')
	w.text("mount", []byte(a.mount))
	w.text("role", []byte(a.role))
	w.text("role_id", a.roleID.bytes())
	w.text("secret_id", a.secretID.bytes())
	w.text("accessor", a.accessor.bytes())
	w.dst = append(w.dst, '}')
}

// parsePayload is the inverse of append for the payloads that fit the state.
// Whatever else is in the text, or is missing, or comes in another order or
// twice, makes it another text than append's, and so an error.
func parsePayload(text []byte, state recordState) (*payload, error) {
	var j jsonPayload
	err := json.Unmarshal(text, &j) // its errors may quote the text
	p := j.payload()
	if err != nil || !p.fits(state) {
		p.wipe()
		return nil, atrest.ErrCorruptRecord
	}
	again := p.append(make([]byte, 0, p.size()))
	defer wipe(again)
	if !bytes.Equal(again, text) {
		p.wipe()
		return nil, atrest.ErrCorruptRecord
	}
	return p, nil
}

// clone returns a copy that is wiped on its own.
func (a *appRole) clone() *appRole {
	return &appRole{a.mount, a.role, a.roleID.clone(), a.secretID.clone(), a.accessor.clone()}
}

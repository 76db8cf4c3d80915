package seal

import (
	"errors"
	"fmt"

	"github.com/atrest/atrest"
)

// maxRecord is the length of a record in bytes, at most. The largest payload
// that fits makes one that is shorter.
const maxRecord = 64 << 10

const (
	recordMagic = "$atrest-seal$v=1$"
	recordInfo  = "atrest seal record v1"
	recordPad   = 256
)

// A recordState says what a record holds, and how far set-up has come.
type recordState string

const (
	stateIntent    recordState = "intent"    // Vault may be about to be initialised
	stateReady     recordState = "ready"     // it is, and this is what unseals it
	stateCandidate recordState = "candidate" // one attempt's keys, in a row of its own
	stateShare     recordState = "share"     // one share of the unseal key, in a row of its own
)

// A recordHeader is what a record says in the clear. It is true once the record
// has been opened; until then anyone may have written it. No secrets are in it.
type recordHeader struct {
	install    installID
	generation uint32 // of the password, from 1
	state      recordState
	params     Argon2id
	salt       salt // changes with the password
}

// A record is a seal record, a candidate or a share, that parses.
type record struct {
	recordHeader
	nonce nonce
	box   []byte // ciphertext and tag
}

// parseRecord takes a record apart. It is accepted only in the spelling that
// marshal gives it. Nothing is authenticated yet.
func parseRecord(data []byte) (*record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("seal record: %w: longer than %d bytes", atrest.ErrCorruptRecord, maxRecord)
	}
	s := scanner{rest: string(data)}
	r := &record{}
	s.literal(recordMagic + "install=")
	r.install = s.install("$")
	s.literal("generation=")
	r.generation = s.number("$")
	s.literal("state=")
	r.state = recordState(s.until("$"))
	s.literal("argon2id$v=19$m=")
	r.params.MemoryKiB = s.number(",")
	s.literal("t=")
	r.params.Passes = s.number(",")
	s.literal("p=")
	r.params.Lanes = s.number("$")
	s.fixed(r.salt[:], "$")
	s.fixed(r.nonce[:], "$")
	r.box = s.bytes("\n")
	if s.bad || s.rest != "" || !r.valid() || string(r.marshal()) != string(data) {
		return nil, fmt.Errorf("seal record: %w", atrest.ErrCorruptRecord)
	}
	return r, nil
}

func (r *record) valid() bool {
	return r.recordHeader.valid() && len(r.box) > tagSize && (len(r.box)-tagSize)%recordPad == 0
}

func (h *recordHeader) valid() bool {
	known := h.state == stateIntent || h.state == stateReady || h.state == stateCandidate || h.state == stateShare
	return h.install.valid() && h.generation > 0 && known && h.params.readable()
}

// prefix is what the box is authenticated with: the line up to it.
func (r *record) prefix() []byte {
	line := fmt.Appendf(nil, "%sinstall=%s$generation=%d$state=%s$argon2id$v=19$m=%d,t=%d,p=%d$", recordMagic,
		r.install, r.generation, r.state, r.params.MemoryKiB, r.params.Passes, r.params.Lanes)
	line = append(appendBase64(line, r.salt[:]), '$')
	return append(appendBase64(line, r.nonce[:]), '$')
}

func (r *record) marshal() []byte {
	return append(appendBase64(r.prefix(), r.box), '\n')
}

// open returns what the record holds. Errors are ErrWrongPassword, and
// ErrCorruptRecord if whoever sealed it did not keep to the format.
func (r *record) open(k *kdfCache, password *secret) (*payload, error) {
	key, err := k.key(password, r.salt, r.params)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	aead, err := newAEAD(key.bytes(), r.salt, recordInfo)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, r.nonce[:], r.box, r.prefix())
	if err != nil {
		return nil, fmt.Errorf("seal record of generation %d: %w", r.generation, atrest.ErrWrongPassword)
	}
	defer wipe(plain)
	text, ok := unpad(plain, recordPad, ' ')
	if !ok {
		return nil, fmt.Errorf("seal record: %w", atrest.ErrCorruptRecord)
	}
	p, err := parsePayload(text, r.state)
	if err != nil {
		return nil, fmt.Errorf("seal record: contents: %w", err)
	}
	for _, keys := range []*unsealKeys{p.keys, p.pending} {
		if keys != nil && keys.set != "" {
			keys.header = &r.recordHeader
		}
	}
	return p, nil
}

// passwordFrom chooses the one of a password file's passwords that is to open
// the record, by what the record says of itself.
func (r *record) passwordFrom(f *passwordFile) (*secret, error) {
	switch {
	case r.install != f.install:
		return nil, fmt.Errorf("%w: the seal record is of installation %s, the password file of %s",
			atrest.ErrOtherInstallation, r.install, f.install)
	case r.generation == f.generation:
		return f.password, nil
	case r.generation > f.generation && r.generation-f.generation == 1 && f.pending.size() > 0:
		return f.pending, nil
	case r.generation > f.generation:
		return nil, fmt.Errorf("%w: the seal record has generation %d, the password file has %d",
			atrest.ErrStalePassword, r.generation, f.generation)
	}
	return nil, fmt.Errorf("%w: the seal record has generation %d, which is older than the password file's %d: it may come from a backup, and takes the password of that time",
		atrest.ErrWrongPassword, r.generation, f.generation)
}

// sealRecord seals p under the password and returns the record. Another password
// takes another salt in h.
func sealRecord(k *kdfCache, h recordHeader, p *payload, password *secret) ([]byte, error) {
	if !h.valid() || !p.fits(h.state) || password.size() == 0 {
		return nil, errors.New("seal: a record of state " + string(h.state) + " was to be sealed with fields that do not fit it")
	}
	if !k.cheap {
		if err := h.params.check(); err != nil {
			return nil, err
		}
	}
	key, err := k.key(password, h.salt, h.params)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	r := &record{recordHeader: h, nonce: newNonce()}
	if err := r.seal(key, p); err != nil {
		return nil, err
	}
	return r.marshal(), nil
}

// seal fills the box.
func (r *record) seal(key *secret, p *payload) error {
	aead, err := newAEAD(key.bytes(), r.salt, recordInfo)
	if err != nil {
		return err
	}
	plain := pad(p.append(make([]byte, 0, p.size()+recordPad)), recordPad, ' ')
	defer wipe(plain)
	r.box = aead.Seal(nil, r.nonce[:], plain, r.prefix())
	return nil
}

// pad appends fill until the length is a multiple of size, so that it tells
// little of what the contents are.
func pad(b []byte, size int, fill byte) []byte {
	for len(b)%size != 0 {
		b = append(b, fill)
	}
	return b
}

// unpad is the inverse of pad for contents that do not end in fill.
func unpad(b []byte, size int, fill byte) (contents []byte, ok bool) {
	n := len(b)
	for n > 0 && b[n-1] == fill {
		n--
	}
	return b[:n], n > 0 && len(b)%size == 0 && len(b)-n < size
}

package storage

import (
	"time"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/segment"
)

// A draft is a new object before its data key is wrapped and its body is put.
type draft struct {
	name    string
	opts    *PutOptions
	cond    backend.Condition
	header  *header // but for the wrapped key
	dataKey []byte
	cipher  *segment.Cipher // of the body
}

// newDraft returns what wipe is to be called of.
func (s *Store) newDraft(name string, opts *PutOptions) (*draft, error) {
	if _, err := backend.Escape(name); err != nil {
		return nil, err
	}
	encoded, err := opts.Metadata.encode()
	if err != nil {
		return nil, err
	}
	defer clear(encoded)
	d := &draft{
		name: name, opts: opts, header: s.newHeader(), dataKey: newDataKey(),
		cond: backend.Condition{IfAbsent: opts.IfAbsent, IfVersion: opts.IfVersion},
	}
	if err = d.header.immutable.sealMetadata(d.dataKey, encoded); err == nil {
		err = d.header.immutable.sign(d.dataKey, s.keyContext(name))
	}
	if err == nil {
		d.cipher, err = s.bodyCipher(d.dataKey, &d.header.immutable)
	}
	if err != nil {
		d.wipe()
		return nil, err
	}
	return d, nil
}

func (d *draft) wipe() { clear(d.dataKey) }

// info is that of the object that was put, without its size.
func (d *draft) info(version Version) Info {
	return Info{
		Name:       d.name,
		Version:    version,
		Modified:   d.header.immutable.modified(),
		Metadata:   d.opts.Metadata,
		KeyVersion: d.header.wrapped.version,
	}
}

// newHeader returns a header for a new object, complete but for the metadata,
// the tag and the wrapped key.
func (s *Store) newHeader() *header {
	return &header{
		immutable: immutable{
			segmentSize: s.segmentSize,
			micros:      uint64(max(time.Now().UnixMicro(), 0)),
			prefix:      segment.NewPrefix(),
		},
		mount: s.mount,
		key:   s.key,
	}
}

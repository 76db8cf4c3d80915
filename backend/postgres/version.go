package postgres

import (
	"crypto/rand"

	"github.com/atrest/atrest/backend"
	"github.com/jackc/pgx/v5/pgtype"
)

// A contentID is a content version as the database has it. It is made here, not
// there, and random, so that none comes twice, whatever is deleted or restored.
type contentID = [16]byte

// newContentID returns a random UUID (RFC 9562, version 4).
func newContentID() contentID {
	var id contentID
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func versionOf(id contentID) backend.Version {
	return backend.Version(pgtype.UUID{Bytes: id, Valid: true}.String())
}

// contentIDOf is the inverse of versionOf. For anything that versionOf does not
// return, it is the nil UUID, which is the version of no object.
func contentIDOf(v backend.Version) contentID {
	var id pgtype.UUID
	if err := id.Scan(string(v)); err != nil || versionOf(id.Bytes) != v {
		return contentID{}
	}
	return id.Bytes
}

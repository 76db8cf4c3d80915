package disk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
)

// recordsMagic begins the file of a record. The number is the version of the format.
const recordsMagic = "atrest-record-1"

// maxRecordHead is the length of the longest first line.
const maxRecordHead = len(recordsMagic) + 1 + backend.MaxRevision + 1 + 5 + 1 + 2*sha256.Size + 1

// marshalRecord returns the file of a record: a line for people and parsers, and then the
// data.
//
//	atrest-record-1 <revision> <length of the data> <hexadecimal SHA-256>\n
//
// The sum is over the name, the revision, each with a newline after it, and the data, so
// that neither a part of a file nor another record's passes for it. It
// is against accidents: who can write the file can also make the sum.
func marshalRecord(name string, revision backend.Revision, data []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", name, revision)
	h.Write(data)
	file := fmt.Appendf(nil, "%s %s %d %x\n", recordsMagic, revision, len(data), h.Sum(nil))
	return append(file, data...)
}

// parseRecord is the inverse of marshalRecord. It accepts nothing but what that makes, which
// it finds out by making it again.
func parseRecord(name string, file []byte) (backend.Record, error) {
	head, data, _ := bytes.Cut(file, []byte("\n"))
	fields := strings.Split(string(head), " ")
	if len(head) >= maxRecordHead || len(fields) != 4 || fields[0] != recordsMagic {
		return backend.Record{}, fmt.Errorf("%w: not the file of a record", atrest.ErrTampered)
	}
	revision := backend.Revision(fields[1])
	if err := backend.CheckRecord(name, data); err != nil || revision == "" || !bytes.Equal(marshalRecord(name, revision, data), file) {
		return backend.Record{}, fmt.Errorf("%w: the file is not what was written as this record", atrest.ErrTampered)
	}
	return backend.Record{Data: data, Revision: revision}, nil
}

// read returns the record, whose file it opens once and reads whole.
func (r *Records) read(name string) (backend.Record, error) {
	path := recordsDir + "/" + name
	file, info, err := r.store.openRegular(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return backend.Record{}, atrest.ErrNotFound
	case errors.Is(err, errNotRegular):
		return backend.Record{}, fmt.Errorf("%w: %s", atrest.ErrTampered, err)
	case err != nil:
		return backend.Record{}, err
	}
	defer file.Close()
	if err := checkPrivate("the file", info); err != nil {
		return backend.Record{}, err
	}
	content, err := io.ReadAll(io.LimitReader(file, int64(maxRecordHead+backend.MaxRecord+1)))
	if err != nil {
		return backend.Record{}, describe("read", path, err)
	}
	return parseRecord(name, content)
}

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/storage"
)

// findFiles returns the file, or the files below the directory, at path. It
// leaves out what begins with a dot, what can't be read, and the programs that
// the repository builds.
func findFiles(path string) ([]string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && entry != nil && entry.IsDir() && p != path:
			return filepath.SkipDir // not for us
		case err != nil:
			return err
		case p != path && (strings.HasPrefix(entry.Name(), ".") || p == filepath.Join(path, "dev", "bin")):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case entry.Type().IsRegular() && readable(p):
			files = append(files, p)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no files to read at %s (names that begin with a dot are left out)", path)
	}
	return files, err
}

// readable tells whether a file can be stored: it can be opened, and its path
// can be the name of an object.
func readable(path string) bool {
	if _, err := backend.Escape(path); err != nil {
		return false
	}
	file, err := os.Open(path)
	if err == nil {
		file.Close()
	}
	return err == nil
}

// putAll streams the files into the store.
func putAll(ctx context.Context, store *storage.Store, files []string) (total int64, err error) {
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return total, err
		}
		info, err := store.Put(ctx, path, file, &storage.PutOptions{IfAbsent: true})
		file.Close()
		if err != nil {
			return total, err
		}
		total += info.Size
	}
	return total, nil
}

// compareAll streams the objects out of the store and compares them with the
// files.
func compareAll(ctx context.Context, store *storage.Store, files []string) error {
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		err = compare(ctx, store, path, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func compare(ctx context.Context, store *storage.Store, name string, want io.Reader) error {
	r, err := store.Get(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close()
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(r, a)
		m, errB := io.ReadFull(want, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("%s differs from what was put; has the file been written to meanwhile?", name)
		}
		if errA != errB || errA != nil && errA != io.EOF && errA != io.ErrUnexpectedEOF {
			return fmt.Errorf("%s: %w", name, errors.Join(errA, errB))
		}
		if errA != nil {
			return nil
		}
	}
}

// searchStored looks for the first bytes of up to 100 of the files in everything
// below dir, and returns how many bytes that is and for how many pieces it
// looked. To find one is an error.
func searchStored(dir string, files []string) (total int64, looked int, err error) {
	var pieces [][]byte
	for _, path := range files[:min(len(files), 100)] {
		file, err := os.Open(path)
		if err != nil {
			return 0, 0, err
		}
		piece := make([]byte, 40)
		n, _ := io.ReadFull(file, piece)
		// Shorter ones may be there by chance.
		if piece = piece[:n]; n >= 8 && !bytes.Equal(piece, make([]byte, n)) {
			pieces = append(pieces, piece)
		}
		file.Close()
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		n, err := search(path, pieces)
		total += n
		return err
	})
	return total, len(pieces), err
}

// search reads a file in windows that overlap by the length of a piece.
func search(path string, pieces [][]byte) (total int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	window := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(file, window[kept:])
		total += int64(n)
		for _, piece := range pieces {
			if bytes.Contains(window[:kept+n], piece) {
				return total, fmt.Errorf("plaintext is in %s", path)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		kept = copy(window, window[len(window)-40:])
	}
}

// dumpFirst prints the beginning of the first object as it is stored.
func dumpFirst(ctx context.Context, blobs backend.Blobs) error {
	for entry, err := range blobs.List(ctx, "", "") {
		if err != nil {
			return err
		}
		obj, err := blobs.Get(ctx, entry.Name, backend.Range{Length: 96}, "")
		if err != nil {
			return err
		}
		defer obj.Body.Close()
		body, err := io.ReadAll(obj.Body)
		if err != nil {
			return err
		}
		fmt.Printf("\n%s: body\n%s\n", entry.Name, hex.Dump(body))
		break
	}
	return nil
}

// flipOneByte changes the last byte of the body of the first object that has
// one, and stores it again as any writer of the disk could, its checksums put
// right.
func flipOneByte(ctx context.Context, blobs backend.Blobs) (name string, err error) {
	for entry, err := range blobs.List(ctx, "", "") {
		if err != nil {
			return "", err
		}
		obj, err := blobs.Get(ctx, entry.Name, backend.All, "")
		if err != nil {
			return "", err
		}
		defer obj.Body.Close()
		flipped := &flipReader{src: obj.Body, left: obj.Size}
		_, err = blobs.Put(ctx, entry.Name, obj.Header, flipped, backend.Condition{IfVersion: obj.Version})
		return entry.Name, err
	}
	return "", errors.New("there is no object")
}

// A flipReader changes a bit in the last byte of what it reads.
type flipReader struct {
	src  io.Reader
	left int64
}

func (f *flipReader) Read(p []byte) (int, error) {
	n, err := f.src.Read(p)
	if f.left -= int64(n); f.left == 0 && n > 0 {
		p[n-1] ^= 1
	}
	return n, err
}

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
// leaves out what begins with a dot, and the programs that the repository
// builds.
func findFiles(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != path && (strings.HasPrefix(entry.Name(), ".") || p == filepath.Join(path, "dev", "bin")):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case entry.Type().IsRegular():
			files = append(files, p)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no files at %s", path)
	}
	return files, err
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
			return fmt.Errorf("%s has changed", name)
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
		if _, err := io.ReadFull(file, piece); err == nil && !bytes.Equal(piece, make([]byte, 40)) {
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

// flipOneByte changes the last byte of the largest file below dir, as an
// intruder with access to the disk could.
func flipOneByte(dir string) (path string, err error) {
	var size int64
	err = filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			path, size = p, info.Size()
		}
		return err
	})
	if err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var last [1]byte
	if _, err := file.ReadAt(last[:], size-1); err != nil {
		return "", err
	}
	last[0] ^= 1
	_, err = file.WriteAt(last[:], size-1)
	return path, errors.Join(err, file.Sync())
}

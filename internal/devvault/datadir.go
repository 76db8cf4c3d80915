package devvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// initFile is the file in a data directory that holds the keys.
const initFile = "dev-init.json"

// initKeys is what Vault hands out once, when it is initialised.
type initKeys struct {
	UnsealKey string `json:"unseal_key"`
	RootToken string `json:"root_token"`
}

// savedKeys is the content of the file, with a word to whoever comes across it.
type savedKeys struct {
	Warning string `json:"warning"`
	initKeys
}

const warning = "Unseal key and root token of a development Vault, kept beside its data and so protecting nothing. Never do this with real secrets."

// dataDir is where a server keeps its data from one run to the next. Empty, it
// keeps nothing.
//
// FOR DEVELOPMENT ONLY: the directory holds Vault's encrypted data and, beside
// it, the key that opens them. Whoever can read the directory can read every
// secret in it. That is the price of a Vault that comes back by itself.
type dataDir string

// openDataDir creates the directory if there is a path and nothing there.
func openDataDir(path string) (dataDir, error) {
	if path == "" {
		return "", nil
	}
	// The server is told the path, and does not share our idea of ".".
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("storage directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("storage directory: %w", err)
	}
	return dataDir(path), nil
}

// vaultPath is the directory that belongs to Vault, apart from our file.
func (d dataDir) vaultPath() string {
	if d == "" {
		return ""
	}
	return filepath.Join(string(d), "data")
}

func (d dataDir) keyPath() string { return filepath.Join(string(d), initFile) }

// load reads the keys of a server that an earlier run initialised.
func (d dataDir) load() (initKeys, error) {
	if d == "" {
		return initKeys{}, errors.New("a Vault in memory is already initialised; is another server on its port?")
	}
	text, err := os.ReadFile(d.keyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return initKeys{}, fmt.Errorf("the Vault in %s is initialised, but its unseal key, the file %s, is missing; "+
			"put the file back, or delete the directory to start afresh", d, initFile)
	}
	if err != nil {
		return initKeys{}, fmt.Errorf("reading the unseal key: %w", err)
	}
	var saved savedKeys
	if err := json.Unmarshal(text, &saved); err != nil {
		return initKeys{}, fmt.Errorf("%s is damaged; restore it, or delete %s to start afresh: %w", d.keyPath(), d, err)
	}
	return saved.initKeys, nil
}

// save keeps the keys for the next run. The file appears whole or not at all.
func (d dataDir) save(keys initKeys) error {
	if d == "" {
		return nil
	}
	text, err := json.MarshalIndent(savedKeys{warning, keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("saving the unseal key: %w", err)
	}
	next := d.keyPath() + ".new"
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("saving the unseal key: %w", err)
	}
	if err := os.Rename(next, d.keyPath()); err != nil {
		return fmt.Errorf("saving the unseal key: %w", err)
	}
	return nil
}

// hint is what an error about unsealing adds: where the key came from and what
// can be done.
func (d dataDir) hint() string {
	if d == "" {
		return ""
	}
	return fmt.Sprintf(" with the key in %s (if it belongs to other data, delete %s to start afresh)", d.keyPath(), d)
}

//go:build unix && !linux

package vaultserver

import "errors"

// helper is for a test that only Linux has.
func helper() error { return errors.New("no helper on this system") }

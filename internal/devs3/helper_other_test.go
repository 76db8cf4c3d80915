//go:build !linux

package devs3

import "errors"

// helper is for a test that only Linux has.
func helper(Kind) error { return errors.New("no helper on this system") }

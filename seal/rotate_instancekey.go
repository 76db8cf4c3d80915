package seal

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/atrest/atrest"
)

// ChangeInstanceKey puts another instance key in the place of this machine's. next is
// the new key, and install puts it where Config.InstanceKey finds it, such as by renaming
// a key file that CreateKeyFile has made beside the old one.
//
// In order: the password file is written so that either key opens it, install is called, and
// the file is written for the new key alone. A death at any point leaves a file that the
// key which is there opens. If install fails, both go on opening it, and
// ChangeInstanceKey may be called again with the same next or another.
//
// Nothing else may change the password on this machine at the same time.
func (m *Manager) ChangeInstanceKey(ctx context.Context, next InstanceKey, install func(ctx context.Context) error) error {
	return m.exclusive(ctx, "change instance key", func() error { return m.changeInstanceKey(ctx, next, install) })
}

func (m *Manager) changeInstanceKey(ctx context.Context, next InstanceKey, install func(ctx context.Context) error) error {
	oldKey, err := readInstanceKey(ctx, m.cfg.InstanceKey)
	if err != nil {
		return err
	}
	defer wipe(oldKey)
	newKey, err := readInstanceKey(ctx, next)
	if err != nil {
		return err
	}
	defer wipe(newKey)
	if subtle.ConstantTimeCompare(oldKey, newKey) == 1 {
		return errors.New("the next instance key is the present one")
	}
	f, err := readPasswordFile(m.cfg.PasswordFile, oldKey)
	if err != nil {
		return err
	}
	defer f.wipe()
	if err := writePasswordFile(m.cfg.PasswordFile, f, oldKey, newKey); err != nil {
		return err
	}
	if err := install(ctx); err != nil {
		return fmt.Errorf("installing the next instance key: %w", err)
	}
	now, err := readInstanceKey(ctx, m.cfg.InstanceKey)
	if err != nil {
		return err
	}
	defer wipe(now)
	if subtle.ConstantTimeCompare(now, newKey) != 1 {
		return fmt.Errorf("%w: install has not put the next key where Config.InstanceKey looks; both keys go on opening the password file", atrest.ErrWrongInstanceKey)
	}
	return writePasswordFile(m.cfg.PasswordFile, f, newKey)
}

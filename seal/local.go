package seal

import (
	"context"
	"fmt"
)

// readLocal opens this machine's password file.
func (m *Manager) readLocal(ctx context.Context) (*passwordFile, error) {
	key, err := readInstanceKey(ctx, m.cfg.InstanceKey)
	if err != nil {
		return nil, err
	}
	defer wipe(key)
	return readPasswordFile(m.cfg.PasswordFile, key)
}

// keepLocal sees to it that the password file holds m's password, as that of the
// record. It writes only if it must.
func (m *Manager) keepLocal(ctx context.Context, local *passwordFile, h *recordHeader) error {
	password := m.currentPassword()
	defer password.wipe()
	if local != nil && local.install == h.install && local.generation == h.generation && local.pending == nil && local.password.equal(password) {
		return nil
	}
	return m.writeLocal(ctx, &passwordFile{install: h.install, generation: h.generation, password: password})
}

func (m *Manager) writeLocal(ctx context.Context, f *passwordFile) error {
	key, err := readInstanceKey(ctx, m.cfg.InstanceKey)
	if err != nil {
		return err
	}
	defer wipe(key)
	if err := writePasswordFile(m.cfg.PasswordFile, f, key); err != nil {
		return fmt.Errorf("keeping the password on this machine: %w", err)
	}
	return nil
}

// currentPassword returns a copy of m's password.
func (m *Manager) currentPassword() *secret {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.password.clone()
}

// setPassword takes a copy of the password, which is of that generation, or of none
// yet; not any more after Close.
func (m *Manager) setPassword(password *secret, generation uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.password.wipe()
	if !m.isClosed() {
		m.password, m.generation = password.clone(), generation
	}
}

// noteGeneration says of which generation the password is that m has.
func (m *Manager) noteGeneration(generation uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation = generation
}

// hasPassword tells whether m has a password, and of which generation.
func (m *Manager) hasPassword() (bool, uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.password.size() > 0, m.generation
}

package devvault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atrest/atrest/internal/child"
	"github.com/hashicorp/vault/api"
)

// loadOrInit gets hold of the server's keys: from its data directory if it was
// initialised by an earlier run, else by initialising it.
func (s *Server) loadOrInit(ctx context.Context) error {
	client, err := s.newClient()
	if err != nil {
		return err
	}
	initialized, err := client.Sys().InitStatusWithContext(ctx)
	if err != nil {
		return fmt.Errorf("asking whether Vault is initialised: %w", err)
	}
	if initialized {
		keys, err := s.data.load()
		if err != nil {
			return err
		}
		s.keys.Store(&keys)
		return nil
	}
	answer, err := client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("initialising Vault: %w", err)
	}
	if len(answer.KeysB64) != 1 || answer.RootToken == "" {
		return errors.New("initialising Vault: the answer lacks the unseal key or the root token")
	}
	keys := initKeys{UnsealKey: answer.KeysB64[0], RootToken: answer.RootToken}
	s.keys.Store(&keys)
	return s.data.save(keys)
}

func (s *Server) unseal(ctx context.Context) error {
	client, err := s.newClient()
	if err != nil {
		return err
	}
	status, err := client.Sys().UnsealWithContext(ctx, s.keys.Load().UnsealKey)
	if err != nil {
		return fmt.Errorf("unsealing Vault%s: %w", s.data.hint(), err)
	}
	if status.Sealed {
		return fmt.Errorf("unsealing Vault%s: it wants more than one unseal key", s.data.hint())
	}
	return s.awaitHealth(ctx, isActive)
}

func (s *Server) seal(ctx context.Context) error {
	client, err := s.newClient()
	if err != nil {
		return err
	}
	if err := client.Sys().SealWithContext(ctx); err != nil {
		return err
	}
	return s.awaitHealth(ctx, isSealed)
}

// The states that awaitHealth waits for. A server that has just been unsealed
// calls itself a standby until it has read its mounts.
func isAnswering(*api.HealthResponse) bool { return true }
func isSealed(h *api.HealthResponse) bool  { return h.Sealed }
func isActive(h *api.HealthResponse) bool  { return h.Initialized && !h.Sealed && !h.Standby }

// awaitHealth asks the server how it is until the answer is the one wanted.
func (s *Server) awaitHealth(ctx context.Context, wanted func(*api.HealthResponse) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := s.newClient()
	if err != nil {
		return err
	}
	// One question that is never answered must not use up all the time.
	client.SetClientTimeout(5 * time.Second)
	for {
		health, err := client.Sys().HealthWithContext(ctx)
		if err == nil && wanted(health) {
			return nil
		}
		select {
		case <-s.process.Done():
			return errors.New("the server has exited")
		default:
		}
		if ended := child.Poll(ctx); ended != nil {
			return errors.Join(fmt.Errorf("the server did not get ready: %w", ended), err)
		}
	}
}

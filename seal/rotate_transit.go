package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/internal/vaultclient"
)

// A KeyUser is a store whose objects are wrapped by the transit key, as storage.Store is.
type KeyUser interface {
	// OldestKeyVersion returns the oldest version of the transit key that any object
	// needs, and 0 if there is no object. If it can't tell of one, that is an error.
	OldestKeyVersion(ctx context.Context) (uint32, error)
}

// RotateTransitKey adds a version to the transit key, by which services wrap from then
// on, and returns its number. Objects keep their older one until they are rewrapped
// (Store.Rewrap), and then RetireTransitKey can take the older ones away.
//
// After an error that leaves open whether it was done, another run may add another version,
// which does no harm.
func (m *Manager) RotateTransitKey(ctx context.Context) (version uint32, err error) {
	err = m.asRoot(ctx, "rotate transit key", func(ctx context.Context, root *vaultclient.Client) error {
		body, err := vaultclient.Body(nil)
		if err != nil {
			return err
		}
		if _, _, err = vaultclient.Do[struct{}](ctx, root, vaultclient.Request{
			Method: http.MethodPut, Path: m.keyPath() + "/rotate", Capability: "update", Body: body, Once: true,
		}); err != nil {
			return err
		}
		key, err := m.readKey(ctx, root)
		if err == nil {
			version = key.LatestVersion
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// RetireTransitKey sets the transit key's min_decryption_version to oldest, so that what
// older versions have wrapped, in a stolen backup say, no longer opens. 0 stands for the
// newest version.
//
// It refuses with ErrConflict, and changes nothing, while an object of any of the users
// still needs an older version: rewrap them first. users must be all the stores that
// use the key; at least one must be given. It asks them again afterwards, since a put that had
// begun before the rotation may have ended meanwhile, and takes the setting back if so. It
// has the installation's lock and a root token while the stores are read through.
func (m *Manager) RetireTransitKey(ctx context.Context, oldest uint32, users ...KeyUser) error {
	return m.asRoot(ctx, "retire versions of the transit key", func(ctx context.Context, root *vaultclient.Client) error {
		return m.retire(ctx, root, oldest, users)
	})
}

func (m *Manager) retire(ctx context.Context, root *vaultclient.Client, oldest uint32, users []KeyUser) error {
	if len(users) == 0 {
		return errors.New("no store was given that could tell which versions its objects need")
	}
	key, err := m.readKey(ctx, root)
	switch {
	case err != nil:
		return err
	case oldest == 0:
		oldest = key.LatestVersion
	case oldest > key.LatestVersion:
		return fmt.Errorf("%w: the newest version is %d", atrest.ErrUnsupported, key.LatestVersion)
	}
	if oldest < key.MinDecryptionVersion {
		return fmt.Errorf("%w: versions before %d are retired already, and stay so", atrest.ErrUnsupported, key.MinDecryptionVersion)
	}
	if err := checkUnneeded(ctx, oldest, users); err != nil {
		return err
	}
	if err := m.setOldest(ctx, root, oldest); err != nil {
		return err
	}
	if err := checkUnneeded(ctx, oldest, users); err != nil {
		return errors.Join(err, m.setOldest(context.WithoutCancel(ctx), root, max(key.MinDecryptionVersion, 1)))
	}
	m.log.InfoContext(ctx, "versions of the transit key were retired", "key", m.cfg.Key, "oldest", oldest)
	return nil
}

func (m *Manager) setOldest(ctx context.Context, root *vaultclient.Client, oldest uint32) error {
	return m.write(ctx, root, m.keyPath()+"/config", map[string]uint32{"min_decryption_version": oldest})
}

// checkUnneeded returns an error if an object needs a version before oldest.
func checkUnneeded(ctx context.Context, oldest uint32, users []KeyUser) error {
	for _, user := range users {
		needed, err := user.OldestKeyVersion(ctx)
		if err != nil {
			return fmt.Errorf("asking a store which versions it needs: %w", err)
		}
		if needed != 0 && needed < oldest {
			return fmt.Errorf("%w: an object still needs version %d, which is older than %d: rewrap it first", atrest.ErrConflict, needed, oldest)
		}
	}
	return nil
}

func (m *Manager) keyPath() string { return m.cfg.Mount + "/keys/" + m.cfg.Key }

// asRoot calls f with a root token made for it. what names it in errors.
func (m *Manager) asRoot(ctx context.Context, what string, f func(ctx context.Context, root *vaultclient.Client) error) error {
	return m.exclusive(ctx, what, func() error {
		return m.locked(ctx, func(ctx context.Context, s *sealed) error { return m.withRoot(ctx, s.keys, f) })
	})
}

package seal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/atrest/atrest"
	"github.com/atrest/atrest/backend"
	"github.com/atrest/atrest/internal/vaultclient"
)

// installationRecord is the name of the record with the id of an installation that has
// no seal record, because its Vault is external. It is no secret.
const installationRecord = "installation"

// markerPrefix begins the name of the transit key that marks another one as an
// installation's: KEY-installation-ID. A transit engine keeps nothing but keys, and a
// policy for one engine is all that a service has.
func markerPrefix(key string) string { return key + "-installation-" }

// claim marks the transit key as this installation's, unless it is another's. Of several
// that mark it at the same time, it is the one's with the oldest marker, and of those of
// one second, which is what Vault tells, the one's with the smallest id. Whoever comes later
// finds a marker and makes none.
func claim(ctx context.Context, vault *vaultclient.Client, records backend.Records, mount, key string) error {
	id, err := ownInstallation(ctx, records)
	if err != nil {
		return err
	}
	owner, err := ownerOf(ctx, vault, mount, key)
	if err == nil && owner == "" {
		body, bodyErr := vaultclient.Body(map[string]string{"type": "aes256-gcm96"})
		if bodyErr != nil {
			return bodyErr
		}
		_, _, err = vaultclient.Do[struct{}](ctx, vault, vaultclient.Request{
			Method: http.MethodPut, Path: mount + "/keys/" + markerPrefix(key) + string(id), Capability: "create and update", Body: body,
		})
		if err == nil {
			// Whoever marks it within the same second may come before us.
			err = sleep(ctx, 1100*time.Millisecond)
		}
		if err == nil {
			owner, err = ownerOf(ctx, vault, mount, key)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("looking whose transit key it is: %w", err)
	case owner != id:
		return fmt.Errorf("%w: the transit key %s/%s is marked as that of installation %s, and this is %s; give each its own key, or, if that one is no more, delete the transit key %s%s",
			atrest.ErrOtherInstallation, mount, key, owner, id, markerPrefix(key), owner)
	}
	return nil
}

// ownInstallation returns the id in the records, made the first time.
func ownInstallation(ctx context.Context, records backend.Records) (installID, error) {
	for {
		stored, err := records.GetRecord(ctx, installationRecord)
		if err == nil {
			id := installID(stored.Data)
			if !id.valid() {
				return "", fmt.Errorf("%w: %q", atrest.ErrCorruptRecord, installationRecord)
			}
			return id, nil
		}
		if !errors.Is(err, atrest.ErrNotFound) {
			return "", fmt.Errorf("reading the id of the installation: %w", err)
		}
		if _, err := records.PutRecord(ctx, installationRecord, []byte(newInstallID()), ""); err != nil && !errors.Is(err, atrest.ErrExists) {
			return "", fmt.Errorf("writing the id of the installation: %w", err)
		}
	}
}

// ownerOf returns whose marker is the oldest, "" if there is none.
func ownerOf(ctx context.Context, vault *vaultclient.Client, mount, key string) (owner installID, err error) {
	type names struct {
		Keys []string `json:"keys"`
	}
	all, _, err := vaultclient.Do[vaultclient.Data[names]](ctx, vault, vaultclient.Request{Method: vaultclient.MethodList, Path: mount + "/keys", Capability: "list"})
	if err != nil {
		return "", err
	}
	if all == nil {
		return "", vaultclient.Garbage("no list of keys")
	}
	first := int64(0)
	for _, name := range all.Data.Keys {
		id, ok := strings.CutPrefix(name, markerPrefix(key))
		if !ok || !installID(id).valid() {
			continue
		}
		marker, err := readTransitKey(ctx, vault, mount, name)
		if err != nil {
			return "", err
		}
		if marker.made() == 0 {
			continue // of another type than we make, so not ours to look at
		}
		if at := marker.made(); owner == "" || at < first || at == first && installID(id) < owner {
			owner, first = installID(id), at
		}
	}
	return owner, nil
}

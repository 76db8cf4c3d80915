package seal

import (
	"errors"

	"github.com/atrest/atrest"
)

// remedies say what to do, by link and error. The first that matches counts; an error nil
// matches all.
var remedies = []struct {
	link   Link
	err    error
	remedy string
}{
	{LinkInstanceKey, atrest.ErrUnsafePermissions, "make the key file readable by its owner alone (chmod 0400); if others may have read it, change it (ChangeInstanceKey)"},
	{LinkInstanceKey, atrest.ErrInstanceKeyMissing, "put the instance key back; if it is lost, make another (CreateKeyFile) and boot with the Encryption Password"},
	{LinkInstanceKey, nil, "put the right instance key back, or make another (CreateKeyFile) and boot with the Encryption Password"},
	{LinkPasswordFile, atrest.ErrPasswordMissing, "boot with the Encryption Password"},
	{LinkPasswordFile, atrest.ErrUnsafePermissions, "make the password file its owner's alone (chmod 0600)"},
	{LinkPasswordFile, nil, "put the right instance key back, or boot with the Encryption Password, which writes the file anew"},
	{LinkRecord, atrest.ErrRecordMissing, "see whether this is the right database; if so, restore the seal record from a backup; on a new installation, boot"},
	{LinkRecord, atrest.ErrCorruptRecord, "restore the seal record from a backup"},
	{LinkRecord, atrest.ErrTampered, "restore the seal record from a backup"},
	{LinkRecord, nil, "see to the database"},
	{LinkPassword, atrest.ErrOtherInstallation, "see whether this is the right database; a machine that changes over to another installation needs its password file removed"},
	{LinkPassword, atrest.ErrStalePassword, "give the present Encryption Password to Adopt"},
	{LinkPassword, atrest.ErrCorruptRecord, "restore the seal record from a backup"},
	{LinkPassword, nil, "give the right Encryption Password to Adopt; if the record was restored from a backup, that of its time"},
	{LinkShares, atrest.ErrRecordMissing, "see whether Config.ShareRecords names all the databases that hold shares; if shares are lost, restore them, with the seal record of the same time, from a backup"},
	{LinkShares, nil, "see to the databases in Config.ShareRecords; a share that is damaged must come from a backup"},
	{LinkVault, nil, "start Vault, and see whether its address and its certificate are right"},
	{LinkUnsealed, atrest.ErrInitInterrupted, "call ResetInterrupted"},
	{LinkUnsealed, atrest.ErrWrongUnsealKey, "restore Vault's storage and the seal record from backups of one time"},
	{LinkUnsealed, nil, "boot, or let KeepUnsealed run"},
	{LinkSetUp, nil, "boot"},
	{LinkLogin, nil, "boot; if that does not help, change the secret id (RotateSecretID)"},
	{LinkPolicy, nil, "write the policy that Policy returns"},
	{LinkTransitKey, atrest.ErrKeyNotFound, "see whether Config.Mount and Config.Key are right; if the key is lost, restore Vault's storage from a backup"},
	{LinkTransitKey, atrest.ErrKeyNotDerived, "use a key that was created with derived=true, under another name"},
	{LinkTransitKey, nil, "see to Vault"},
}

func remedy(link Link, err error) string {
	for _, r := range remedies {
		if r.link == link && (r.err == nil || errors.Is(err, r.err)) {
			return r.remedy
		}
	}
	return "see to it"
}

package seal

import (
	"errors"

	"github.com/atrest/atrest"
)

// What to do, where more than one place says so.
const (
	newInstanceKey  = "put the instance key back; a new machine, or one that has lost it, gets another (CreateKeyFile) and boots with the Encryption Password"
	presentPassword = "give the present Encryption Password to Adopt"
	rightPassword   = "give the right Encryption Password to Adopt; if the record was restored from a backup, that of its time"
	oneTime         = "restore Vault's storage and the seal record from backups of one time"
	restoreRecord   = "restore the seal record from a backup"
	stillServes     = "; Vault still serves, and must not be restarted before this is repaired"
	newPasswordFile = "boot with the Encryption Password, which writes the password file anew"
)

// remedies say what to do, by link and error. The first that matches counts; an error nil
// matches all.
var remedies = []struct {
	link   Link
	err    error
	remedy string
}{
	{LinkInstanceKey, atrest.ErrUnsafePermissions, "if others may have read it, change it afterwards (ChangeInstanceKey)"},
	{LinkInstanceKey, nil, newInstanceKey},
	{LinkPasswordFile, atrest.ErrPasswordMissing, "boot with the Encryption Password"},
	{LinkPasswordFile, atrest.ErrUnsafePermissions, "if others may have read the instance key too, change the password afterwards (ChangePassword)"},
	{LinkPasswordFile, atrest.ErrWrongInstanceKey, "put the right instance key back, or " + newPasswordFile},
	{LinkPasswordFile, atrest.ErrCorruptRecord, newPasswordFile},
	{LinkPasswordFile, nil, "see to the disk; if the password file is lost, " + newPasswordFile},
	{LinkRecord, atrest.ErrRecordMissing, "see whether this is the right database; if so, " + restoreRecord + "; on a new installation, boot"},
	{LinkRecord, atrest.ErrCorruptRecord, restoreRecord},
	{LinkRecord, atrest.ErrTampered, restoreRecord},
	{LinkRecord, nil, "see to the database"},
	{LinkPassword, atrest.ErrOtherInstallation, "see whether this is the right database; a machine that changes over to another installation needs its password file removed"},
	{LinkPassword, atrest.ErrStalePassword, presentPassword},
	{LinkPassword, atrest.ErrCorruptRecord, restoreRecord},
	{LinkPassword, nil, rightPassword},
	{LinkShares, atrest.ErrRecordMissing, "see whether Config.ShareRecords and Config.FormerShareRecords name all the databases that hold shares; if shares are lost, restore them, with the seal record of the same time, from a backup"},
	{LinkShares, nil, "see to the databases that hold shares; one that is damaged must come from a backup"},
	{LinkVault, nil, "start Vault, and see whether its address and its certificate are right"},
	{LinkUnsealed, atrest.ErrInitInterrupted, "call ResetInterrupted"},
	{LinkUnsealed, atrest.ErrWrongUnsealKey, oneTime},
	{LinkUnsealed, nil, "boot, or let KeepUnsealed run"},
	{LinkSetUp, nil, "boot"},
	{LinkLogin, nil, "boot; if that does not help, change the secret id (RotateSecretID)"},
	{LinkPolicy, nil, "boot, which writes the policy anew, or write the one that Policy returns"},
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

// advices are remedies for where no link is at hand. The first that matches counts. Errors
// that say themselves what to do have an empty one, or none.
var advices = []struct {
	err    error
	advice string
}{
	{atrest.ErrUnsafePermissions, ""},
	{errFewShares, "see to the databases that Config.ShareRecords and Config.FormerShareRecords name"},
	{atrest.ErrInstanceKeyMissing, newInstanceKey},
	{atrest.ErrWrongInstanceKey, "put the right instance key back, or " + newPasswordFile},
	{atrest.ErrStalePassword, presentPassword},
	{atrest.ErrWrongPassword, rightPassword},
	{atrest.ErrCorruptRecord, "for a password file, " + newPasswordFile + "; a record must come from a backup"},
	{atrest.ErrWrongUnsealKey, oneTime},
}

// advice says what to do about the error of a Boot; "" if the error says it itself, or
// nothing is known.
func advice(err error) string {
	for _, a := range advices {
		if errors.Is(err, a.err) {
			return a.advice
		}
	}
	return ""
}

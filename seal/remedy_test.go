package seal

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/atrest/atrest"
)

// TestAdvice: what a boot's error is told to do about it, and that nothing is said twice.
func TestAdvice(t *testing.T) {
	for err, want := range map[error]string{
		atrest.ErrInstanceKeyMissing: "CreateKeyFile",
		atrest.ErrWrongInstanceKey:   "right instance key",
		atrest.ErrStalePassword:      "present Encryption Password to Adopt",
		atrest.ErrWrongPassword:      "right Encryption Password to Adopt",
		atrest.ErrCorruptRecord:      "password file",
		atrest.ErrWrongUnsealKey:     "backups of one time",

		fmt.Errorf("%w: %w", errFewShares, atrest.ErrWrongPassword): "Config.FormerShareRecords", // of a share: the record's was right
	} {
		if got := advice(fmt.Errorf("boot: %w", err)); !strings.Contains(got, want) {
			t.Errorf("%v: the advice is %q", err, got)
		}
	}
	for _, err := range []error{
		fmt.Errorf("%w: chmod 0400", atrest.ErrUnsafePermissions), atrest.ErrVaultUnavailable, errors.New("another"), nil,
	} {
		if got := advice(err); got != "" {
			t.Errorf("%v: the advice is %q", err, got)
		}
	}
}

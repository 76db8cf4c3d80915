package vaultserver

import (
	"os"
	"slices"
	"strings"
)

// inherited are the variables of our environment that Vault gets. All others stay here:
// they may hold secrets of ours, and Vault and its database driver let theirs (VAULT_…,
// BAO_…, PGHOST…) override the configuration.
var inherited = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_ALL",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK",
	"PGPASSFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT",
	"SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "APPDATA", // of Windows
}

// environment is what Vault gets of ours.
func environment(ours []string) []string {
	env := []string{}
	for _, entry := range ours {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(inherited, strings.ToUpper(name)) {
			env = append(env, entry)
		}
	}
	return env
}

func childEnvironment() []string { return environment(os.Environ()) }

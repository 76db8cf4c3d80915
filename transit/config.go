package transit

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atrest/atrest/internal/vaultclient"
)

const (
	defaultMount = "transit"

	// maxBatch is where larger batches stop paying (1,000 items take about
	// 10 ms) and is a tenth of the JSON array limit of Vault 1.20.3 and later.
	// With the item limits of wrapper.go it keeps a request below 3 MiB, where
	// Vault accepts 32.
	maxBatch = 1000
)

// Config says which transit key to use and how. The zero value of each field
// but Client and Key is a good choice.
type Config struct {
	// Client reaches Vault. Required. The caller keeps its token valid; token
	// changes are followed. Its transport and connections are shared; its own
	// retries and timeout are not used. Its address, as it is when Open is called,
	// must begin with https:// or be on this machine, for data keys and the token
	// go there: see PlaintextHosts. For an http:// address, so must the proxy that its
	// http.Transport has, if any.
	Client *api.Client

	// PlaintextHosts are the hosts, by name or IP address and without a port, to
	// which http:// is allowed although they are not on this machine: where
	// something else encrypts on the way, as a service mesh or a tunnel does.
	// Default: none. localhost, loopback addresses and unix:// sockets need not be
	// named.
	PlaintextHosts []string

	// Mount is the path of the transit engine, without slashes at its ends.
	// Default "transit".
	Mount string

	// Key is the name of the transit key. Required.
	Key string

	// CreateKey has Open create the key, derived and of type aes256-gcm96, if
	// there is none of that name. Otherwise a missing key is an error, and no
	// key is ever created.
	CreateKey bool

	// MaxBatch is the largest number of items in one request, at most 1,000.
	// Default 1,000.
	MaxBatch int

	// RequestTimeout is how long one try of one request may take, however long
	// the caller is prepared to wait. Default 10 s.
	RequestTimeout time.Duration

	// MaxTries is how often a request is sent at most, where repeating it is
	// safe and may help. 1 means no retries. Default 4.
	MaxTries int

	// Logger is told of retries and of a transit key that is less protected
	// than it could be. It never sees a secret. Default: discard.
	Logger *slog.Logger
}

// Format writes the mount and the name of the key, whatever the verb: with some
// verbs, fmt would print the client with its token.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "transit key %s/%s", cmp.Or(c.Mount, defaultMount), c.Key)
}

// keyName is what Vault accepts as the name of a transit key
// (framework.GenericNameRegex in Vault's SDK).
var keyName = regexp.MustCompile(`^\w([\w.-]*\w)?$`)

// withDefaults returns the configuration with its gaps filled, or says what is
// wrong with it, apart from what vaultclient.New sees to.
func (c Config) withDefaults() (Config, error) {
	c.Mount = cmp.Or(c.Mount, defaultMount)
	c.MaxBatch = cmp.Or(c.MaxBatch, maxBatch)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	switch {
	case !keyName.MatchString(c.Key):
		return c, fmt.Errorf("Config.Key %q is not a name for a transit key", c.Key)
	case !vaultclient.ValidPath(c.Mount):
		return c, fmt.Errorf("Config.Mount %q is not the path of a mount", c.Mount)
	case c.MaxBatch < 1 || c.MaxBatch > maxBatch:
		return c, fmt.Errorf("Config.MaxBatch is %d, not 1 to %d", c.MaxBatch, maxBatch)
	}
	return c, nil
}

package transit

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	defaultMount = "transit"

	// defaultRequestTimeout is far above what Vault takes for a full batch
	// (tens of milliseconds), and short enough that a call whose caller has no
	// deadline learns of a lost Vault within a minute, after all its tries.
	defaultRequestTimeout = 10 * time.Second

	defaultMaxTries = 4

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
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	c.Mount = cmp.Or(c.Mount, defaultMount)
	c.MaxBatch = cmp.Or(c.MaxBatch, maxBatch)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaultRequestTimeout)
	c.MaxTries = cmp.Or(c.MaxTries, defaultMaxTries)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	switch {
	case c.Client == nil:
		return c, errors.New("Config.Client is required")
	case !keyName.MatchString(c.Key):
		return c, fmt.Errorf("Config.Key %q is not a name for a transit key", c.Key)
	case !validMount(c.Mount):
		return c, fmt.Errorf("Config.Mount %q is not the path of a mount", c.Mount)
	case c.MaxBatch < 1 || c.MaxBatch > maxBatch:
		return c, fmt.Errorf("Config.MaxBatch is %d, not 1 to %d", c.MaxBatch, maxBatch)
	case c.RequestTimeout < 0:
		return c, fmt.Errorf("Config.RequestTimeout is negative: %s", c.RequestTimeout)
	case c.MaxTries < 0:
		return c, fmt.Errorf("Config.MaxTries is negative: %d", c.MaxTries)
	}
	return c, nil
}

// validMount keeps a mount from reaching outside the path it is put into.
func validMount(mount string) bool {
	for segment := range strings.SplitSeq(mount, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(mount, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`?#%\`, r)
	})
}

package seal

import (
	"fmt"
	"slices"
	"strings"
)

// Policy returns the policy, in Vault's language, that a service needs for its
// transit key and no more: it can wrap, unwrap and rewrap data keys, and read which
// versions the key has. It can neither create keys, so that a mistyped name does not make
// one, nor rotate, delete, export or back up this one.
//
// In an internal Vault Boot writes it.
func Policy(mount, key string) string { return policyText(capabilitiesOf(mount, key, false)) }

// ExternalPolicy returns the policy that OpenExternal needs if it is given records: that
// of [Policy], and what it takes to mark the transit key as an installation's. An
// administrator of the external Vault writes it, for example with
// vault policy write NAME -.
func ExternalPolicy(mount, key string) string { return policyText(capabilitiesOf(mount, key, true)) }

// A grant is what a policy allows on a path.
type grant struct {
	path         string
	capabilities []string
}

// capabilitiesOf returns what a service does with its transit key, and with the markers of
// installations.
func capabilitiesOf(mount, key string, marked bool) []grant {
	path := func(operation string) string { return mount + "/" + operation + "/" + key }
	grants := []grant{
		{path("keys"), []string{"read"}}, {path("encrypt"), []string{"update"}},
		{path("decrypt"), []string{"update"}}, {path("rewrap"), []string{"update"}},
	}
	if marked {
		grants = append(grants, grant{mount + "/keys", []string{"list"}},
			grant{mount + "/keys/" + markerPrefix(key) + "*", []string{"create", "read", "update"}})
	}
	return grants
}

func policyText(grants []grant) string {
	var b strings.Builder
	for _, g := range grants {
		fmt.Fprintf(&b, "path %q { capabilities = [%s] }\n", g.path, quoted(g.capabilities))
	}
	return b.String()
}

func quoted(words []string) string {
	var all []string
	for _, word := range words {
		all = append(all, fmt.Sprintf("%q", word))
	}
	return strings.Join(all, ", ")
}

// missing returns what the grants have that is not among the capabilities that Vault
// names for each path.
func missing(grants []grant, has map[string][]string) (lacks []string) {
	for _, g := range grants {
		for _, capability := range g.capabilities {
			if !slices.Contains(has[g.probe()], capability) && !slices.Contains(has[g.probe()], "root") {
				lacks = append(lacks, fmt.Sprintf("%q on %q", capability, g.path))
			}
		}
	}
	return lacks
}

// probe is a path that the grant covers.
func (g grant) probe() string {
	return strings.TrimSuffix(g.path, "*") + strings.Repeat("x", strings.Count(g.path, "*"))
}

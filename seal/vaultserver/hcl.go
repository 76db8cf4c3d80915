package vaultserver

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// render writes the configuration in the part of the language that vault, bao and the
// development Vault share. Its error does not show a value.
func render(c Config, at addresses, creds *credentials) (string, error) {
	var w hclWriter
	storage := c.Storage.spec()
	w.block("storage", storage.kind, func() {
		for _, name := range slices.Sorted(maps.Keys(storage.settings)) {
			w.text(name, storage.settings[name])
		}
	})
	w.block("listener", "tcp", func() {
		w.text("address", at.listen)
		if c.Storage.shared() {
			w.text("cluster_address", at.cluster)
		}
		if isOpenBao(c.Binary) {
			// Package seal changes the unseal key and makes root tokens by these. OpenBao
			// has them switched off since 2.5.0 and 2.5.3, because whoever reaches the
			// listener may cancel what has begun there. Before 2.3.1 it knows of no
			// switch, and logs a warning.
			w.flag("disable_unauthed_rekey_endpoints", false)
			w.flag("disable_unauthed_generate_root_endpoints", false)
		}
		if creds == nil {
			w.flag("tls_disable", true)
			return
		}
		w.text("tls_cert_file", creds.certFile)
		w.text("tls_key_file", creds.keyFile)
	})
	w.text("api_addr", at.apiURL)
	if c.Storage.shared() {
		w.text("cluster_addr", at.clusterURL)
	}
	w.flag("disable_mlock", !c.LockMemory)
	w.text("log_level", c.LogLevel)
	w.duration("default_lease_ttl", c.DefaultLeaseTTL)
	w.duration("max_lease_ttl", c.MaxLeaseTTL)
	return w.b.String(), w.err
}

// isOpenBao goes by the name of the program, for that of the development Vault takes no
// setting that it does not know.
func isOpenBao(binary string) bool {
	return strings.TrimSuffix(filepath.Base(binary), ".exe") == "bao"
}

// hclWriter writes settings and blocks of HCL, version 1.
type hclWriter struct {
	b   strings.Builder
	err error
}

func (w *hclWriter) block(name, label string, body func()) {
	fmt.Fprintf(&w.b, "%s %s {\n", name, quoteHCL(label))
	body()
	w.b.WriteString("}\n")
}

func (w *hclWriter) text(name, value string) {
	if !isSettingName(name) {
		w.err = errors.Join(w.err, fmt.Errorf("%q is not the name of a setting", name))
		return
	}
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		w.err = errors.Join(w.err, fmt.Errorf("the value of %s is not UTF-8 without NUL", name))
		return
	}
	fmt.Fprintf(&w.b, "%s = %s\n", name, quoteHCL(value))
}

func (w *hclWriter) flag(name string, value bool) { fmt.Fprintf(&w.b, "%s = %t\n", name, value) }

// duration writes nothing for 0, which leaves Vault its default.
func (w *hclWriter) duration(name string, d time.Duration) {
	if d > 0 {
		w.text(name, fmt.Sprintf("%ds", max(1, int64(d/time.Second))))
	}
}

func isSettingName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// quoteHCL quotes a string so that nothing in it means anything. What is between
// "${" and "}" HCL takes as it stands, quotes included, so no dollar sign stays one.
func quoteHCL(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '$' || r <= 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Package vaultserver runs the internal Vault: a vault, OpenBao's bao, or the
// development Vault of this repository, as a supervised child process.
//
// [Start] writes the configuration, makes the certificate, starts the process and
// returns when it answers. From then on a process that ends by itself is started
// again, at once at first and less and less often if that does not help. What Vault
// logs goes to the caller's logger. [Server.Stop] ends it.
//
// A Vault that was started again is sealed. Whoever unseals it waits for each run
// with [Server.Await].
//
// # No orphans
//
// On Linux the kernel ends Vault when this process dies, however it dies. It does
// not do so for a program that has file capabilities, as the vault of HashiCorp's
// packages has (cap_ipc_lock): take them away with setcap -r, for they are not needed
// here, or run it below a supervisor that ends whole control groups, as systemd
// does. On other systems a Vault outlives this process if that is killed; the next
// Start then finds the address in use.
//
// # Who may read what
//
// Vault's configuration holds the password of the database. It is in a file of mode
// 0600, in a directory of mode 0700, from Start to Stop. It is never part of an
// argument, of the environment, of an error or of a log. Vault's environment is made
// for it: an instance key or a token in ours does not reach it.
package vaultserver

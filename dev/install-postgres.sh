#!/usr/bin/env bash
# Makes sure that the programs of PostgreSQL and PgBouncer are there, which the
# tests run as servers of their own. Silent when there is nothing to do. Where
# apt-get is, and we are root or may become it without a password, it installs
# Debian's packages; elsewhere it says what to install. The services that come
# with the packages are not started.
set -euo pipefail

# Both look where internal/devpostgres does.
have_postgres() {
  if [[ -n ${ATREST_TEST_POSTGRES_BIN:-} ]]; then return; fi
  if command -v postgres >/dev/null && command -v initdb >/dev/null; then return; fi
  local postgres
  for postgres in /usr/lib/postgresql/*/bin/postgres; do
    if [[ -x $postgres ]]; then return; fi
  done
  return 1
}

have_pgbouncer() {
  command -v pgbouncer >/dev/null || [[ -x /usr/sbin/pgbouncer ]]
}

# A server that is named is used as it is, without a PgBouncer.
if [[ -n ${ATREST_TEST_POSTGRES_URL:-} ]]; then exit 0; fi
missing=()
have_postgres || missing+=(postgresql)
have_pgbouncer || missing+=(pgbouncer)
if ((${#missing[@]} == 0)); then exit 0; fi

as_root=()
if ((EUID != 0)); then as_root=(sudo -n); fi
if ! command -v apt-get >/dev/null || ! ${as_root[@]+"${as_root[@]}"} true 2>/dev/null; then
  cat >&2 <<END
The tests need the programs of: ${missing[*]}. Install them:
  Debian, Ubuntu   sudo apt-get install postgresql pgbouncer
  Fedora           sudo dnf install postgresql-server pgbouncer
  macOS            brew install postgresql pgbouncer
or set ATREST_TEST_POSTGRES_BIN to the directory of PostgreSQL's programs, or
ATREST_TEST_POSTGRES_URL to the URL of a server that is running.
END
  exit 1
fi

echo "installing ${missing[*]}" >&2
# While this file says so, no package starts its service (Debian's
# invoke-rc.d(8)). If there is one already, that is up to the machine's owner.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
made_policy=
cleanup() {
  if [[ -n $made_policy ]]; then ${as_root[@]+"${as_root[@]}"} rm -f "$policy"; fi
  rm -f "$log"
}
trap cleanup EXIT
if [[ ! -e $policy ]]; then
  made_policy=yes
  printf '#!/bin/sh\nexit 101\n' | ${as_root[@]+"${as_root[@]}"} tee "$policy" >/dev/null
  ${as_root[@]+"${as_root[@]}"} chmod 755 "$policy"
fi
apt_get() {
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >>"$log" 2>&1
}
apt_get update && apt_get install --yes "${missing[@]}" || {
  cat "$log" >&2
  exit 1
}

#!/usr/bin/env bash
# Builds the servers that tests and demo run, one after the other: each NAME is
# a module dev/NAME, built to dev/bin/NAME when that is missing or older than its
# sources. Silent when there is nothing to do, safe to run several times at
# once, and shows how far it is: a first build compiles some thousand packages.
#
# Usage: dev/build.sh NAME...    with names of: vault minio versitygw
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$here/bin

# The server at hand; see choose.
name=
src=
out=
lock=
package=

# What this run makes and must take away again, however it ends.
tmp=
lock_dir=
pinger=
worker=
cleanup() {
  local pid
  for pid in $pinger $worker; do kill "$pid" 2>/dev/null || true; done
  if [[ -n $tmp ]]; then rm -rf "$tmp"; fi
  if [[ -n $lock_dir ]]; then rm -rf "$lock_dir"; fi
  pinger= worker= tmp= lock_dir=
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# choose takes up the next server. A module has a main package of its own, or
# only names one of another module as its tool.
choose() {
  name=$1
  case $name in
  vault | minio | versitygw) ;;
  *) fail 'no such server; there are: vault minio versitygw' ;;
  esac
  src=$here/$name
  out=$bin/$name
  lock=$bin/.$name.lock
  package=.
  if [[ ! -e $src/main.go ]]; then package=tool; fi
  SECONDS=0
}

# up_to_date compares times rather than asking `go build`, which takes seconds
# to look through the packages.
up_to_date() {
  [[ -x $out ]] || return 1
  local file
  # The directory itself is newer when a file was added or removed.
  for file in "$src" "$src"/*.go "$src/go.mod" "$src/go.sum" "${BASH_SOURCE[0]}"; do
    [[ $file != *_test.go ]] || continue
    [[ ! $file -nt $out ]] || return 1
  done
}

# take_lock lets one build run at a time. flock comes with util-linux, which a
# Mac lacks; there a directory serves, whose maker leaves its process id in it,
# so that a lock left by a killed build is found out.
take_lock() {
  if command -v flock >/dev/null; then
    exec 9>"$lock"
    flock 9
    return
  fi
  local holder
  until mkdir "$lock.d" 2>/dev/null; do
    holder=$(cat "$lock.d/pid" 2>/dev/null || true)
    if [[ -n $holder ]] && ! kill -0 "$holder" 2>/dev/null; then
      # Renaming first: of several waiters that see this, one wins.
      mv "$lock.d" "$lock.stale.$$" 2>/dev/null && rm -rf "$lock.stale.$$"
      continue
    fi
    sleep 1
  done
  lock_dir=$lock.d
  echo $$ >"$lock_dir/pid"
}

# say shows progress: one line that changes on a terminal, a line each time in
# a log.
say() {
  if [[ -t 2 ]]; then
    printf '\r\033[K%s' "$*" >&2
  else
    printf '%s\n' "$*" >&2
  fi
}

end_line() {
  if [[ -t 2 ]]; then printf '\n' >&2; fi
}

fail() {
  end_line
  printf 'build.sh: %s: %s\n' "$name" "$1" >&2
  if [[ -n ${2:-} ]]; then cat "$2" >&2; fi
  exit 1
}

# run_worker runs a command in the background and waits for it: bash looks at a
# signal during `wait`, but not during a command in the foreground, so that a
# build told to stop would go on to its end.
run_worker() {
  "$@" &
  worker=$!
  local status=0
  wait "$worker" || status=$?
  worker=
  return "$status"
}

# with_ping repeats a message with the time passed while a command runs that
# says nothing itself. The command's errors go to $tmp/log.
with_ping() {
  local message=$1
  shift
  say "$message"
  (
    # The sleep outlives its killer for a moment, and must not keep our output open.
    while sleep 10 >/dev/null 2>&1; do say "$message ($SECONDS s)"; done
  ) 9>&- &
  pinger=$!
  local status=0
  run_worker "$@" >"$tmp/out" 2>"$tmp/log" || status=$?
  kill "$pinger" 2>/dev/null || true
  wait "$pinger" 2>/dev/null || true
  pinger=
  return "$status"
}

# count_packages reads the names that `go build -v` prints, one for each
# package it compiles, and keeps everything else, which is error text.
count_packages() {
  local total=$1 done=0 said=$SECONDS line
  while IFS= read -r line; do
    if [[ $line == *' '* || $line == '#'* || $line != */* && $line == *:* ]]; then
      printf '%s\n' "$line" >>"$tmp/log"
      continue
    fi
    done=$((done + 1))
    if [[ -t 2 ]] || ((done % 100 == 0 || SECONDS - said >= 10)); then
      said=$SECONDS
      say "building dev/bin/$name: compiled $done of $total packages ($SECONDS s)"
    fi
  done
}

build() {
  cd "$src"
  # Only the packages that the build needs are fetched, not every module that
  # go.mod names.
  with_ping "building dev/bin/$name: downloading modules" go list -deps "$package" ||
    fail 'cannot download the modules:' "$tmp/log"
  local total
  total=$(wc -l <"$tmp/out" | tr -d ' ')
  : >"$tmp/log"
  say "building dev/bin/$name: compiling $total packages"
  local counter status=0
  mkfifo "$tmp/names"
  count_packages "$total" <"$tmp/names" &
  counter=$!
  run_worker go build -v -trimpath -gcflags=all=-dwarf=false -ldflags '-s -w' -o "$tmp/$name" "$package" \
    >"$tmp/names" 2>&1 || status=$?
  # It ends when the build closes its end of the pipe; then the log is whole.
  wait "$counter" || true
  if ((status != 0)); then fail 'the build failed:' "$tmp/log"; fi
  # As old as the start of the build, so that a source saved meanwhile is
  # newer. Renamed only when complete: a server may be running from the old one.
  touch -r "$tmp/started" "$tmp/$name"
  mv -f "$tmp/$name" "$out"
  say "built dev/bin/$name in $SECONDS s"
  end_line
}

# bring_up_to_date builds one server if need be.
bring_up_to_date() {
  if up_to_date; then return; fi
  command -v go >/dev/null || fail 'Go is not installed; see https://go.dev/doc/install'
  mkdir -p "$bin"
  take_lock
  # Someone else may have built it while we waited for the lock.
  if ! up_to_date; then
    # In bin, so that the final rename stays within one file system.
    tmp=$(mktemp -d "$bin/.build-$name.XXXXXX")
    : >"$tmp/started"
    build
  fi
  cleanup
  # Gives up the lock, where it is a file. Not open where it is a directory.
  exec 9>&-
}

if (($# == 0)); then
  echo 'usage: dev/build.sh NAME...    with names of: vault minio versitygw' >&2
  exit 2
fi
export CGO_ENABLED=0 GOWORK=off
for server in "$@"; do
  choose "$server"
  bring_up_to_date
done

#!/usr/bin/env bash
# Runs every fuzz target of the library for the time given, one after another:
# go test takes one target of one package at a time. Finding none is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}
count=0
while IFS=: read -r file target; do
	echo "fuzz $target in $(dirname "$file") for $time"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")" >"${log:=$(mktemp)}" 2>&1 ||
		{ cat "$log" >&2; exit 1; }
	count=$((count + 1))
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' --exclude-dir=bench --exclude-dir=vault . | sed 's/:func /:/')
rm -f "${log:-}"
echo "$count fuzz targets"
[ "$count" -ge 5 ]

#!/bin/bash
# Runs all checks, the cheap ones first, and goes on after a failure so that one
# run shows everything. The end is a table of the parts and the summary lines of
# go test. An ordinary user gets the parts that need no root, and is told which
# were left out; with CI=true nothing may be left out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

log=$(mktemp)
trap 'rm -f "$log"' EXIT
parts=() failed=0

# part NAME COMMAND... runs one part and notes its result.
part() {
	local name=$1 began=$SECONDS result=ok
	shift
	printf '\n== %s\n' "$name"
	"$@" 2>&1 | tee -a "$log"
	if [ "${PIPESTATUS[0]}" != 0 ]; then
		result=FAILED
		failed=1
	fi
	parts+=("$(printf '%-11s %-7s %4d s' "$name" "$result" $((SECONDS - began)))")
}

# leave NAME REASON notes a part that cannot run here.
leave() {
	printf '\n== %s: left out, %s\n' "$1" "$2"
	local result='left out'
	if [ "${CI-}" = true ]; then
		result=FAILED
		failed=1
	fi
	parts+=("$(printf '%-11s %-7s %s' "$1" "$result" "$2")")
}

part deps make deps
part build make build cross standin
part lint make lint
part generated make generated
part docs make docs
part units make units
part unit make unit
part modules make modules
if [ "$(id -u)" = 0 ]; then
	part image make image
	part e2e make e2e
else
	part e2e make e2e
	leave systemd 'a booted node needs root: its tests were skipped'
fi

printf '\n== summary\n'
printf '%s\n' "${parts[@]}"
echo
grep -E '^(ok|FAIL|panic:| *--- FAIL)' "$log"
exit $failed

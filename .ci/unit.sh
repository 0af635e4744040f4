#!/bin/bash
# Unit tests, seeds of the fuzz targets included. The race detector needs cgo.
set -euo pipefail
# All packages but the lab's, which are e2e tests.
mapfile -t packages < <(go list ./... | grep -v /test/)
race=()
if command -v "$(go env CC)" >/dev/null; then
	export CGO_ENABLED=1
	race=(-race)
else
	echo "unit: no C compiler, so without the race detector" >&2
	[ "${CI-}" != true ]
fi
# One package at a time: many tests measure time, and the packages would share it.
go test -p 1 "${race[@]}" "${packages[@]}"
# The race detector's own memory hides that of the program.
[ ${#race[@]} = 0 ] || CGO_ENABLED=0 go test -run '^TestMemory$' ./pkg/probe

#!/bin/bash
# Unit tests, seeds of the fuzz targets included. The race detector needs cgo.
set -euo pipefail
race=()
if command -v "$(go env CC)" >/dev/null; then
	export CGO_ENABLED=1
	race=(-race)
fi
# One package at a time: many tests measure time, and the packages would share it.
exec go test -p 1 "${race[@]}" ./cmd/... ./pkg/...

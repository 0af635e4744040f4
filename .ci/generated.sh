#!/bin/bash
# Writes the generated files in a copy of the tree; they must come out as they are.
set -euo pipefail
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
	[ ! -f "$f" ] || printf '%s\0' "$f"
done | tar --null --files-from=- -cf - | tar -C "$copy" -xf -
cp -r "$copy" "$copy.before"
trap 'rm -rf "$copy" "$copy.before"' EXIT
make -C "$copy" generate >/dev/null
if ! diff -r -q "$copy.before" "$copy"; then
	echo "generated: not current, run make generate" >&2
	exit 1
fi
echo "generated: current"

#!/bin/bash
# golangci-lint, built once from the versions in .ci/tools.mod into the cache, on
# the main module and on those beside it; shellcheck where it is installed.
set -euo pipefail
cache=${NODEPREP_CACHE:-$HOME/.cache/nodeprep}
key=$( { cat .ci/tools.mod .ci/tools.sum; go version; } | sha256sum | cut -c1-12)
lint=$cache/golangci-lint-$key
if [ ! -x "$lint" ]; then
	echo "lint: building golangci-lint"
	mkdir -p "$cache"
	temp=$(mktemp "$cache/.golangci-lint-XXXXXX")
	go build -modfile=.ci/tools.mod -o "$temp" github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	chmod 755 "$temp"
	mv "$temp" "$lint"
fi
config=$PWD/.ci/golangci.yml
status=0
while read -r mod; do
	(cd "$(dirname "$mod")" && "$lint" run --allow-parallel-runners -c "$config" ./...) || status=1
done < <(git ls-files --cached --others --exclude-standard go.mod '*/go.mod' | sort -u)

# An error's text is for people: decide with errors.Is and errors.As.
if git grep -nE 'strings\.(Contains|HasPrefix|HasSuffix)\([A-Za-z]*[eE]rr\.Error\(\)' -- '*.go' ':!*_test.go'; then
	echo "lint: a decision on an error's text" >&2
	status=1
fi
if command -v shellcheck >/dev/null; then
	git ls-files --cached --others --exclude-standard '*.sh' .ci/run | sort -u | xargs -r shellcheck -S warning || status=1
else
	echo "lint: shellcheck is not installed, the scripts were not checked" >&2
	[ "${CI-}" != true ] || status=1
fi
exit $status

#!/bin/bash
# Vets and tests the modules beside the main one: the generators, the official
# Kubernetes types that must decode what is rendered, the lab's kubelet.
set -euo pipefail
status=0
while read -r mod; do
	dir=$(dirname "$mod")
	(cd "$dir" && go vet ./... && go test ./...) || { echo "FAIL module $dir"; status=1; }
done < <(git ls-files --cached --others --exclude-standard '*/go.mod' | sort -u)
exit $status

#!/bin/bash
# Installs the Debian or Ubuntu packages that tests and demo need and that are
# missing. An ordinary user without sudo gets a note instead.
set -euo pipefail

# systemd-nspawn and the tools to read a node from outside; the builder of its tree;
# nft for the faults of security groups; the linter of the scripts.
packages=(systemd systemd-container dbus mmdebstrap util-linux nftables shellcheck)

missing=()
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ]; then
	root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	root=(sudo -n)
else
	echo "deps: not installed, needs root: ${missing[*]}" >&2
	[ "${CI-}" != true ]
	exit
fi
echo "deps: installing ${missing[*]}"
"${root[@]}" apt-get update -qq -o Acquire::Retries=3
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o Acquire::Retries=3 --no-install-recommends "${missing[@]}" >/dev/null

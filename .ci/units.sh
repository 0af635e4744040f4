#!/bin/bash
# Verifies the units of systemd/ in a root of their own, beside this machine's
# units; the e2e tests do it once more in a booted node.
set -euo pipefail
if ! command -v systemd-analyze >/dev/null; then
	echo "units: systemd is not installed"
	[ "${CI-}" != true ]
	exit
fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/usr/lib/systemd" "$root/etc/systemd/system"
cp -r /usr/lib/systemd/system "$root/usr/lib/systemd/"
cp -r systemd/system/. "$root/usr/lib/systemd/system/"
for program in nodeprep kubelet touch; do
	install -m 755 /dev/null "$root/usr/bin/$program"
done
printf '[Service]\nExecStart=/usr/bin/kubelet\n' >"$root/etc/systemd/system/kubelet.service"

mapfile -t units < <(cd systemd/system && find . -maxdepth 1 -type f -printf '%f\n' | sort)
# Warnings count: systemd ignores what it does not know. It may only speak of others' units.
systemd-analyze verify --root="$root" --man=no "${units[@]}" kubelet.service 2>&1 | tee "$root/said" >&2
if grep -E "$(IFS='|'; echo "${units[*]}|kubelet\.service")" "$root/said" >/dev/null; then
	echo "units: systemd-analyze has objections" >&2
	exit 1
fi
# 0 is closed, 10 is open; without any sandboxing a service is at 9.6.
systemd-analyze security --offline=true --root="$root" --threshold=30 nodeprep.service | tail -n 1
echo "units: ${units[*]} verified"

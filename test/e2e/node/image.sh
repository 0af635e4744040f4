#!/bin/sh
# Builds the root tree that package node boots: a minimal Debian (or Ubuntu,
# whatever this machine is) with systemd, and nothing of nodeprep in it.
#
#	image.sh          build it when it is missing, print its path
#	image.sh --path   print its path only
#
# The tree lies in $NODEPREP_CACHE (default ~/.cache/nodeprep), named by a hash
# of this recipe and of the release, so a changed recipe is a new tree. Packages
# come from where this machine's own apt gets them. Needs root and mmdebstrap.
set -eu

# What an EKS node's unit files and nodeprep's sandbox need, and no more.
# ca-certificates is there for its paths: the lab replaces the bundle. Nodes with a
# stub resolver take systemd-resolved's mask away; older releases have it in systemd.
packages=systemd,systemd-sysv,dbus,ca-certificates
if apt-cache show systemd-resolved >/dev/null 2>&1; then
	packages=$packages,systemd-resolved
fi

me=$(readlink -f "$0")
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
key=$( { cat "$me"; echo "$release"; uname -m; } | sha256sum | cut -c1-12)
cache=${NODEPREP_CACHE:-$HOME/.cache/nodeprep}
tree=$cache/image-$key

if [ "${1-}" = --path ] || [ -d "$tree" ]; then
	echo "$tree"
	exit 0
fi
[ "$(id -u)" = 0 ] || { echo "image.sh: building $tree needs root" >&2; exit 1; }
mkdir -p "$cache"

# One builder at a time; the second finds the first one's tree.
exec 9>"$cache/image.lock"
flock 9
[ -d "$tree" ] && { echo "$tree"; exit 0; }

work=$(mktemp -d "$cache/.image-XXXXXX")
# EXIT alone: a signal ends the shell through it.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The sources and the transport settings (a proxy, say) of this machine.
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
	awk -v r="$release" '$3 == r || index($3, r "-") == 1' | sort -u >"$work/sources.list"
grep -q . "$work/sources.list" || { echo "image.sh: apt knows no source for $release" >&2; exit 1; }
apt-config dump Acquire >"$work/acquire.conf"

echo "image.sh: building $tree" >&2
TMPDIR=$work mmdebstrap --quiet --mode=root --variant=essential --include="$packages" \
	--aptopt="$work/acquire.conf" --aptopt='Acquire::Languages "none"' \
	--aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	"$release" "$work/tree" "$work/sources.list" >&2

cd "$work/tree"
# An instance gets its own identity at boot. Empty, not absent: without the file
# systemd takes the boot for the first one and applies every preset again.
: >etc/machine-id
: >etc/hostname
# The journal outlives a reboot and can be read from outside.
mkdir -p var/log/journal
# The lab configures the node's network namespace; a login prompt on the console
# would only disturb what nodeprep writes there; nothing here has a timer to run.
for unit in console-getty.service getty.target systemd-networkd.service systemd-resolved.service \
	systemd-timesyncd.service e2scrub_reap.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
	ln -sf /dev/null "etc/systemd/system/$unit"
done
# Nothing that names where the packages came from stays in the tree.
rm -rf etc/apt/sources.list etc/apt/sources.list.d/* etc/apt/apt.conf.d/* var/lib/apt/lists/* var/cache/apt/* var/log/apt \
	etc/.resolv.conf.*

cd "$cache"
mv -T "$work/tree" "$tree"
echo "$tree"

#!/bin/sh
# packages.sh SET... - install the Debian packages that a target of the Makefile needs.
#
# Says and does nothing when they are all there.  Where dpkg is not the package manager it leaves
# the work to the user, and the compiler to name what is missing.
set -eu

wanted=
for set in "$@"; do
	case $set in
	build) wanted="$wanted gcc libc6-dev make python3 python3-dev python3-venv libseccomp-dev libcap-dev" ;;
	demo) wanted="$wanted busybox-static" ;;
	test) wanted="$wanted busybox-static shellcheck strace patchelf openssl man-db mandoc zsh fish uidmap procps \
		util-linux iproute2 iptables tini mmdebstrap containerd podman conmon buildah slirp4netns docker.io \
		netavark containernetworking-plugins runc" ;;
	vm) wanted="$wanted qemu-system-x86 mmdebstrap fdisk e2fsprogs" ;;
	bench) wanted="$wanted busybox-static runc crun util-linux iproute2 tini containerd podman conmon" ;;
	*)
		echo "packages.sh: no set named $set" >&2
		exit 2
		;;
	esac
done

command -v dpkg-query >/dev/null || exit 0
missing=
for package in $wanted; do
	case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || :) in
	installed*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "missing packages: run  sudo apt-get install$missing" >&2
	exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # one word per package
if ! { apt-get -q update && apt-get -q -y --no-install-recommends install $missing; } >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi

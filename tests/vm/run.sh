#!/bin/sh
# run.sh [ARG...] - run tests/vm/guest.sh ARG... with this tree in a machine of its own.
#
# Emulated, so that it needs no rights beyond root's and no KVM: cgroup v2 with every controller,
# systemd, AppArmor (LSM=selinux: SELinux without a policy), all capabilities.  The disk is made
# once, in VM_CACHE (default: build/vm).  What the guest writes to its disk is forgotten.
set -eu

here=$(dirname "$(readlink -f "$0")")
tree=$(dirname "$(dirname "$here")")
cache=${VM_CACHE:-$tree/build/vm}
lsm=${LSM:-apparmor}
limit=${VM_TIMEOUT:-2400}
case $lsm in
apparmor) name=vm options="apparmor=1 security=apparmor" ;;
selinux) name="vm, SELinux" options="apparmor=0 security=selinux selinux=1 enforcing=0" ;;
*)
	echo "vm: LSM=$lsm: apparmor or selinux" >&2
	exit 2
	;;
esac

# Debian's kernel and packages on an x86_64; a distribution without them has no such machine.
if [ "$(uname -m)" != x86_64 ] || ! command -v qemu-system-x86_64 mmdebstrap sfdisk >/dev/null; then
	echo "vm: NOT RUN: needs an x86_64 with qemu-system-x86_64, mmdebstrap and sfdisk" >&2
	exit 1
fi

began=$(date +%s)
"$here/image.sh" "$cache"

run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT TERM
{
	printf 'set --'
	for arg in "$@"; do
		printf " '%s'" "$(printf %s "$arg" | sed "s/'/'\\\\''/g")"
	done
	printf '\ncd "%s" && LSM=%s exec sh tests/vm/guest.sh "$@"\n' "$tree" "$lsm"
} >"$run/job"
# At the same place as here, because a virtual environment cannot be moved.
tar -cf "$run/job.tar" --exclude="${tree#/}/build" --exclude="${tree#/}/.git" --exclude='.*_cache' \
	--exclude='.hypothesis' --exclude='clang_format*' --exclude='ruff*' --exclude='mypy*' \
	--transform="s,^${run#/}/,," --warning=no-file-changed -C / "${tree#/}" "${run#/}/job" ||
	[ $? = 1 ] # somebody is at work in the tree

echo "vm: $(($(date +%s) - began)) s for the disk; starting"
timeout --foreground --kill-after=5 "$limit" qemu-system-x86_64 -machine q35,hpet=off \
	-accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
	-nodefaults -no-user-config -no-reboot -display none -monitor none \
	-kernel "$cache/vmlinuz" -append "console=ttyS0 root=PARTUUID=70797275-01 rootfstype=ext4 \
rootwait rw panic=-1 quiet mitigations=off nokaslr random.trust_cpu=on no_timer_check \
systemd.unit=tests.target systemd.show_status=no systemd.unified_cgroup_hierarchy=1 $options" \
	-drive "file=$cache/disk,format=raw,if=none,id=root,snapshot=on" \
	-drive "file=$run/job.tar,format=raw,if=none,id=job,readonly=on" \
	-device nvme,id=nvme,serial=tests -device nvme-ns,drive=root,bus=nvme,nsid=1 \
	-device nvme-ns,drive=job,bus=nvme,nsid=2 \
	-serial "file:$run/console" -serial file:/dev/stdout </dev/null | tee "$run/log" |
	grep --line-buffered -v '^job-status: '

status=$(sed -n 's/^job-status: //p' "$run/log")
if [ -z "$status" ]; then
	tail -n 20 "$run/console"
	echo "vm: the machine ended, or $limit s were over, before the tests were" >&2
fi
# From pytest's last line: "= 1 failed, 20 passed, 3 skipped, 1 error in 9.87s ="
sed -n 's/^=* *\([0-9][0-9]* [a-z].*\) in [0-9.]*s.*/\1/p' "$run/log" | tail -n 1 | tr ',' '\n' |
	awk -v name="$name" -v seconds="$(($(date +%s) - began))" '
	{ count[$2] += $1 }
	END {
		failed = count["failed"] + count["error"] + count["errors"]
		printf "%s: %d passed, %d failed, %d skipped in %d s\n",
			name, count["passed"], failed, count["skipped"], seconds
	}'
exit "${status:-1}"

#!/bin/sh
# image.sh DIRECTORY - make the disk and the kernel of the machine that run.sh starts.
#
# DIRECTORY/vmlinuz and DIRECTORY/disk come out of this distribution's packages, from the sources
# that apt has here.  Nothing is done when they are there and made in the same way.  The kernel is
# Debian's for clouds: it finds a disk on NVMe without an initial RAM disk.
set -eu

dir=$1
# The distribution with systemd, the reference, and what the tests run.
packages="systemd systemd-sysv dbus dbus-user-session libpam-systemd udev kmod iproute2 procps
	util-linux uidmap acl apparmor runc crun busybox-static python3 libseccomp2 libcap2 gcc
	libc6-dev tini iptables criu secilc"
# Nobody needs these to run tests, and under emulation they cost seconds.
masked="systemd-udev-trigger systemd-udev-settle systemd-hwdb-update systemd-journal-flush
	systemd-firstboot systemd-update-utmp systemd-random-seed systemd-pstore systemd-timesyncd
	systemd-sysusers systemd-machine-id-commit ldconfig e2scrub_reap getty@tty1 serial-getty@ttyS0
	serial-getty@ttyS1 console-getty apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
	fstrim.timer e2scrub_all.timer"

# shellcheck source=/dev/null
. /etc/os-release
suite=$VERSION_CODENAME
key=$(echo "$suite $packages" | cat - "$0" | sha256sum)

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
if [ -s "$dir/disk" ] && [ "$(cat "$dir/key" 2>/dev/null)" = "$key" ]; then
	exit 0
fi
echo "vm: making the disk ($suite)"
rm -rf "$dir/key" "$dir/disk" "$dir/new"
mkdir "$dir/new"
root=$dir/new/root
trap 'rm -rf "$dir/new"' EXIT
trap 'exit 130' INT TERM

# shellcheck disable=SC2016  # $( ) is apt's
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
	awk -v suite="$suite" '$3 == "main" && ($2 == suite || $2 == suite "-security") { print "deb", $0 }' \
		>"$dir/new/sources"
if ! [ -s "$dir/new/sources" ]; then
	echo "vm: the apt sources of this machine have no main of $suite" >&2
	exit 1
fi
# shellcheck disable=SC2086  # one word per package
mmdebstrap --quiet --variant=minbase --include="$(echo $packages | tr ' ' ,)" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$suite" "$root" - <"$dir/new/sources"

# Unpacked, not installed: installing it would make an initial RAM disk.
# shellcheck disable=SC2016  # for the shell in there
chroot "$root" sh -eu -c '
	cd /tmp
	apt-get -qq update
	image=$(apt-cache depends linux-image-cloud-amd64 |
		sed -n "s/.*Depends: \(linux-image-[0-9].*\)/\1/p" | head -n 1)
	# Newer releases have the modules in packages of their own.
	more=$(apt-cache search --names-only "^linux-(base|binary|modules)-${image#linux-image-}\$" |
		cut -d " " -f 1)
	apt-get -qq -o APT::Sandbox::User=root download "$image" $more
	for file in linux-*.deb; do
		dpkg-deb -x "$file" kernel
	done
	mkdir -p /usr/lib/modules
	cp -a kernel/lib/modules/. /usr/lib/modules/ 2>/dev/null ||
		cp -a kernel/usr/lib/modules/. /usr/lib/modules/
	depmod "$(ls /usr/lib/modules)"
	mv "$(find kernel -name "vmlinuz*" -type f)" /vmlinuz
	rm -rf /tmp/* /var/lib/apt/lists/*
	useradd --create-home --uid 1000 --shell /bin/sh user
' </dev/null
mv "$root/vmlinuz" "$dir/vmlinuz"

echo pyrunc-vm >"$root/etc/hostname"
echo '127.0.0.1 localhost pyrunc-vm' >"$root/etc/hosts"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
: >"$root/etc/fstab"
for unit in $masked; do
	case $unit in
	*.timer) ln -sf /dev/null "$root/etc/systemd/system/$unit" ;;
	*) ln -sf /dev/null "$root/etc/systemd/system/$unit.service" ;;
	esac
done
# Reading profiles is slow, and the tests bring their own.
find "$root/etc/apparmor.d" -maxdepth 1 -type f -delete
printf 'overlay\nveth\n' >"$root/etc/modules-load.d/tests.conf"

# The tests are one service of the target that this machine starts.
cat >"$root/etc/systemd/system/tests.target" <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
Wants=tests.service dbus.socket
UNIT
cat >"$root/etc/systemd/system/tests.service" <<'UNIT'
[Unit]
After=basic.target dbus.socket systemd-modules-load.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/tests
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
TimeoutStartSec=infinity
Delegate=yes
KillMode=process
UNIT
# The second disk is a tar archive: the tree with the tests, and /job.
cat >"$root/usr/local/sbin/tests" <<'JOB'
#!/bin/sh
export HOME=/root LANG=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
stty -F /dev/ttyS1 raw
ip link set lo up
for disk in /sys/block/nvme*; do
	[ "$(cat "$disk/nsid")" = 2 ] && tar -C / -xf "/dev/${disk##*/}"
done
sh /job
echo "job-status: $?"
sync
systemctl poweroff --force --force
JOB
chmod 755 "$root/usr/local/sbin/tests"

# One partition, because its number in the table names it to the kernel.  The first MiB is the table.
size=$(($(du -sm --apparent-size "$root" | cut -f 1) * 4 / 3 + 2048))
truncate -s "$((size + 1))M" "$dir/new/disk"
printf 'label: dos\nlabel-id: 0x70797275\nstart=2048 type=83\n' | sfdisk --quiet "$dir/new/disk"
mkfs.ext4 -q -F -O '^has_journal' -m 0 -E offset=1048576 -d "$root" "$dir/new/disk" "${size}M"
mv "$dir/new/disk" "$dir/disk"
echo "$key" >"$dir/key"

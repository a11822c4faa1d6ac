#!/bin/sh
# criu.sh DIR - a criu that works with this kernel, in DIR/bin.
#
# Prints DIR/bin, or fails and says why.  The distribution's own criu is taken where that works
# (DIR/bin is then a link to it); otherwise the newest one that its mirror has is unpacked beside
# its own C library, and nothing is installed.
set -eu

dir=$1
if [ -x "$dir/bin/criu" ]; then
	echo "$dir/bin"
	exit 0
fi
mkdir -p "$dir/bin"
own=$(command -v criu || :)
if [ -n "$own" ] && "$own" check >/dev/null 2>&1; then
	ln -sf "$own" "$dir/bin/criu"
	echo "$dir/bin"
	exit 0
fi
for need in mmdebstrap apt-get; do
	command -v "$need" >/dev/null || {
		echo "$need is missing" >&2
		exit 1
	}
done
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
# shellcheck disable=SC2016  # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
	awk -v suite="$suite" '$2 == suite && $3 == "main" { print $1; exit }')
if [ -z "$mirror" ]; then
	echo "the apt sources of this machine have no main of $suite" >&2
	exit 1
fi
root=$dir/root
rm -rf "$root"
mmdebstrap --quiet --variant=extract --include=criu --aptopt='Acquire::Check-Valid-Until "false"' \
	sid "$root" "$mirror" >&2
loader=$(find "$root/usr/lib" -path '*-linux-gnu*' -name 'ld-linux*' | head -n 1)
cat >"$dir/bin/criu.new" <<END
#!/bin/sh
exec "$loader" --library-path "$(dirname "$loader")" "$root/usr/sbin/criu" "\$@"
END
chmod +x "$dir/bin/criu.new"
if ! "$dir/bin/criu.new" check >&2; then
	echo "criu does not work with this kernel" >&2
	exit 1
fi
mv "$dir/bin/criu.new" "$dir/bin/criu"
echo "$dir/bin"

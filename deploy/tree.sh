#!/bin/sh
# tree.sh DIRECTORY - make a pyrunc that needs nothing of the host it is put on.
#
# Its own Python, C library and loader come along, so it runs on hosts with another Python, another
# C library, or none.  The loader is named by its absolute path: the tree works at
# /opt/pyrunc/RELEASE, and nowhere else.  DIRECTORY/RELEASE is made from build/wheels (make build),
# and its name is printed; the same wheels and the same Python make the same name.
set -eu
cd "$(dirname "$0")/.."

python=$(readlink -f .venv/bin/python)
name=${python##*/} # python3.11
stdlib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
pyrunc=$(echo build/wheels/pyrunc-*.whl)
version=${pyrunc#build/wheels/pyrunc-}
inputs=$(cat build/wheels/*.whl "$python" "$0" | sha256sum | cut -c 1-8)
release=${version%%-*}-$inputs
prefix=/opt/pyrunc/$release
mkdir -p "$1"
tree=$(readlink -f "$1")/$release
rm -rf "$tree"

mkdir -p "$tree/bin" "$tree/lib"
cp "$python" "$tree/bin/$name"
cp -R "$stdlib" "$tree/lib/"
(
	cd "$tree/lib/$name"
	rm -rf config-* dist-packages ensurepip idlelib lib2to3 pydoc_data site-packages test tkinter turtle* \
		sitecustomize.py asyncio curses dbm distutils multiprocessing sqlite3 tomllib wsgiref xmlrpc
	find . -name __pycache__ -type d -exec rm -rf {} +
	# What they and TLS are linked to is half of all libraries.
	cd lib-dynload
	rm -f _crypt* _curses* _dbm* _gdbm* _hashlib* _sqlite3* _ssl* _tkinter* nis* readline*
)
.venv/bin/python -m pip --quiet --disable-pip-version-check install --no-index --find-links build/wheels \
	--ignore-installed --no-compile --prefix "$tree" pyrunc
find "$tree/bin" ! -type d ! -name "$name" ! -name pyrunc -delete

# Every library that anything in there is linked to, and the one that pyrunc opens by itself.
systemd=$(ldconfig -p | sed -n 's/.*libsystemd\.so\.0 .* => //p' | head -n 1)
if [ -n "$systemd" ]; then
	cp "$systemd" "$tree/lib/libsystemd.so.0"
fi
find "$tree" -type f \( -name '*.so' -o -name '*.so.*' -o -path "$tree/bin/*" \) -exec ldd {} + |
	sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | grep -v "^$tree/" | sort -u |
	while read -r library; do
		cp "$library" "$tree/lib/"
	done
loader=$(patchelf --print-interpreter "$python")
cp "$loader" "$tree/lib/"
for program in "$tree/bin/$name" "$tree/bin/pyrunc"; do
	# An RPATH, which also counts for what the libraries load, not a RUNPATH, which does not.
	patchelf --force-rpath --set-rpath "$prefix/lib" --set-interpreter "$prefix/lib/${loader##*/}" "$program"
done
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$tree" -p "$prefix" "$tree/lib/$name"
chmod -R u=rwX,go=rX "$tree"
echo "$release"

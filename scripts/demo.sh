#!/bin/sh
# demo.sh - make a bundle from busybox in a temporary directory, run it, and clean up.
#
# PYRUNC names the command to show (default: the one in PATH).
set -eu

pyrunc=${PYRUNC:-pyrunc}
id=pyrunc-demo-$$

if [ "$(id -u)" != 0 ]; then
	echo "A container needs namespaces and cgroups: sudo make demo" >&2
	exit 1
fi

dir=$(mktemp -d)
cleanup() {
	"$pyrunc" --root "$dir/state" delete --force "$id" >/dev/null 2>&1 || :
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The root filesystem: one static program and its names.
mkdir -p "$dir/rootfs/bin" "$dir/rootfs/etc"
cp "$(command -v busybox)" "$dir/rootfs/bin/busybox"
for name in $(busybox --list); do
	[ "$name" = busybox ] || ln -s busybox "$dir/rootfs/bin/$name"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$dir/rootfs/etc/passwd"

# What the container shows of itself.
cat >"$dir/rootfs/bin/show" <<'SHOW'
#!/bin/sh
say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
limit() { cat "/sys/fs/cgroup/$1" 2>/dev/null || cat "/sys/fs/cgroup/$2"; }
say "I am process $$ of this machine; all the processes I see:"
ps -o pid,user,args
say "My name, my network:"
hostname
ip -brief address 2>/dev/null || ip address show
say "My mounts:"
awk '{ printf "%-28s %-8s %s\n", $2, $3, substr($4, 1, 48) }' /proc/mounts
say "My limits: memory, processes, open files"
limit memory/memory.limit_in_bytes memory.max
limit pids/pids.max pids.max
ulimit -n
say "What I may do:"
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
touch /file 2>&1 || :
SHOW
chmod +x "$dir/rootfs/bin/show"

cd "$dir"
"$pyrunc" spec
/usr/bin/python3 - <<'EDIT'
import json

with open("config.json") as file:
    config = json.load(file)
config["process"]["terminal"] = False
config["process"]["args"] = ["/bin/show"]
config["hostname"] = "demo"
config["root"]["readonly"] = True
config["linux"]["resources"].update(memory={"limit": 64 << 20}, pids={"limit": 32})
with open("config.json", "w") as file:
    json.dump(config, file)
EDIT

echo "\$ pyrunc run --bundle $dir $id"
"$pyrunc" --root "$dir/state" run --bundle "$dir" "$id"
printf '\n$ pyrunc list\n'
"$pyrunc" --root "$dir/state" list

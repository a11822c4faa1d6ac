"""An account in a sandbox, and what makes a command one of its user.

prepare    the account, with ranges of IDs, and a /dev/net/tun that it may open
AS_USER    to be put before a command: the user's IDs, environment and directory
in_cgroup  to be put before AS_USER: cgroups that the user may divide
"""

NAME, UID = "tester", 54321
HOME = "/var/lib/containers/tester"
RUNTIME = f"/run/user/{UID}"  # XDG_RUNTIME_DIR
ACCOUNT = f"""
echo {NAME}:x:{UID}:{UID}::{HOME}:/bin/sh >>/etc/passwd
echo {NAME}:x:{UID}: >>/etc/group
for kind in u g; do
    echo {NAME}:200000:65536 >>/etc/sub${{kind}}id
done
mkdir -p {RUNTIME} {HOME}
chown {UID}:{UID} {RUNTIME} {HOME}
if [ -e /dev/net/tun ]; then
    mknod -m 666 /run/tun c 10 200
    mount --bind /run/tun /dev/net/tun
fi
"""
AS_USER = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all"),
    *("env", "--ignore-environment", f"--chdir={HOME}", f"HOME={HOME}", f"USER={NAME}"),
    *("PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", f"XDG_RUNTIME_DIR={RUNTIME}"),
    f"TMPDIR={HOME}",  # where buildah keeps the caches of builds
)


def prepare(sandbox):
    sandbox("sh", "-ec", ACCOUNT)


def in_cgroup(name):
    group = f"/sys/fs/cgroup/{name}"
    own = f"{group}/{name}-own"
    script = f'mkdir -p {own}; chown -R {UID}:{UID} {group}; echo $$ >{own}/cgroup.procs; exec "$@"'
    return ("sh", "-ec", script, "sh")

"""One test per published hole of container runtimes, named after it, run as its attacker would.

The image, and who shares a volume with the container, are the attackers.  Everything runs in a
mount namespace of its own with its own /dev: what goes wrong does not hurt the machine.
"""

import contextlib
import ctypes
import hashlib
import os
import subprocess
import sys
import threading

import pytest
from test_userns import maps, open_up, own

from harness import read, receive

RENAME_EXCHANGE = 2
AT_FDCWD = -100

PRIVATE = """#!/bin/sh
exec unshare -m --propagation private sh -c '
    set -e
    mount -t tmpfs none {scratch}
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty {scratch}
    mkdir {scratch}/pts {scratch}/shm {scratch}/mqueue
    mount --rbind /dev/pts {scratch}/pts
    ln -s pts/ptmx {scratch}/ptmx
    ln -s /proc/self/fd {scratch}/fd
    mount --move {scratch} /dev
    exec "$@"' sh {command} "$@"
"""


@pytest.fixture
def pyrunc(pyrunc, tmp_path):
    """The command, in a mount namespace and with a /dev of its own."""
    scratch, wrapper = tmp_path / "dev", tmp_path / "private"
    scratch.mkdir()
    wrapper.write_text(PRIVATE.format(scratch=scratch, command=pyrunc.command))
    wrapper.chmod(0o755)
    pyrunc.command = str(wrapper)
    return pyrunc


@pytest.fixture
def victim(tmp_path):
    """A directory of the host that no container is told about, with one file."""
    path = tmp_path / "victim"
    path.mkdir()
    (path / "file").write_text("mine")
    before = os.stat(path / "file")
    yield path
    after = os.stat(path / "file")
    assert os.listdir(path) == ["file"], "something of the host was made"
    assert (path / "file").read_text() == "mine", "something of the host was written"
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@pytest.fixture(params=[False, True], ids=["root", "userns"])
def users(request, bundle):
    """Once as root of the host, once as root of a user namespace."""
    if request.param:
        bundle.namespace("user")
        bundle.linux.update(uidMappings=maps(), gidMappings=maps())
        open_up(bundle.path)
        own(bundle.rootfs)
    return request.param


@contextlib.contextmanager
def exchanging(one, other):
    """Meanwhile the two paths change places, as fast as can be; they are where they were after."""
    libc = ctypes.CDLL(None, use_errno=True)
    stop, count = threading.Event(), 0

    def swap():
        nonlocal count
        args = AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
        while not stop.is_set() or count % 2:
            count += libc.renameat2(*args) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert count > 100, "there was no race"


def own_dev(bundle):
    """The image brings /dev itself."""
    bundle.config["mounts"] = [row for row in bundle.mounts if row["destination"] != "/dev"]
    for name in ("pts", "shm", "mqueue"):
        os.makedirs(f"{bundle.rootfs}/dev/{name}", exist_ok=True)
    return f"{bundle.rootfs}/dev"


def all_capabilities(bundle, *names):
    for kind in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][kind] = list(names)


def test_cve_2016_3697_a_user_whose_name_is_a_number(pyrunc, bundle):
    bundle.write("/etc/passwd", "1000:x:0:0::/evil:/bin/sh\nroot:x:0:0::/root:/bin/sh\n")
    bundle.write("/etc/group", "1000:x:0:\n")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    script = 'echo $HOME; grep -E "^[UG]id" /proc/self/status'
    result = pyrunc.run(bundle.sh(script))
    assert result.stdout.split() == ["/", "Uid:", *["1000"] * 4, "Gid:", *["1000"] * 4]
    bundle.process["user"] = {"uid": 0, "gid": 0}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    result = pyrunc("exec", "--user", "1000:1000", name, "sh", "-c", script)
    assert result.stdout.split() == ["/", "Uid:", *["1000"] * 4, "Gid:", *["1000"] * 4]


def test_cve_2016_9962_who_enters_cannot_be_looked_into(pyrunc, bundle, users):
    # Its own root may trace whatever is its own; who enters is not, until its program runs.
    if users:
        all_capabilities(bundle, "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_KILL")
    watch = (
        "while ! test -e /tmp/stop; do for p in /proc/[0-9]*; do test $p = /proc/1 && continue; "
        "readlink $p/cwd; readlink $p/root; ls $p/root/; "
        "for f in $p/fd/*; do readlink $f; ls $f/; done; done; done"
    )
    name = pyrunc.up(bundle.sh(f"({watch}) >/tmp/all 2>/dev/null; sort -u /tmp/all >/tmp/seen"))
    for _ in range(15):
        pyrunc("exec", name, "true")
    bundle.write("tmp/stop", "")
    pyrunc.stopped(name)
    lines = set(read(f"{bundle.rootfs}/tmp/seen").splitlines())
    assert "/" in lines
    mine = {"/", "/dev/null", *os.listdir(bundle.rootfs), *os.listdir(f"{bundle.rootfs}/tmp")}
    mine |= {"null", "all", "seen"}
    strange = [line for line in lines - mine if not line.startswith(("pipe:", "/tmp/all"))]
    assert not strange


@pytest.mark.parametrize("how", ["program", "interpreter", "exec", "exec interpreter"])
def test_cve_2019_5736_the_runtime_as_the_containers_program(
    pyrunc, command, bundle, users, how, tmp_path
):
    """/proc/self/exe is started by who prepares the container, and written to from inside."""
    package = subprocess.run(
        [sys.executable, "-P", "-c", "import pyrunc;print(pyrunc.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    init = os.path.join(os.path.dirname(package), "_init")
    files = [command, init, os.path.realpath("/usr/bin/python3")]

    def digests():
        found = []
        for path in files:
            with open(path, "rb") as file:
                found.append(hashlib.sha256(file.read()).hexdigest())
        return found

    before = digests()
    all_capabilities(bundle, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_KILL")
    bundle.write("/bin/script", "#!/proc/self/exe\n", 0o755)
    program = "/bin/script" if "interpreter" in how else "/proc/self/exe"
    if how.startswith("exec"):
        attack = (
            "while ! test -e /tmp/stop; do for p in /proc/[0-9]*; do test $p = /proc/$$ || "
            "echo pwned 2>/dev/null >>$p/exe; done; done"
        )
        name = pyrunc.up(bundle.sh(attack))
        for _ in range(8):
            assert pyrunc("exec", name, program, code=None).code != 0
        bundle.write("tmp/stop", "")
        pyrunc.stopped(name)
    else:
        assert pyrunc.run(bundle.args(program), code=None).code != 0
    assert digests() == before


def test_cve_2019_16884_a_volume_in_the_place_of_proc(pyrunc, bundle, victim):
    fake = f"{bundle.rootfs}/fake"
    os.makedirs(f"{fake}/self/attr")
    bundle.write("/fake/self/attr/exec", "")
    message = pyrunc.run(bundle.mount("/proc", fake, "rbind").args("true"), code=1).message
    assert "cannot be mounted because it is not of type proc" in message
    bundle.mounts.pop()
    message = pyrunc.run(bundle.mount("/proc/self", fake, "rbind"), code=1).message
    assert "inside /proc" in message
    assert read(f"{fake}/self/attr/exec") == ""


def test_cve_2019_19921_proc_changes_places_with_a_symlink(pyrunc, bundle, victim):
    os.symlink(victim, f"{bundle.rootfs}/corp")
    bundle.sh("grep -q ' /proc proc ' /proc/mounts && echo real").save()
    with exchanging(f"{bundle.rootfs}/proc", f"{bundle.rootfs}/corp"):
        for _ in range(12):
            result = pyrunc.run(bundle, code=None)
            # what is renamed after it was mounted is not found by the program
            assert result.stdout in ("", "real\n"), result
            assert result.code or result.stdout


def test_cve_2019_19921_proc_is_renamed_before_it_is_masked(pyrunc, bundle, users):
    """Nothing is masked where nothing is found; the mount moves along with its directory."""
    proc, away = f"{bundle.rootfs}/proc", f"{bundle.rootfs}/away"
    hook = {"path": "/bin/mv", "args": ["mv", "-T", proc, away]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    bundle.linux["maskedPaths"] = ["/proc/keys", "/proc/absent"]
    bundle.linux["readonlyPaths"] = ["/proc/sys"]
    see = "cat /proc/keys; grep ' /proc/sys ' /proc/mounts | cut -d' ' -f4"
    bundle.sh(f"exec > /tmp/seen; {see}")
    name = pyrunc.create(bundle)
    os.rename(away, proc)
    pyrunc("start", name)
    pyrunc.stopped(name)
    assert read(f"{bundle.rootfs}/tmp/seen").startswith("ro,")
    bundle.linux["maskedPaths"].append("/proc/tty")
    assert "can't mask path /proc/tty: " in pyrunc.run(bundle, code=1).message
    os.rename(away, proc)


def test_masks_hold_on_a_proc_that_was_covered(pyrunc, bundle, users):
    """readonlyPaths come first, and each is a mount of its own."""
    bundle.linux["maskedPaths"] = ["/proc/keys", "/proc/tty", "/sys/firmware", "/sys/kernel/notes"]
    bundle.linux["readonlyPaths"] = ["/proc", "/proc/sys", "/sys", "/sys/kernel"]
    see = "cat /proc/keys /sys/kernel/notes; ls /proc/tty /sys/firmware; "
    out = pyrunc.run(bundle.sh(see + "grep -c ' /proc/sys ' /proc/mounts")).stdout
    assert [line for line in out.split("\n") if line and line[-1] != ":"] == ["1"]


def test_masks_hold_on_a_sys_that_a_symlink_covers(pyrunc, bundle, tmp_path):
    """/data is /sys in this image, and the volume for it covers the sysfs."""
    os.symlink("sys", f"{bundle.rootfs}/data")
    (tmp_path / "volume" / "firmware").mkdir(parents=True)
    (tmp_path / "volume" / "firmware" / "secret").write_text("")
    bundle.mount("/data", tmp_path / "volume", "rbind")
    bundle.linux["maskedPaths"] = ["/sys/firmware"]
    bundle.linux["readonlyPaths"] = []
    result = pyrunc.run(bundle.sh("ls /sys/firmware"), code=None)
    assert result.stdout == ""
    assert result.code == 0 or "can't mask path /sys/firmware: " in result.message


def test_cve_2021_30465_mountpoints_change_places_with_symlinks(pyrunc, bundle, users, victim):
    good, bad = f"{bundle.rootfs}/swap", f"{bundle.rootfs}/paws"
    os.makedirs(f"{good}/in")
    os.symlink("../" * 12 + str(victim).lstrip("/"), bad)
    bundle.mount("/swap/in", "tmpfs", "rslave", kind="tmpfs")
    for number in range(5):
        bundle.mount(f"/swap/in{number}", "tmpfs", kind="tmpfs")
        bundle.mount(f"/swap/file{number}", "/dev/null", "rprivate", "ro")
    if users:
        os.chown(good, 100000, 100000)
    bundle.args("true").save()
    with exchanging(good, bad):
        for _ in range(12):
            result = pyrunc.run(bundle, code=None)
            assert result.code == 0 or "error mounting" in result.message, result
            assert os.listdir(victim) == ["file"]


@pytest.mark.parametrize("size", [65534, 65535, 65536, 65537, 131071])
def test_cve_2021_43784_lengths_that_wrap_at_16_bits(pyrunc, bundle, users, size):
    """What a message's length counts modulo 2**16 would be read as the message after it."""
    bundle.process["env"].append("LONG=" + "x" * (size - 5))
    if users:
        rows = [
            {"containerID": number, "hostID": 100000 + number, "size": 1} for number in range(250)
        ]
        bundle.linux.update(uidMappings=rows, gidMappings=rows)
    result = pyrunc.run(bundle.sh("echo ${#LONG}"))
    assert result.stdout == f"{size - 5}\n"
    path = "/" + "n" * (size - 1)
    result = pyrunc.run(bundle.namespace("network", path), code=1)
    assert "file name too long" in result.message, result.message[-200:]


def test_cve_2022_29162_nothing_is_inheritable(pyrunc, bundle):
    seen = pyrunc.probe(bundle)
    assert {seen["CapInh"], seen["CapAmb"]} == {"0" * 16}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    script = "grep -E 'CapInh|CapAmb' /proc/self/status"
    result = pyrunc("exec", "--cap", "CAP_SYS_ADMIN", "-u", "1000", name, "sh", "-c", script)
    assert result.stdout.split() == ["CapInh:", "0" * 16, "CapAmb:", "0" * 16]


def test_cve_2023_25809_the_hosts_cgroups_without_a_cgroup_namespace(pyrunc, bundle):
    bundle.namespace("user").namespace("cgroup", False)
    bundle.linux.update(uidMappings=maps(), gidMappings=maps())
    open_up(bundle.path)
    own(bundle.rootfs)
    bundle.mount("/sys/fs/cgroup", "cgroup", "ro", "nosuid", kind="cgroup")
    script = (
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do "
        "mkdir $d/cve && echo made; echo 1 >$d/cgroup.procs && echo moved; done; true"
    )
    result = pyrunc.run(bundle.sh(script))
    assert result.stdout == ""


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("below", ["", "/self/attr", "/sys/net", "/1"])
def test_cve_2023_27561_a_symlink_leads_a_mount_onto_proc(pyrunc, bundle, tmp_path, kind, below):
    os.symlink("proc" + below, f"{bundle.rootfs}/link")
    (tmp_path / "fake").mkdir()
    bundle.mount("/link", tmp_path / "fake" if kind == "bind" else "tmpfs", kind=kind)
    message = pyrunc.run(bundle.sh("grep proc /proc/mounts"), code=1).message
    assert "inside /proc" in message


def test_cve_2023_28642_labels_for_a_proc_of_the_image(pyrunc, bundle):
    os.rmdir(f"{bundle.rootfs}/proc")
    os.symlink("tmp/fake", f"{bundle.rootfs}/proc")
    for name in ("self", "thread-self", "1"):
        for path in ("attr/exec", "attr/apparmor/exec"):
            bundle.write(f"/tmp/fake/{name}/{path}", "")
    assert "mounted on ordinary directory" in pyrunc.run(bundle, code=1).message
    # and where nothing is mounted on /proc at all, writes do not go where the link leads
    bundle.config["mounts"] = [row for row in bundle.mounts if row["destination"] != "/proc"]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.write("/tmp/fake/sys/net/ipv4/ip_forward", "0")
    bundle.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    pyrunc.run(bundle.args("true"), code=None)
    del bundle.process["selinuxLabel"]
    pyrunc.run(bundle.args("true"), code=None)
    for directory, _, names in os.walk(f"{bundle.rootfs}/tmp/fake"):
        for name in names:
            assert read(f"{directory}/{name}") in ("", "0")


@pytest.mark.parametrize("fd", [3, 5, 6, 7, 8, 9, 10])
def test_cve_2024_21626_through_a_leaked_descriptor(pyrunc, bundle, fd):
    """As the working directory, through a symlink of the image, and as the program."""
    os.symlink(f"/proc/self/fd/{fd}", f"{bundle.rootfs}/link")
    name = pyrunc.up(bundle.args("sleep", "1000"))
    way_out = f"/proc/self/fd/{fd}/../../../../../../../../usr/bin/env"
    commands = [
        ("exec", "--cwd", f"/proc/self/fd/{fd}", name, "ls"),
        ("exec", "--cwd", "/link", name, "ls"),
        ("exec", name, way_out),
        ("exec", name, f"/link/{os.path.relpath('/usr/bin/env', '/sys/fs')}"),
    ]
    for cwd, program in (("/link", "ls"), (f"/proc/self/fd/{fd}", "ls"), ("/", way_out)):
        bundle.process["cwd"] = cwd
        bundle.args(program).save()
        path = f"{bundle.path}/{len(commands)}"
        os.makedirs(path)
        os.rename(f"{bundle.path}/config.json", f"{path}/config.json")
        os.symlink(bundle.rootfs, f"{path}/rootfs")
        commands.append(("run", "--bundle", path, pyrunc.id()))
    for command in commands:
        # the caller leaks one as well
        argv = ["bash", "-c", f'exec {fd}</usr; exec "$@"', "-", *pyrunc.argv(*command)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode in (1, 255), (command, done)
        assert done.stdout == "", (command, done)


def test_cve_2024_45310_files_are_made_where_a_symlink_leads(pyrunc, bundle, victim):
    good, bad = f"{bundle.rootfs}/a/b", f"{bundle.rootfs}/a/c"
    os.makedirs(good)
    os.symlink("../" * 14 + str(victim).lstrip("/"), bad)
    for number in range(8):
        bundle.mount(f"/a/b/d{number}/e/file", "/dev/null", "ro")
        bundle.mount(f"/a/b/made{number}", "tmpfs", kind="tmpfs")
    bundle.args("true").save()
    with exchanging(good, bad):
        for _ in range(12):
            result = pyrunc.run(bundle, code=None)
            assert result.code == 0 or "error mounting" in result.message, result
            assert os.listdir(victim) == ["file"]


@pytest.mark.parametrize("target", ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "{}"])
def test_cve_2025_31133_dev_null_is_a_symlink(pyrunc, bundle, victim, target):
    dev = own_dev(bundle)
    os.symlink(target.format(victim / "file"), f"{dev}/null")
    bundle.write("/masked", "x")
    bundle.linux["maskedPaths"] = ["/masked", "/proc/kcore"]
    result = pyrunc.run(bundle.args("cat", "/masked"), code=None)
    assert result.code == 1 and "/dev/null" in result.message, result


def test_cve_2025_31133_dev_null_changes_places(pyrunc, bundle, victim):
    dev = own_dev(bundle)
    os.mknod(f"{dev}/null", 0o20666, os.makedev(1, 3))
    bundle.write("/secret", "secret")
    os.symlink("/secret", f"{dev}/llun")
    bundle.write("/masked", "x")
    bundle.linux["maskedPaths"] = ["/masked"]
    bundle.args("cat", "/masked").save()
    with exchanging(f"{dev}/null", f"{dev}/llun"):
        for _ in range(12):
            result = pyrunc.run(bundle, code=None)
            assert result.stdout == "", result
            assert result.code == 0 or "/dev/null" in result.message, result


@pytest.mark.parametrize("other", ["symlink", "devpts"])
def test_cve_2025_52565_dev_console_changes_places(pyrunc, bundle, victim, listener, other):
    dev = own_dev(bundle)
    os.mknod(f"{dev}/null", 0o20666, os.makedev(1, 3))
    bundle.process["terminal"] = True
    bundle.write("/dev/console", "")
    target = "/proc/sys/kernel/core_pattern" if other == "symlink" else "pts/ptmx"
    os.symlink(target, f"{dev}/elosnoc")
    bundle.args("true").save()
    with exchanging(f"{dev}/console", f"{dev}/elosnoc"):
        for _ in range(8):
            name = pyrunc.id()
            argv = ["create", "--bundle", bundle.path]
            result = pyrunc(*argv, "--console-socket", listener.getsockname(), name, code=None)
            if result.code:
                assert "/dev/console" in result.message
                listener.accept()[0].close()
                continue
            for fd in receive(listener)[1]:
                os.close(fd)
            mounts = read(f"/proc/{pyrunc.pid(name)}/mounts").splitlines()
            places = {line.split()[1] for line in mounts if line.startswith("devpts ")}
            assert places <= {"/dev/pts", "/dev/console", "/dev/elosnoc"}, mounts
            pyrunc("delete", "--force", name)


def test_cve_2025_52881_sysctls_go_to_the_kernel(pyrunc, bundle):
    """Neither what the image has at /proc nor what is mounted there takes the write."""
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}
    os.makedirs(f"{bundle.rootfs}/corp/sys/net/ipv4")
    bundle.write("/corp/sys/net/ipv4/ip_forward", "0")
    bundle.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").save()
    core = read("/proc/sys/kernel/msgmax")
    with exchanging(f"{bundle.rootfs}/proc", f"{bundle.rootfs}/corp"):
        for _ in range(20):
            pyrunc.run(bundle, code=None)
    assert read(f"{bundle.rootfs}/corp/sys/net/ipv4/ip_forward") == "0"
    assert read("/proc/sys/kernel/msgmax") == core
    assert pyrunc.run(bundle).stdout.split() == ["1", "9000"]


def test_cve_2026_41579_dev_changes_places_with_a_symlink(pyrunc, bundle, victim):
    dev = own_dev(bundle)
    os.symlink("../" * 12 + str(victim).lstrip("/"), f"{bundle.rootfs}/ved")
    bundle.linux["devices"] = [
        {"path": f"/dev/own{number}", "type": "c", "major": 1, "minor": 7} for number in range(5)
    ]
    bundle.args("true").save()
    with exchanging(dev, f"{bundle.rootfs}/ved"):
        for _ in range(12):
            pyrunc.run(bundle, code=None)
            assert os.listdir(victim) == ["file"]


def test_cve_2026_41579_mqueue_and_shm_through_symlinks(pyrunc, bundle, victim):
    own_dev(bundle)
    for name in ("mqueue", "shm", "pts"):
        os.rmdir(f"{bundle.rootfs}/dev/{name}")
        os.symlink(victim, f"{bundle.rootfs}/dev/{name}")
    pyrunc.run(bundle.args("true"), code=None)


@pytest.mark.parametrize("kind", ["endless", "device", "one line", "directory", "loop"])
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_an_etc_passwd_or_group_that_is_none(pyrunc, bundle, name, kind):
    path = f"{bundle.rootfs}/etc/{name}"
    os.unlink(path)
    if kind == "endless":
        with open(path, "w") as file:
            os.truncate(file.fileno(), 1 << 30)
            file.write("root:x:0:0::/evil")
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 5))
    elif kind == "one line":
        bundle.write(f"/etc/{name}", "root:x:0:0:" + ":" * 100000 + "/evil")
    elif kind == "directory":
        os.mkdir(path)
    else:
        os.symlink(name, path)
    bundle.process["user"] = {"uid": 5, "gid": 5, "additionalGids": [7]}
    assert pyrunc.run(bundle.sh("echo $HOME"), timeout=30).stdout == "/\n"

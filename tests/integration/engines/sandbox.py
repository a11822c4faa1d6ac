"""A machine inside the machine: where an engine runs as its users run it, and leaves nothing.

Sandbox    mounts, processes and a network of its own: what an engine keeps in /etc, /run and
           /var/lib is private, its daemons die with it; /usr/local/bin/pyrunc is the command
settings   the files that README.md, or another document, tells a user of an engine to write
image      an archive that every engine loads, of a directory
"""

import fcntl
import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tarfile
import termios
import time

from harness import Result, alive, read, wait_for

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
README = f"{TOP}/README.md"
KUBERNETES = f"{TOP}/docs/kubernetes.md"
IMAGE = "localhost/box:latest"
BINARY = "/usr/local/bin/pyrunc"
REFERENCE = "/usr/sbin/runc"  # Debian's
NS_GET_PARENT = 0xB702
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# $1: an empty directory, $2: the command.  The tmpfs is where overlay and its users may write.
SETUP = """
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs "$1"
for dir in /etc /opt /usr/local /var/lib; do
    mkdir -p "$1/upper$dir" "$1/work$dir"
    mount -t overlay -o "lowerdir=$dir,upperdir=$1/upper$dir,workdir=$1/work$dir" overlay $dir
done
for dir in /var/lib/containerd /var/lib/docker /var/lib/containers; do
    rm -rf $dir
    mkdir -p $dir "$1$dir"
    mount --bind "$1$dir" $dir
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /usr/local/bin
ln -sf "$2" /usr/local/bin/pyrunc
rm -f /usr/local/bin/docker
mount --make-rshared /
echo ready
exec tini -- sleep infinity
"""


def need(*programs):
    """The reason to skip, when a program is missing."""
    missing = [name for name in programs if shutil.which(name) is None]
    return f"not installed: {' '.join(missing)} (scripts/packages.sh test)" if missing else ""


def settings(document=README):
    """{file: content} of the settings that the sections on engines show."""
    pattern = r"\bIn `(/etc/[^`]+)`[^\n]*\n(?:[^\n]+\n)*\n((?:    .*\n|\n)+)"
    found = re.findall(pattern, read(document))
    return {path: re.sub(r"^    ", "", block, flags=re.M).strip() + "\n" for path, block in found}


def child(process):
    """The pid of the one child that `unshare` and `nsenter` wait for."""
    return int(read(f"/proc/{process.pid}/task/{process.pid}/children"))


def pid_namespaces(pid):
    """The inodes of the namespaces that have a pid for a process: its own, its parent's, ..."""
    found = []
    fd = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
    try:
        while True:
            found.append(os.fstat(fd).st_ino)
            try:
                parent = fcntl.ioctl(fd, NS_GET_PARENT)
            except PermissionError:  # we are not in it
                return found
            os.close(fd)
            fd = parent
    finally:
        os.close(fd)


class Sandbox:
    """Started by its name, ended by stop(), which says what was left."""

    __slots__ = ("_count", "_daemons", "_unshare", "directory", "pid")

    def __init__(self, directory, command):
        self.directory = str(directory)
        self._count = 0
        self._daemons = []
        private = f"{self.directory}/private"
        os.mkdir(private)
        flags = ["--mount", "--propagation=private", "--mount-proc", "--net", "--pid", "--fork"]
        with open(f"{self.directory}/setup.log", "wb") as log:
            self._unshare = subprocess.Popen(
                ["unshare", *flags, "--kill-child", "sh", "-ec", SETUP, "sh", private, command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        unshare = self._unshare
        try:
            wait_for(
                lambda: unshare.poll() is not None or "ready" in read(log.name), what="sandbox"
            )
            assert unshare.poll() is None, read(log.name)
        except AssertionError:
            unshare.kill()
            unshare.wait()
            raise
        self.pid = child(unshare)

    def argv(self, *args):
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", *map(str, args)]

    def __call__(self, *args, code=0, stdin=None, timeout=60, **options):
        """Run a program to its end.  code: the exit status that the test expects (None: any)."""
        # Files, not pipes: what outlives the call would hold a pipe open.
        self._count += 1
        out, err = (f"{self.directory}/{self._count}.{name}" for name in ("out", "err"))
        source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.encode()}
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            done = subprocess.run(
                self.argv(*args),
                stdout=stdout,
                stderr=stderr,
                timeout=timeout,
                check=False,
                **source,
                **options,
            )
        result = Result(done.returncode, read(out), read(err))
        os.unlink(out)
        os.unlink(err)
        assert code is None or result.code == code, f"{args}: {result}"
        return result

    def terminal(self, *args, keys="", after="", code=0, timeout=30, rows=24, columns=80):
        """Run a program on a terminal of its own; returns what the terminal shows.

        keys: what is typed, once the terminal shows `after`.
        """
        master, slave = os.openpty()
        termios.tcsetwinsize(slave, (rows, columns))

        def own():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            self.argv(*args),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=own,  # noqa: PLW1509
        )
        os.close(slave)
        os.set_blocking(master, False)
        shown = b""
        deadline = time.monotonic() + timeout
        try:
            while True:
                if keys and after.encode() in shown:
                    os.write(master, keys.encode())
                    keys = ""
                ended = process.poll() is not None
                try:
                    shown += os.read(master, 65536)
                    continue
                except BlockingIOError:
                    pass
                except OSError:  # EIO: nobody has the terminal any more
                    break
                if ended:
                    break
                assert time.monotonic() < deadline, f"{args}: no end; shows {shown!r}"
                time.sleep(0.01)
            done = process.wait(timeout)
        finally:
            process.kill()
            process.wait()
            os.close(master)
        assert code is None or done == code, f"{args}: exit {done}; shows {shown!r}"
        return shown.decode(errors="replace")

    def daemon(self, *args):
        """Start a program that stays; its output is in a file named after it."""
        name = os.path.basename(args[0])
        with open(f"{self.directory}/{name}.log", "ab") as log:
            process = subprocess.Popen(
                self.argv(*args), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._daemons.append(process)
        return process

    def end(self, process):
        """End a daemon as a service manager would."""
        if process.poll() is None:
            os.kill(child(process), signal.SIGTERM)
        process.wait(20)
        self._daemons.remove(process)

    def restart(self, name):
        """End a daemon, unless it has ended, and start it again."""
        (old,) = [process for process in self._daemons if name in process.args]
        self.end(old)
        self.daemon(*old.args[len(self.argv()) :])

    def log(self, name):
        return read(f"{self.directory}/{name}.log")

    def write(self, path, content):
        """A file as the sandbox sees it."""
        self("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat > "$0"', path, stdin=content)

    def read(self, path):
        """The content of a file of the sandbox; empty if there is none."""
        try:
            return read(f"/proc/{self.pid}/root{path}")
        except FileNotFoundError:
            return ""

    def names(self, directory):
        """What is in a directory of the sandbox."""
        try:
            return sorted(os.listdir(f"/proc/{self.pid}/root{directory}"))
        except FileNotFoundError:
            return []

    def processes(self):
        """{pid: command line} of everything alive in here but what waits for the end."""
        ours = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if ours in pid_namespaces(pid):
                    found[int(pid)] = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
            except OSError:
                continue
        return {
            pid: line
            for pid, line in found.items()
            if alive(pid) and line not in ("sleep infinity", "tini -- sleep infinity")
        }

    def mounts(self):
        return [line.split()[4] for line in read(f"/proc/{self.pid}/mountinfo").splitlines()]

    def stop(self):
        """End the daemons as a service manager would, then everything."""
        try:
            for process in reversed(self._daemons):
                os.kill(child(process), signal.SIGTERM)
            for process in self._daemons:
                process.wait(20)
            wait_for(lambda: not self.processes(), 5, f"end of {self.processes()}")
        finally:
            self._unshare.kill()
            self._unshare.wait()


def image(path, name, rootfs, **settings):
    """Write a docker-archive of one layer: the directory `rootfs`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(rootfs, arcname=".")
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], **settings},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "tests"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for member, content in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return str(path)

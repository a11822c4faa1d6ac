"""The runtime as its callers see it: argv in, exit code, output and host state out.

Runtime    the command with a --root of its own; calling it runs one verb
Bundle     a bundle directory: `config` is edited in place and saved when it is used
wait_for   polls a condition of the host that no descriptor tells
"""

import array
import ast
import copy
import json
import os
import socket
import subprocess
import time

APPLETS = (
    "[ awk basename cat chmod chown cut date dd df dirname du echo env expr false find grep head "
    "hostname id ip kill ln ls mkdir mkfifo mknod mount mv nc nproc nslookup od printf ps pwd "
    "readlink rm rmdir sed seq sh sleep sort stat sync tail tee test timeout top touch tr true "
    "umount uname uniq wc whoami xargs"
).split()

# How many times longer than on an idle machine things may take.
PATIENCE = float(os.environ.get("PATIENCE", "1"))


def wait_for(condition, timeout=10.0, what="condition"):
    """The first true value of condition(), asked every few milliseconds."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            text = what() if callable(what) else what  # told late, a text has what came meanwhile
            raise AssertionError(f"no {text} within {timeout} s")
        time.sleep(0.005)


def read(path):
    with open(path, errors="surrogateescape") as file:
        return file.read()


def host_mounts():
    """Every mount of the host, but for those that others make for themselves in /tmp meanwhile."""
    rows = read("/proc/self/mountinfo").splitlines()
    return [row for row in rows if "/pytest-" in row or not row.split()[4].startswith("/tmp/")]


def alive(pid):
    """Whether a process exists and is not a zombie: init of the host may reap late."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Result:
    """How one call of the command ended."""

    __slots__ = ("code", "stderr", "stdout")

    def __init__(self, code, stdout, stderr):
        self.code = code
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self):
        return f"Result(code={self.code}, stdout={self.stdout!r}, stderr={self.stderr!r})"

    @property
    def message(self):
        """The error without the log's `time=... level=error msg=` around it."""
        text = self.stderr.strip().rpartition("\n")[2]
        _, found, message = text.partition(" msg=")
        if not found:
            return text
        # Go quotes as Python does
        return ast.literal_eval(message) if message.startswith('"') else message


class Bundle:
    """A bundle directory.  Change `config`, then use it: create and run save it first."""

    __slots__ = ("config", "path", "rootfs")

    def __init__(self, path, config, busybox, probe):
        self.path = str(path)
        self.rootfs = f"{self.path}/rootfs"
        self.config = copy.deepcopy(config)
        for directory in ("bin", "etc", "tmp", "root", "proc", "dev", "sys"):
            os.makedirs(f"{self.rootfs}/{directory}")
        os.chmod(f"{self.rootfs}/tmp", 0o1777)
        os.link(busybox, f"{self.rootfs}/bin/busybox")
        os.link(probe, f"{self.rootfs}/bin/probe")
        for name in APPLETS:
            os.symlink("busybox", f"{self.rootfs}/bin/{name}")
        with open(f"{self.rootfs}/etc/passwd", "w") as file:
            file.write("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        with open(f"{self.rootfs}/etc/group", "w") as file:
            file.write("root:x:0:\nuser:x:1000:\n")
        config = self.config
        config["process"].update(terminal=False, args=["probe"])
        config["root"].update(path="rootfs", readonly=False)

    @property
    def process(self):
        return self.config["process"]

    @property
    def linux(self):
        return self.config["linux"]

    @property
    def mounts(self):
        return self.config["mounts"]

    def args(self, *args):
        self.process["args"] = list(args)
        return self

    def sh(self, script):
        return self.args("sh", "-c", script)

    def mount(self, destination, source, *options, kind="bind"):
        """Append a mount; a bind unless `kind` says otherwise."""
        if kind == "bind" and not {"bind", "rbind"} & set(options):
            options = ("bind", *options)
        self.mounts.append(
            {
                "destination": destination,
                "source": str(source),
                "type": kind,
                "options": list(options),
            }
        )
        return self

    def namespace(self, kind, path=None):
        """Use a new namespace, or the one at `path`; `path=False` means the host's."""
        rows = [row for row in self.linux["namespaces"] if row["type"] != kind]
        if path is not False:
            rows.append({"type": kind, **({"path": str(path)} if path else {})})
        self.linux["namespaces"] = rows
        return self

    def write(self, path, content, mode=0o644):
        """A file in the root filesystem; returns its path on the host."""
        full = f"{self.rootfs}/{path.lstrip('/')}"
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(content)
        os.chmod(full, mode)
        return full

    def save(self):
        with open(f"{self.path}/config.json", "w") as file:
            json.dump(self.config, file, indent=1)
        return self.path


class Runtime:
    """The command under test.  Ids that it hands out are deleted when the test ends."""

    __slots__ = ("_count", "command", "directory", "prefix", "root")

    def __init__(self, command, directory, prefix):
        self.command = command
        self.directory = str(directory)
        self.root = f"{self.directory}/state"
        self.prefix = prefix
        self._count = 0

    def id(self):
        self._count += 1
        return f"{self.prefix}{self._count}"

    def argv(self, *args):
        return [self.command, "--root", self.root, *map(str, args)]

    def popen(self, *args, **options):
        return subprocess.Popen(self.argv(*args), **options)

    def __call__(self, *args, code=0, stdin=None, timeout=60, **options):
        """Run one verb.  code: the exit status that the test expects (None: any)."""
        # Files, not pipes: a container that outlives the call would hold a pipe open.
        out, err = f"{self.directory}/stdout", f"{self.directory}/stderr"
        for path in (out, err):
            if os.path.exists(path):
                os.unlink(path)
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
        assert code is None or result.code == code, f"{args}: {result}"
        return result

    def create(self, bundle, *options, code=0, **run):
        """`create`; returns the id (or the Result of a create that must fail)."""
        name = self.id()
        result = self("create", "--bundle", bundle.save(), *options, name, code=code, **run)
        return name if code == 0 else result

    def up(self, bundle, *options, **run):
        """`create` and `start`; returns the id."""
        name = self.create(bundle, *options, **run)
        self("start", name)
        return name

    def run(self, bundle, *options, code=0, **run):
        """`run` in the foreground; returns the Result."""
        return self("run", "--bundle", bundle.save(), *options, self.id(), code=code, **run)

    def probe(self, bundle, *options, **run):
        """What the container sees (probe.c), with mounts decoded."""
        bundle.args("probe")
        seen = json.loads(self.run(bundle, *options, **run).stdout)
        seen["mounts"] = {}
        for line in seen["mountinfo"]:
            fields, _, rest = line.partition(" - ")
            left, right = fields.split(), rest.split()
            seen["mounts"][left[4]] = {
                "root": left[3],
                "options": left[5].split(","),
                "propagation": left[6:],
                "type": right[0],
                "source": right[1],
                "super": right[2].split(","),
            }
        return seen

    def state(self, name):
        return json.loads(self("state", name).stdout)

    def status(self, name):
        return self.state(name)["status"]

    def pid(self, name):
        return self.state(name)["pid"]

    def record(self, name):
        return json.loads(read(f"{self.root}/{name}/state.json"))

    def output(self):
        """What the last call's process, or a container it left behind, wrote to stdout."""
        return read(f"{self.directory}/stdout")

    def stopped(self, name):
        """Wait until the container has stopped."""
        return wait_for(lambda: self.status(name) == "stopped", what="stopped container")

    def names(self):
        try:
            return sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []


def cgroup_dirs(prefix):
    """Every cgroup directory of the host whose name starts with `prefix`."""
    found = []
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(directory, name) for name in names if name.startswith(prefix)]
    return found


def processes_in(prefix):
    """Living processes in a cgroup whose name starts with `prefix`, or still waiting as init."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"/{prefix}" in read(f"/proc/{pid}/cgroup") and alive(pid):
                found.append(int(pid))
        except OSError:
            continue
    return found


def listening(child):
    """Wait until `events` has begun to listen."""

    def opened():
        folder = f"/proc/{child.pid}/fd"
        try:
            links = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
        except FileNotFoundError:  # closed meanwhile
            return False
        return any("eventfd" in link or link.endswith(".events") for link in links)

    wait_for(opened, what="listener")


def receive(listener):
    """(data, descriptors) of the one message that a console socket gets."""
    connection = listener.accept()[0]
    with connection:
        space = socket.CMSG_SPACE(4 * 16)
        data, control, flags, _ = connection.recvmsg(4096, space)
        assert not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)
        fds = array.array("i")
        for level, kind, body in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(body)
        assert connection.recv(1) == b"", "there is more than one message"
    return data, list(fds)

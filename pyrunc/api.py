"""pyrunc for Python programs: what `import pyrunc` offers, on the functions of the commands.

Nothing here prints, exits, or changes directory, signals or environment of the calling process.
docs/python.md is its manual.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from signal import Signals
from types import TracebackType
from typing import Any, Literal, TypedDict, Unpack, cast

from pyrunc import child, cli, commands, container, guest
from pyrunc.child import Process, Stdio, Stream
from pyrunc.documents import Event, State, Stats
from pyrunc.errors import Error, Timeout

Path = str | os.PathLike[str]


class Streams(TypedDict, total=False):
    """Descriptors 0 to 2 of a process, as for subprocess.Popen; None, the default, passes ours on.

    console_socket: the path of a listening unix socket that gets the master of the terminal.
    """

    stdin: Stream
    stdout: Stream
    stderr: Stream
    console_socket: Path


class Making(Streams, total=False):
    """The further arguments of create() and run().

    config: the configuration, if it is not the bundle's config.json.
    rootless: whether the kernel may refuse us cgroups; None, the default: found out.
    """

    root: Path | None
    config: Path
    cgroup_manager: Literal["cgroupfs", "systemd", "disabled"]
    rootless: bool | None
    no_pivot: bool
    no_new_keyring: bool


def create(id: str, bundle: Path = "", **making: Unpack[Making]) -> "Container":
    """Make the container of a bundle (default: the working directory); its program does not run."""
    return _launch(id, bundle, making, start=False)


def run(id: str, bundle: Path = "", **making: Unpack[Making]) -> "Container":
    """create() and start() in one; a container that cannot be started is removed again."""
    return _launch(id, bundle, making, start=True)


def containers(root: Path | None = None) -> "list[Container]":
    """All containers below a root."""
    with guest.looking():
        root = _root(root)
        try:
            names = sorted(os.listdir(root))
        except FileNotFoundError:
            return []
        made = [name for name in names if os.path.lexists(f"{root}/{name}/{container.STATE}")]
        return [Container(name, root) for name in made]


class Container:
    """A container by its name.  Only a call of its methods shows whether it exists.

    process: its first process, if create() or run() of this program made it, else None.
    As a context manager it is deleted at the end, even if it runs.
    """

    __slots__ = ("id", "process", "root")

    def __init__(self, id: str, root: Path | None = None) -> None:
        self.id = id
        self.root = _root(root)
        self.process: Process | None = None

    def __repr__(self) -> str:
        return f"<pyrunc.Container {self.id}>"

    def __enter__(self) -> "Container":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.delete(force=True)

    def start(self) -> None:
        """Let it run its program."""
        with guest.changing():
            container.start(self.root, self.id)

    def exec(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str | int = "",
        groups: Sequence[int] = (),
        capabilities: Sequence[str] = (),
        no_new_privileges: bool | None = None,
        terminal: bool = False,
        cgroup: Sequence[str] = (),
        **streams: Unpack[Streams],
    ) -> Process:
        """Run another process in it: the one of its bundle, changed by the arguments given here.

        env is added to the bundle's, capabilities likewise.  user: USER or USER:GROUP, as numbers
        or by the container's names.  groups: further supplementary groups.  cgroup: as --cgroup.
        """
        from pyrunc.enter import Entry

        _check_names(streams, Streams.__optional_keys__)
        if not isinstance(user, str | int):
            raise TypeError(f"user: a name or a number is wanted, not {user!r}")
        socket = _socket(streams)
        opts = _options("exec", self)
        opts["args"] += _words("args", args)
        opts |= {
            "env": [f"{name}={value}" for name, value in (env or {}).items()],
            "cwd": cwd,
            "user": str(user),
            "additional_gids": list(groups),
            "cap": _words("capabilities", capabilities),
            "no_new_privs": bool(no_new_privileges),
            "tty": terminal,
            "cgroup": _words("cgroup", cgroup),
            "console_socket": socket,
            "detach": bool(socket),
        }
        opts["given"] = set() if no_new_privileges is None else {"no-new-privs"}
        if not args:
            raise Error("args is empty: a program and its arguments are wanted")

        def enter() -> Process:
            entry = Entry(opts)
            with Stdio(streams, terminal and not socket) as stdio:
                try:
                    entry.stdio, entry.console = stdio.theirs, stdio.socket
                    entry.on_ready = stdio.ready
                    entry.look()
                    entry.start()
                    return Process(entry.init, stdio)
                finally:
                    entry.close()

        return guest.apart(enter, _end)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it has stopped.  Returns its exit status, 128 + N after signal N.

        The status is None if it is not known, which does not happen to a container that this
        program made.  Raises Timeout after `timeout` seconds.
        """
        from pyrunc import ending

        if self.process:
            return self.process.wait(timeout)
        found: list[int | None] = []
        with guest.looking():
            if ending.wait(self.root, [self.id], timeout, found.append):
                raise Timeout(f"container {self.id} has not stopped within {timeout:g} s")
        return found[0]

    def kill(self, signal: str | int | Signals = "TERM") -> None:
        """Send its first process a signal: "TERM", 15, signal.SIGTERM."""
        from pyrunc import processes

        with guest.looking():
            processes.signal(container.load(self.root, self.id), child.number(signal))

    def pause(self) -> None:
        """Stop all its processes."""
        from pyrunc import freezer

        with guest.changing():
            freezer.pause(self.root, self.id)

    def resume(self) -> None:
        """Let them go on."""
        from pyrunc import freezer

        with guest.looking():
            freezer.resume(self.root, self.id)

    def update(self, resources: Mapping[str, Any]) -> None:
        """Set the limits of a linux.resources object of the runtime specification: all or none."""
        from pyrunc import spec, update

        with guest.changing():
            wanted = spec.load_resources(json.dumps(resources).encode(), "resources")
            update.update(self.root, self.id, wanted, {})

    def delete(self, force: bool = False) -> None:
        """Remove it.  If it runs, `force` kills it first, and without `force` this is an error."""
        with guest.changing():
            container.delete(self.root, self.id, force)

    def state(self) -> State:
        """Its state document, as of this moment."""
        with guest.looking():
            record = container.load(self.root, self.id)
            return cast(State, container.state(self.root, record))

    def ps(self) -> list[int]:
        """The PIDs of its processes, as the host counts them."""
        from pyrunc import processes

        with guest.looking():
            return processes.pids(container.load(self.root, self.id))

    def stats(self, since: Stats | None = None) -> Stats:
        """What it uses now.  since: an earlier sample; cpu.percent is about the time in between."""
        from pyrunc import usage

        with guest.looking():
            (record,) = usage.find(self.root, [self.id])
            sample = usage.sample(self.root, record)
            if sample is None:
                raise Error(f"container with id {self.id} is not running")
            return cast(Stats, usage.compare(cast("dict[str, Any]", since or sample), sample))

    def events(self, interval: float = 5.0) -> Iterator[Event]:
        """A sample every `interval` seconds, and each kill for want of memory, until it stops."""
        from pyrunc import events

        with guest.looking():
            record = events.running(self.root, self.id)
            yield from cast("Iterator[Event]", events.watch(record, interval))


def _root(root: Path | None) -> str:
    with guest.looking():
        return os.path.abspath(root) if root else cli.default_root()


def _socket(streams: Streams) -> str:
    """The path of the console socket, also from within the bundle; "" if there is none."""
    path = os.fspath(streams.get("console_socket") or "")
    return path and os.path.abspath(path)


def _check_names(given: Streams, known: frozenset[str]) -> None:
    """Refuse a misspelt argument, as a type checker would."""
    unknown = given.keys() - known
    if unknown:
        raise TypeError(f"unexpected argument: {min(unknown)}")


def _words(name: str, given: Sequence[str]) -> list[str]:
    """The strings of a sequence; a single string is no sequence of its letters."""
    if isinstance(given, str) or not all(isinstance(word, str) for word in given):
        raise TypeError(f"{name}: a sequence of strings is wanted, not {given!r}")
    return list(given)


def _options(verb: str, of: Container) -> dict[str, Any]:
    """What the parser makes of a command line without flags."""
    opts: dict[str, Any] = {}
    for rows in (commands.GLOBALS, commands.load(verb).options):
        cli.flags([], rows, opts)
    return opts | {"root": of.root, "args": [of.id]}


def _launch(id: str, bundle: Path, making: Making, start: bool) -> Container:
    from pyrunc.launch import Launch

    _check_names(making, Making.__optional_keys__)
    made = Container(id, making.get("root"))
    socket = _socket(making)
    rootless = making.get("rootless")
    opts = _options("run", made) | {
        "bundle": os.fspath(bundle),
        "console_socket": socket,
        "detach": bool(socket),
        "environ": {},  # what a service manager tells us is not meant for the container
        "config": os.fspath(making.get("config", "")),
        "cgroup_manager": making.get("cgroup_manager", "cgroupfs"),
        "rootless": "auto" if rootless is None else str(bool(rootless)).lower(),
        "no_pivot": making.get("no_pivot", False),
        "no_new_keyring": making.get("no_new_keyring", False),
    }
    cli.check_choice(opts, "cgroup-manager", cli.MANAGERS)

    def make() -> Container:
        launch = Launch(opts)
        with Stdio(making, launch.terminal and not socket) as stdio:
            try:
                launch.stdio, launch.console = stdio.theirs, stdio.socket
                launch.set_up()
                stdio.ready()
                if start:
                    launch.start()
                made.process = Process(launch.init, stdio)
            finally:
                launch.close()
        return made

    return guest.apart(make, lambda made: made.delete(force=True))


def _end(process: Process) -> None:
    process.kill("KILL")
    process.wait()

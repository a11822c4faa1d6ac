"""An existing container: its record and lock, its observed status; start and delete it.

May touch: the directory <root>/<id>, the container's process (through a pidfd) and its cgroups.
OCI runtime-spec 1.3, runtime.md "State", "Lifecycle" and "Operations".

    <root>/<id>/state.json    the record, from "ready" to delete
                intent.json   the same before that: what to undo if its creator dies
                exec.fifo     here until `start`: init waits for a byte out of it

The status is observed every time, never stored.  The lock is flock(2) on the directory, so that it
ends with its holder: create, start, delete and update hold it exclusively, exec and pause share it;
commands that only look, kill and resume take none.
"""

import errno
import fcntl
import os
import select
import time

from pyrunc import cgroups, files, jsonio, procfs
from pyrunc.cgroups import fs
from pyrunc.commands import BEFORE_1_3, SPEC_VERSION
from pyrunc.errors import Error, NoContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STATE = "state.json"
INTENT = "intent.json"
FIFO = "exec.fifo"
# All that an unfinished `create` can leave; with anything else the directory is not one of ours.
LITTER = {STATE, INTENT, f".{STATE}", f".{INTENT}", FIFO, "notify", "criu-root", "criu-work"}
PLANS = ("exec-", ".exec-")  # names of replay.py's begin so; a killed `delete` can leave them, too
# Members of every record; a file without one of them is another program's, or incomplete.
RECORD: "dict[str, type]" = {"id": str, "config": dict, "cgroup_paths": dict}
RECORD |= {"init_process_pid": int, "init_process_start": int}
INIT_EXE = "/memfd:pyrunc-init"  # core.c names the sealed copy of init so
PATIENCE = 10.0  # seconds to wait for a lock


def check_id(id: str) -> None:
    """Refuse an id as runc does; one that passes is a harmless component of a path."""
    if not id:
        raise Error("container id cannot be empty")
    plain = all(char.isascii() and char.isalnum() or char in "_+-." for char in id)
    if not plain or id in (".", ".."):
        raise Error("invalid container ID format")


def directory(root: str, id: str) -> str:
    """The container's directory, where everything about it is.  Checks the id."""
    check_id(id)
    return f"{root}/{id}"


def claim(root: str, id: str) -> int:
    """Make the container's directory. Returns the exclusive lock on it (close it to unlock)."""
    path = directory(root, id)
    try:
        os.makedirs(root, 0o700, exist_ok=True)
    except OSError as err:
        raise Error.os("mkdir", err.filename or root, err) from err
    while True:
        try:
            os.mkdir(path, 0o711)
        except FileExistsError:
            raise Error("container with given ID already exists") from None
        except OSError as err:
            raise Error.os("mkdir", path, err) from err
        try:
            fd = _lock(path, id, fcntl.LOCK_EX)
            if fd is not None:  # None: a `delete` removed the empty directory between the two
                os.fchmod(fd, 0o711)  # whatever the umask
                return fd
        except BaseException:
            files.remove_tree(path)
            raise


def lock(root: str, id: str, shared: bool = False) -> int:
    """Lock an existing container's directory. Returns the descriptor that holds the lock."""
    fd = _lock(directory(root, id), id, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    if fd is None:
        raise NoContainer("container does not exist")
    return fd


def _lock(path: str, id: str, mode: int) -> "int | None":
    """Wait for the lock; None if there is no such directory (any more)."""
    deadline = time.monotonic() + PATIENCE
    while True:
        fd = files.lock_directory(path, mode)
        if fd is None or fd >= 0:
            return fd
        if time.monotonic() > deadline:
            raise Error(f"container {id} is busy: another command holds its lock")
        time.sleep(0.02)  # flock(2) has no timeout of its own


def load(root: str, id: str) -> "dict[str, Any]":
    """The record of a container; NoContainer if there is none, or if it is not one of ours."""
    path = f"{directory(root, id)}/{STATE}"
    try:
        data = files.read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NoContainer("container does not exist") from None
    except OSError as err:
        raise Error.os("open", path, err) from err
    record = _decode(data, id)
    if record is None:
        raise NoContainer(f"{path} is not the record of a container")
    return record


def _decode(data: bytes, id: str) -> "dict[str, Any] | None":
    try:
        record = jsonio.loads(data)
    except Error:
        return None
    if not isinstance(record, dict):
        return None
    whole = all(isinstance(record.get(key), kind) for key, kind in RECORD.items())
    return record if whole and record["id"] == id else None


def write_intent(root: str, id: str, record: "dict[str, Any]") -> None:
    """Write down what is about to be made, so that a later delete can undo it."""
    _write(f"{root}/{id}/{INTENT}", record)


def write_record(root: str, id: str, record: "dict[str, Any]") -> None:
    """Write the record; from here on the container exists."""
    _write(f"{root}/{id}/{STATE}", record)
    try:
        files.unlink(f"{root}/{id}/{INTENT}")
    except OSError:
        pass  # once there is a record, nobody reads it


def _write(path: str, record: "dict[str, Any]") -> None:
    try:
        files.replace(path, jsonio.dumps(record), 0o600)
    except OSError as err:
        raise Error.os("open", path, err) from err


def labels(record: "dict[str, Any]") -> "tuple[str, dict[str, str]]":
    """(bundle, annotations); the record has both in one list of `key=value`, as runc does."""
    found = dict(label.partition("=")[::2] for label in record["config"].get("labels") or [])
    return found.pop("bundle", ""), found


def hook_state(record: "dict[str, Any]", status: str, pid: int = 0) -> str:
    """The state document on the stdin of a hook.  pid 0: it has no pid."""
    bundle, annotations = labels(record)
    state = {"ociVersion": SPEC_VERSION, "id": record["id"], "status": status}
    state |= {"pid": pid, "bundle": bundle} if pid else {"bundle": bundle}
    state |= {"annotations": dict(sorted(annotations.items()))} if annotations else {}
    return jsonio.dumps(state)


def _hooks(record: "dict[str, Any]", kind: str) -> "list[dict[str, Any]]":
    return ((record.get("pyrunc") or {}).get("hooks") or {}).get(kind) or []


def status(root: str, record: "dict[str, Any]") -> str:
    """`paused`, `stopped`, `created` or `running`, as it is at this moment."""
    if fs.frozen(record.get("cgroup_paths") or {}):
        return "paused"
    return unpaused_status(root, record)


def unpaused_status(root: str, record: "dict[str, Any]") -> str:
    """The status without regard to a pause: `stopped`, `created` or `running`."""
    pid = record["init_process_pid"]
    if not procfs.alive(pid, record["init_process_start"]):
        return "stopped"
    if os.path.lexists(f"{root}/{record['id']}/{FIFO}"):
        # The fifo is unlinked a moment after its byte was read; init's own program is the proof.
        exe = procfs.exe(pid)
        if exe == "" or exe is not None and exe.startswith(INIT_EXE):
            return "created"
    return "running"


def state(root: str, record: "dict[str, Any]") -> "dict[str, Any]":
    """The state document that `state` and `list` print, its keys in their order."""
    now = status(root, record)
    bundle, annotations = labels(record)
    result = {
        "ociVersion": SPEC_VERSION,
        "id": record["id"],
        "pid": 0 if now == "stopped" else record["init_process_pid"],
        "status": now,
        "bundle": bundle,
        "rootfs": record["config"].get("rootfs", ""),
        "created": record["created"],
    }
    more = {"annotations": dict(sorted(annotations.items()))} if annotations else {}
    return {**result, **more, "owner": ""}


def start(root: str, id: str, before: "Callable[[], None] | None" = None) -> "dict[str, Any]":
    """Let a created container run its program, after a call of before(). Returns its record."""
    fd = lock(root, id)
    try:
        record = load(root, id)
        now = status(root, record)
        if now == "stopped":
            raise Error("cannot start a container that has stopped")
        if now == "paused":
            raise Error("cannot start a container in the paused state")
        if now != "created":
            raise Error("cannot start an already running container")
        if before:
            before()
        fifo = open_fifo(root, record)
        try:
            release(root, record, fifo)
            poststart(record)
        except Error:
            from pyrunc import processes

            processes.kill(record)
            destroy(root, record, force=True)
            raise
        return record
    finally:
        os.close(fd)


def open_fifo(root: str, record: "dict[str, Any]") -> int:
    """A descriptor for release(), by which init is told to go on.  This tells it nothing yet."""
    path = f"{root}/{record['id']}/{FIFO}"
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        if err.errno == errno.ENXIO:  # nobody has it open for reading
            raise Error("container process is already dead") from None
        raise Error.os("open exec fifo", path, err) from err


def release(root: str, record: "dict[str, Any]", fifo: int) -> None:
    """Send init the byte it waits for; if hooks depend on it, wait until it has exec'ed."""
    path = f"{root}/{record['id']}/{FIFO}"
    try:
        os.write(fifo, b"0")
        files.unlink(path)
        if _hooks(record, "startContainer") or _hooks(record, "poststart"):
            _wait_for_exec(fifo)
    except OSError as err:
        raise Error.os("write exec fifo", path, err) from err
    finally:
        os.close(fifo)


def _wait_for_exec(fifo: int) -> None:
    """Wait until init's exec closes its end of the fifo; what a failed init wrote is the Error."""
    poll = select.poll()
    poll.register(fifo, 0)
    poll.poll()
    reader = os.open(f"/proc/self/fd/{fifo}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        text = os.read(reader, 65536).decode("utf-8", "replace").strip()
        # Our own byte is still there: init was killed before it took it.
        raise Error("container process is already dead" if text == "0" else text)
    except BlockingIOError:
        pass  # our own end is open, and nothing was written
    finally:
        os.close(reader)


def poststart(record: "dict[str, Any]") -> None:
    """Run the poststart hooks.  After an Error (a warning before 1.3) the container has to go."""
    todo = _hooks(record, "poststart")
    if todo:
        from pyrunc import hooks

        run = hooks.try_all if record["config"]["version"].startswith(BEFORE_1_3) else hooks.run
        run("poststart", todo, hook_state(record, "running", record["init_process_pid"]))


def delete(root: str, id: str, force: bool = False) -> None:
    """Remove a container that has stopped or was never started; with `force` any container."""
    path = directory(root, id)
    if force:
        _stop_creation(path)
    fd = _lock(path, id, fcntl.LOCK_EX)
    try:
        try:
            record = load(root, id)
        except Error as err:
            if fd is not None and isinstance(err.__cause__, OSError):
                raise  # there is a record, which we need, but it cannot be read at the moment
            if fd is not None and (force or not os.path.lexists(f"{path}/{STATE}")):
                _undo(path)  # without a record, only what the intent names can be removed
            if force:
                return
            raise
        now = status(root, record)
        if now == "paused" and unpaused_status(root, record) == "stopped":
            fs.freeze(record.get("cgroup_paths") or {}, False)
        elif force or now == "created":
            from pyrunc import processes

            processes.kill(record)
        elif now != "stopped":
            raise Error(f"cannot delete container {id} that is not stopped: {now}")
        destroy(root, record, force)
    finally:
        if fd is not None:
            os.close(fd)


def destroy(root: str, record: "dict[str, Any]", force: bool = False) -> None:
    """Remove what `create` made, then run the poststop hooks.  The caller holds the lock."""
    from pyrunc import processes

    # Without a pid namespace of its own its children outlive it.
    kill_rest = force or not processes.private_pid(record)
    _remove(f"{root}/{record['id']}", record, kill_rest)
    poststop(record)


def _remove(path: str, record: "dict[str, Any]", kill_rest: bool) -> None:
    """Remove cgroups, resctrl groups, directory.  kill_rest: and processes left in the cgroups."""
    from pyrunc import processes

    paths = record.get("cgroup_paths") or {}
    try:
        if kill_rest and fs.pids(paths):
            processes.kill_all(paths, processes.KILL)
        cgroups.release((record.get("config") or {}).get("cgroups") or {}, paths)
    except Error as err:
        text = f"unable to destroy container: unable to remove container's cgroup: {err.message}"
        raise Error(text) from err
    if (record.get("pyrunc") or {}).get("rdt"):
        from pyrunc import rdt

        rdt.remove(record)
    remove_directory(path)


def remove_directory(path: str) -> None:
    """Remove a container's directory; the record goes first, so that no half container is left."""
    try:
        if os.path.lexists(f"{path}/criu-work"):  # a killed restore's, and mounts with it
            from pyrunc import mountpoints

            mountpoints.unbind_root(path)
        files.remove_tree(f"{path}/{STATE}")
        files.remove_tree(path)
    except OSError as err:
        why = Error.os("remove", err.filename or path, err).message
        raise Error(f"unable to destroy container: {why}") from err


def poststop(record: "dict[str, Any]") -> None:
    """Run the poststop hooks; a failing one is a warning and the others still run (spec 1.3)."""
    todo = _hooks(record, "poststop")
    if todo:
        from pyrunc import hooks

        hooks.try_all("poststop", todo, hook_state(record, "stopped"))


def _intent(path: str) -> "dict[str, Any] | None":
    try:
        return _decode(files.read_regular(f"{path}/{INTENT}"), os.path.basename(path))
    except FileNotFoundError:
        return None
    except OSError as err:
        raise Error.os("open", f"{path}/{INTENT}", err) from err


def _stop_creation(path: str) -> None:
    """End a `create` that is still at work, by killing its init: it then undoes what it did."""
    fd = files.lock_directory(path, fcntl.LOCK_EX)
    if fd == -1:
        intent = None if os.path.lexists(f"{path}/{STATE}") else _intent(path)
        paths = (intent or {}).get("cgroup_paths") or {}
        if fs.pids(paths):
            fs.kill_all(paths, 9)
    elif fd is not None:
        os.close(fd)


def _undo(path: str) -> None:
    """Remove what a killed `create` left behind.  The caller holds the lock.

    Engines let several runtimes share a root, so a directory with other files in it is left alone.
    """
    if any(not name.startswith(PLANS) for name in set(os.listdir(path)) - LITTER):
        return
    intent = _intent(path) or {}
    _remove(path, intent, kill_rest=True)
    poststop(intent)

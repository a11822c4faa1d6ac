"""User and time namespaces: checks, and what the host writes when init has made one.

May touch: /proc/PID of an init of ours; runs newuidmap and newgidmap where the kernel refuses us.
OCI runtime-spec 1.3, config-linux.md "User namespace mappings" and "Offset for Time Namespace";
user_namespaces(7), time_namespaces(7).
"""

import os

from pyrunc import files
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]
    Mappings = list[dict[str, int]]

MAX_MAPPINGS = 340  # lines, since Linux 4.15
MAX_ID = 0xFFFFFFFF
CLOCKS = ("monotonic", "boottime")
NANOSECONDS = 10**9


# --- checks ---


def check(linux: "Doc", path: str) -> None:
    """linux.uidMappings and gidMappings of a container with a user namespace.

    path: of the namespace to be joined; "" a new one.
    """
    given = [name for name in ("uidMappings", "gidMappings") if linux.get(name)]
    if not path and len(given) < 2:
        if not given:
            raise Error("user namespaces enabled, but no namespace path nor mappings specified")
        other = "gidMappings" if given[0] == "uidMappings" else "uidMappings"
        raise Error(f"user namespaces enabled, but linux.{other} is missing")
    for name in given:
        check_mappings(f"linux.{name}", linux[name])
        if host_id(linux[name], 0) is None:
            raise Error(f"linux.{name} has no mapping for the container's root (ID 0)")


def check_mappings(name: str, mappings: "Mappings") -> None:
    """Refuse mappings for which the kernel would have only EINVAL.  name: for messages."""
    if len(mappings) > MAX_MAPPINGS:
        raise Error(f"{name} has more than {MAX_MAPPINGS} entries")
    # It has to be written at once, and less than a page (user_namespaces(7)).
    if len(text(mappings)) >= os.sysconf("SC_PAGESIZE"):
        raise Error(f"{name} is more than the kernel takes: {len(text(mappings))} bytes")
    for side in ("containerID", "hostID"):
        end = -1
        for entry in sorted(mappings, key=lambda entry: entry[side]):
            first, size = entry[side], entry["size"]
            if not size:
                raise Error(f"{name}: size must not be zero")
            if first + size - 1 >= MAX_ID:
                raise Error(f"{name}: {side} {first} with size {size} is out of range")
            if first <= end:
                raise Error(f"{name}: {side} {first} is mapped twice")
            end = first + size - 1


def check_offsets(offsets: "Doc", path: str) -> None:
    """linux.timeOffsets of a container with a time namespace.  path: as in check()."""
    if path and offsets:
        raise Error("time namespace enabled, but both namespace path and time offsets specified")
    for clock, offset in offsets.items():
        if clock not in CLOCKS:
            raise Error(f'linux.timeOffsets: there is no clock "{clock}"')
        if offset.get("nanosecs", 0) >= NANOSECONDS:
            raise Error(f"linux.timeOffsets.{clock}.nanosecs must be less than {NANOSECONDS}")


def check_mounts(linux: "Doc", mounts: "list[Doc]") -> None:
    """Refuse uid= and gid= options without a mapping, for which the kernel has only EINVAL."""
    for mount in mounts:
        for option in mount.get("options", ()):
            kind, _, id = option.partition("=")
            if kind not in ("uid", "gid") or not (id.isascii() and id.isdigit()):
                continue
            if host_id(linux.get(f"{kind}Mappings", []), int(id)) is None:
                raise Error(
                    f"cannot specify {option} mount option for rootless container: "
                    f"{kind} {id} has no mapping"
                )


def host_id(mappings: "Mappings", id: int) -> "int | None":
    """What an ID of the container is on the host; None if it has no mapping."""
    for entry in mappings:
        if 0 <= id - entry["containerID"] < entry["size"]:
            return id - entry["containerID"] + entry["hostID"]
    return None


# --- the host's part ---


def give_pipes(fds: "tuple[int, int, int]", record: "Doc") -> None:
    """Make the container's root the owner of our pipes, so that it may open them by name.

    fds: stdio of the process; -1: no pipe of ours.  record: the record's `config`.
    """
    owner = [
        next((row["host_id"] for row in record[name] if row["container_id"] == 0), -1)
        for name in ("uid_mappings", "gid_mappings")
    ]
    for fd in fds:
        if fd >= 0:
            os.fchown(fd, *owner)


def write(pid: int, linux: "Doc", new_user: bool, rootless: bool) -> None:
    """ID maps and time offsets of the namespaces that init has just made.

    new_user: there is a user namespace among them.
    """
    if new_user:
        gids = linux["gidMappings"]
        # A user who may map only their own ID must give up setgroups(2) first (user_namespaces(7)).
        if rootless and len(gids) == 1 and gids[0]["size"] == 1:
            _write(f"/proc/{pid}/setgroups", "deny")
        write_maps(pid, linux)
    offsets = linux.get("timeOffsets") or {}
    if offsets:
        rows = [
            f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
            for clock, offset in offsets.items()
        ]
        _write(f"/proc/{pid}/timens_offsets", "".join(rows))


def write_maps(pid: int, owner: "Doc") -> None:
    """The uidMappings and gidMappings of owner for the user namespace that process pid is in."""
    for kind in ("uid", "gid"):
        _map(pid, kind, owner.get(f"{kind}Mappings") or [])


def _map(pid: int, kind: str, mappings: "Mappings") -> None:
    rows = [[entry["containerID"], entry["hostID"], entry["size"]] for entry in mappings]
    path = f"/proc/{pid}/{kind}_map"
    try:
        files.write(path, text(mappings))
    except PermissionError:
        tool = f"new{kind}map"
        status = _run(tool, [str(pid), *[str(number) for row in rows for number in row]])
        if status:
            why = f"failed to use {tool}: exit status {status}"
            raise Error(f"unable to write {path}: {why}") from None
    except OSError as err:
        raise Error.os("write", path, err) from err


def text(mappings: "Mappings") -> str:
    """As /proc/PID/uid_map takes them; empty if there are none."""
    rows = (f"{row['containerID']} {row['hostID']} {row['size']}\n" for row in mappings)
    return "".join(rows)


def _write(path: str, text: str) -> None:
    try:
        files.write(path, text)
    except OSError as err:
        raise Error.os("write", path, err) from err


def _run(tool: str, args: "list[str]") -> int:
    """Run a program of our PATH; its output goes to our stderr.  Returns its exit status."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    try:
        pid = os.posix_spawnp(tool, [tool, *args], os.environ, file_actions=actions)
    except OSError as err:
        raise Error(f"unable to run {tool}: {reason(err)}") from err
    finally:
        os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def mappings_of(path: str) -> "tuple[Mappings, Mappings]":
    """(uid, gid) mappings of the user namespace that a process is in.  path: /proc/PID."""
    return _read(f"{path}/uid_map"), _read(f"{path}/gid_map")


def _read(path: str) -> "Mappings":
    found = []
    try:
        text = files.read(path).decode()
    except OSError as err:
        raise Error.os("open", path, err) from err
    for row in text.splitlines():
        first, host, size = (int(word) for word in row.split())
        found.append({"containerID": first, "hostID": host, "size": size})
    return found

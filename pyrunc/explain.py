"""Why init failed, as far as the host's /proc shows it: a clause after the sentence, or nothing.

May touch: reads files of /proc.  Imported after a failure, never before one.  What can only be seen
inside the container is looked at by init itself: why.h.
"""

import errno
import os

from pyrunc import files
from pyrunc._core import lib
from pyrunc.namespaces import FLAGS, NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.handshake import Init

NOBODY = 0xFFFFFFFF  # no map has it


def clause(init: "Init", op: int, step: int, number: int, value: int) -> str:
    """The cause of a failure that init reported, or "".

    op: the number of the op in init's plan.  step: STEP_*.  number: errno.  value: as plan.h says
    for the step.
    """
    name, args, _ = init.plan.ops[op] if op < len(init.plan.ops) else ("", (), "")
    if name == "mount" and step == lib.STEP_MOUNT and number == errno.ENODEV:
        return file_system(args[2])
    if step in (lib.STEP_UNSHARE, lib.STEP_CLONE):
        kinds = [kind for kind, flag in FLAGS.items() if args[0] & flag]
        return next(filter(None, (namespace(kind, number) for kind in kinds)), "")
    if step in (lib.STEP_SETUID, lib.STEP_SETGID) and number == errno.EINVAL:
        kind = "uid" if step == lib.STEP_SETUID else "gid"
        return mapped(f"/proc/{init.pid or init.first}/{kind}_map", value)
    return ""


def _read(path: str) -> str:
    try:
        return files.read_text(path)
    except OSError:
        return ""


def file_system(name: str) -> str:
    """Whether the kernel lacks this file system; mount(2) has tried to load its module."""
    known = [line.split()[-1] for line in _read("/proc/filesystems").splitlines()]
    return f"this kernel has no file system {name}" if known and name not in known else ""


def namespace(kind: str, number: int) -> str:
    """Why a new namespace of that kind cannot be made.  number: errno."""
    file = NAMES[kind][1]
    if number == errno.EINVAL and not os.path.lexists(f"/proc/self/ns/{file}"):
        return f"this kernel has no {kind} namespaces"
    if number == errno.ENOSPC:
        return _switched_off(f"user.max_{file}_namespaces")
    if number == errno.EPERM and kind == "user" and os.geteuid():
        return _switched_off("kernel.unprivileged_userns_clone")
    return ""


def _switched_off(sysctl: str) -> str:
    off = _read(f"/proc/sys/{sysctl.replace('.', '/')}") == "0"
    return f"the sysctl {sysctl} is 0" if off else ""


def mapped(path: str, id: int) -> str:
    """Which IDs a user namespace has, if `id` is not one of them.  path: its uid_map or gid_map."""
    ranges = []
    for line in _read(path).splitlines():
        first, _, count = map(int, line.split())
        if first <= id < first + count or id == NOBODY:
            return ""
        ranges.append(f"{first}" if count == 1 else f"{first} to {first + count - 1}")
    return f"it has {', '.join(ranges)}" if ranges else ""

"""What the front needs to do an exec again that worked: its plan, and all that this was made of.

May touch: the file exec-HASH in the container's directory.  front_exec.c says how it is laid out,
and when it is the answer to another exec.
"""

import os

from pyrunc import files, handshake
from pyrunc._core import ffi, lib
from pyrunc.namespaces import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREFIX = "exec-"
MOST = 8  # plans of one container
LARGEST = 1 << 20  # bytes that the front reads


def store(
    directory: str,
    source: "tuple[str, bytes]",
    words: "list[str] | None",
    index: "dict[Any, Any]",
    paths: "dict[str, str]",
    score: "int | None",
    plan: bytes,
) -> None:
    """Keep a plan in the container's directory, whose lock the caller holds.

    source: path and content of the file that the process is from.  words: those of the command line
    that were put over it, or None.  index: what the plan's descriptors are.  paths: the container's
    cgroups.  score: the OOM score.
    """
    lines = [f"n{NAMES[key[1]][1]}" for key in index if isinstance(key, tuple)]
    lines += [f"w{path}/tasks" for name, path in paths.items() if name and index["tasks"]]
    lines += [f"d{paths['']}"] if index["cgroups"] else []
    if len(lines) != sum(len(found) if isinstance(found, list) else 1 for found in index.values()):
        return  # it also has a descriptor of another kind
    lines += [] if score is None else [f"o{score}"]
    path, given = source
    config = b""
    try:
        if words is not None:
            lines.append(f"c{os.path.abspath(path)}")
            given, config = b"".join([os.fsencode(word) + b"\0" for word in words]), given
        parts = [given, config, b"".join([os.fsencode(line) + b"\0" for line in lines]), plan]
        head = [*_identity(handshake.INIT), *_identity(f"{directory}/state.json")]
        head += [len(part) for part in parts]
        data = b"".join([number.to_bytes(8, "little") for number in head] + parts)
        if len(data) > LARGEST:
            return
        name = f"{PREFIX}{lib.core_hash64(ffi.from_buffer(given), len(given)):016x}"
        kept = [entry for entry in os.listdir(directory) if entry.startswith(PREFIX)]
        if len(kept) >= MOST and name not in kept:
            files.unlink(f"{directory}/{kept[0]}")
        files.replace(f"{directory}/{name}", data, 0o600)
    except OSError:
        pass  # the next one is planned again


def _identity(path: str) -> "tuple[int, int]":
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns

"""All containers whose id contains a match of a POSIX extended regular expression.

May touch: reads the root directory.  crun's `kill --regex` and `delete --regex`.
"""

import os

from pyrunc._core import ffi, lib
from pyrunc.errors import Error, NoContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def each(root: str, pattern: str, act: "Callable[[str], None]") -> None:
    """Call act(id) for all of them, even if one fails; containers of other runtimes are left out.

    Raises one Error that names all that failed.
    """
    failures = []
    for name in _matches(root, pattern):
        try:
            act(name)
        except NoContainer:
            pass  # another runtime's, or gone since
        except Error as err:
            failures.append(f"{name}: {err.message}")
    if failures:
        raise Error("; ".join(failures))


def _matches(root: str, pattern: str) -> "list[str]":
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        names = []
    except OSError as err:
        raise Error.os("open", root, err) from err
    text = ffi.new("char[]", 256)
    found = []
    for name in ["", *names]:  # "": a malformed pattern is an error even without containers
        result = lib.core_matches(os.fsencode(pattern), os.fsencode(name), text, len(text))
        if result < 0:
            what = ffi.string(text).decode("utf-8", "replace")
            raise Error(f"invalid regular expression {pattern!r}: {what}")
        if result and name:
            found.append(name)
    return found

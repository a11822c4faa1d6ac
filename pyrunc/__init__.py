"""pyrunc, an OCI container runtime: its version, and the names of its API (docs/python.md).

Every command imports this, so the API is loaded by the first use of one of its names.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import DEVNULL, PIPE, STDOUT

    from pyrunc.api import Container, containers, create, run
    from pyrunc.child import Process
    from pyrunc.documents import Event, State, Stats
    from pyrunc.errors import Error, Timeout

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Container",
    "Error",
    "Event",
    "Process",
    "State",
    "Stats",
    "Timeout",
    "containers",
    "create",
    "run",
]

if not TYPE_CHECKING:  # a type checker knows the names above, and no others

    def __getattr__(name):
        if name in __all__:
            for home in ("pyrunc.api", "pyrunc.child"):
                module = __import__(home, fromlist=("pyrunc",))
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module 'pyrunc' has no attribute '{name}'")

    def __dir__():
        return [*globals(), *__all__]

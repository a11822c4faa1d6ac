"""The command table: what a verb's rows look like, which verbs exist, and the rows they share.

One file per verb holds `COMMAND` (its rows) and `run(opts)`.  cli.py parses argv by the rows,
help.py explains them.  Importing this package imports no verb.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# What `--version`, `state` and `features` claim to be: the runc whose command line this is, and the
# runtime-spec whose configuration is understood.
RUNC_VERSION = "1.5.1"
SPEC_VERSION = "1.3.0"
BEFORE_1_3 = ("1.0.", "1.1.", "1.2.")  # how an ociVersion of those begins


class Option:
    """One flag.  `--name`, `-name` and, when there is one, the letter `short` are the same flag.

    kind says what a value looks like and what lands in opts[key] (key: the name with `_`, unless
    another flag has that one; of two flags with one key the last one given counts):
      bool      one of means; takes no separate value          str   text
      int       a Go integer literal                           list  every text given, in order
      duration  seconds as a float, from `1m30s` and the like  ints  every integer given, in order
    metavar names the value in the help; completion knows PATH, FILE and DIR.  Words that the help
    has in double quotes are all the values that the flag takes.
    """

    __slots__ = ("default", "help", "hidden", "key", "kind", "means", "metavar", "name", "short")

    def __init__(
        self,
        name: str,
        short: str = "",
        kind: str = "bool",
        *,
        default: object = None,
        hidden: bool = False,
        metavar: str = "",
        help: str = "",
        key: str = "",
        means: "tuple[object, object]" = (False, True),
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.default = means[0] if kind == "bool" and default is None else default
        self.means = means
        self.hidden = hidden
        self.metavar = metavar
        self.help = help
        self.key = key or name.replace("-", "_")


class Command:
    """One verb.  nargs: (least, most) positionals, most None for no limit.

    prefix_only: flags end at the first positional (the rest is somebody else's command line).
    failure: the exit status of this verb's runtime errors; usage errors always exit 1.
    """

    __slots__ = ("args", "failure", "name", "nargs", "options", "prefix_only", "summary")

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        args: str = "<container-id>",
        nargs: "tuple[int, int | None]" = (1, 1),
        options: "tuple[Option, ...]" = (),
        prefix_only: bool = False,
        failure: int = 1,
    ) -> None:
        self.name = name
        self.summary = summary
        self.args = args
        self.nargs = nargs
        self.options = options
        self.prefix_only = prefix_only
        self.failure = failure


# Every verb, in the order help lists them: name -> (module in this package, summary).
VERBS = {
    "checkpoint": ("checkpoint", "checkpoint a running container"),
    "completion": ("completion", "print a completion script for a shell"),
    "create": ("create", "create a container"),
    "delete": (
        "delete",
        "delete any resources held by the container, often used with detached ones",
    ),
    "events": (
        "events",
        "display container events such as OOM notifications and resource usage statistics",
    ),
    "exec": ("exec", "execute new process inside the container"),
    "features": ("features", "show the enabled features"),
    "kill": ("kill", "send a signal (default: SIGTERM) to the container's init process"),
    "list": ("list", "list the containers started with the given root"),
    "mounts": ("mounts", "add mounts to a running container, or remove them"),
    "pause": ("pause", "suspend all processes inside the container"),
    "plan": ("plan", "print the steps that would create the container, and do nothing"),
    "ps": ("ps", "display the processes running inside a container"),
    "restore": ("restore", "restore a container from a previous checkpoint"),
    "resume": ("resume", "resume all processes that have been previously paused"),
    "run": ("run", "create and run a container"),
    "spec": ("spec", "create a new specification file"),
    "start": ("start", "execute the user defined process in a created container"),
    "state": ("state", "output the state of a container"),
    "stats": ("stats", "display what containers use, live"),
    "update": ("update", "update container resource constraints"),
    "wait": ("wait", "wait until containers have stopped, and print their exit statuses"),
}

# Flags that come before the verb.
GLOBALS = (
    Option("debug", help="enable debug logging", key="log_level", means=("info", "debug")),
    Option(
        "log-level",
        kind="str",
        default="info",
        metavar="LEVEL",
        help='log what is at least a "debug", "info" (the default), "warning" or "error"',
    ),
    Option(
        "log",
        kind="str",
        default="",
        metavar="PATH",
        help="set the log file (default: stderr); also file:PATH, journald:NAME or syslog:NAME",
    ),
    Option(
        "log-format",
        kind="str",
        default="text",
        metavar="FORMAT",
        help='set the log format: "text" or "json"',
    ),
    Option(
        "root",
        kind="str",
        default="",
        metavar="DIR",
        help="root directory for storage of container state (should be in tmpfs)",
    ),
    Option(
        "systemd-cgroup",
        help="use systemd for cgroups, not the cgroup file system",
        key="cgroup_manager",
        means=("cgroupfs", "systemd"),
    ),
    Option(
        "cgroup-manager",
        kind="str",
        default="cgroupfs",
        metavar="NAME",
        help='who makes cgroups: "cgroupfs" (the default), "systemd", or nobody: "disabled"',
    ),
    Option(
        "rootless",
        kind="str",
        default="auto",
        metavar="BOOL",
        help='ignore cgroup permission errors: "true", "false" or "auto"',
    ),
    Option("version", "v", help="print the version"),
)

# In every row set, the program's own included.
HELP = Option("help", "h", help="show help")

# What scripts for crun say instead of a flag above, and help does not mention.
ALIASES = {"V": "version", "?": "help", "usage": "help"}

# Rows several verbs share.
BUNDLE = Option(
    "bundle",
    "b",
    kind="str",
    default="",
    metavar="DIR",
    help="path to the root of the bundle directory (default: the current directory)",
)
CONFIG = Option(
    "config",
    "f",
    kind="str",
    default="",
    metavar="FILE",
    help="the configuration (default: config.json in the bundle)",
)
CONSOLE_SOCKET = Option(
    "console-socket",
    kind="str",
    default="",
    metavar="PATH",
    help="path to an AF_UNIX socket that receives the master end of the console",
)
PIDFD_SOCKET = Option(
    "pidfd-socket",
    kind="str",
    default="",
    metavar="PATH",
    help="path to an AF_UNIX socket that receives a pidfd of the init process",
)
PID_FILE = Option(
    "pid-file",
    kind="str",
    default="",
    metavar="PATH",
    help="file to write the process id to",
)
NO_PIVOT = Option(
    "no-pivot", help="do not use pivot_root to jail the process, for a rootfs on top of a ramdisk"
)
NO_NEW_KEYRING = Option(
    "no-new-keyring", help="keep the caller's session keyring instead of creating a new one"
)
PRESERVE_FDS = Option(
    "preserve-fds",
    kind="int",
    default=0,
    metavar="N",
    help="pass N additional file descriptors (stdio and $LISTEN_FDS come first)",
)
FORMAT = Option(
    "format",
    "f",
    kind="str",
    default="table",
    metavar="FORMAT",
    help='select one of: "table" or "json"',
)
REGEX = Option(
    "regex", "r", help="CONTAINER is an extended regular expression: do it to all that match"
)
DETACH = Option("detach", "d", help="detach from the container's process")
NO_SUBREAPER = Option(
    "no-subreaper", help="disable the use of the subreaper used to reap reparented processes"
)
# What both checkpoint and restore tell CRIU.
CRIU = (
    Option(
        "image-path",
        kind="str",
        default="",
        metavar="DIR",
        help="directory of the image files (default: ./checkpoint)",
    ),
    Option(
        "work-path",
        kind="str",
        default="",
        metavar="DIR",
        help="directory of CRIU's log and work files (default: the image path)",
    ),
    Option("tcp-established", help="allow established TCP connections"),
    Option("ext-unix-sk", help="allow external unix sockets"),
    Option("shell-job", help="allow shell jobs"),
    Option("lazy-pages", help="let the memory follow when it is used, by userfaultfd"),
    Option("file-locks", help="handle file locks"),
    Option(
        "manage-cgroups-mode",
        kind="str",
        default="",
        metavar="MODE",
        help='cgroups mode: "soft", "full", "strict" or "ignore" (default: soft)',
    ),
    Option(
        "empty-ns",
        kind="list",
        metavar="NAMESPACE",
        help='a namespace to be left empty: "network"',
    ),
    Option("auto-dedup", help="remove pages from images once they are no longer needed"),
)


def module(verb: str) -> "ModuleType":
    """The module of a verb that is in VERBS; the only one this imports."""
    return __import__(f"pyrunc.commands.{VERBS[verb][0]}", fromlist=("COMMAND",))


def load(verb: str) -> Command:
    """The rows of a verb that is in VERBS."""
    command: Command = module(verb).COMMAND
    return command

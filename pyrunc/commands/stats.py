"""`stats`: what containers use, live: a table, JSON lines, or a page for Prometheus."""

import os
import select
import time

from pyrunc.commands import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Sample = dict[str, Any]

COMMAND = Command(
    "stats",
    "display what containers use, live",
    args="[<container-id>...]",
    nargs=(0, None),
    options=(
        Option(
            "format",
            "f",
            kind="str",
            default="table",
            metavar="FORMAT",
            help='select one of: "table", "json" (a line for each container and interval) or '
            '"prometheus" (once)',
        ),
        Option(
            "interval",
            kind="duration",
            default=1.0,
            metavar="TIME",
            help="how often to look, and for how long to measure the use of CPUs (default: 1s)",
        ),
        Option("no-stream", help="display one interval, and end"),
    ),
)

HEADER = ("ID", "CPU %", "MEM USED / LIMIT", "MEM %", "NET I/O", "DISK I/O", "PIDS")
# Seconds of the last ten in which some process waited, in percent.
WAITING = "WAIT % CPU/MEM/IO"
LEAST_ID = 12  # characters of an id that are shown in any case


def run(opts: "dict[str, Any]") -> "int | None":
    """Display the containers opts["args"], or all that have not stopped."""
    from pyrunc import files, usage
    from pyrunc.errors import Error

    root, ids, form = opts["root"], opts["args"], opts["format"]
    if form not in ("table", "json", "prometheus"):
        raise Error("invalid format option")
    if opts["interval"] <= 0:
        raise Error("duration interval must be greater than 0")
    try:
        if form == "prometheus":
            from pyrunc import exposition

            found = [usage.sample(root, record) for record in usage.find(root, ids)]
            page = exposition.text([sample for sample in found if sample])
            files.show(page.encode("utf-8", "replace"))
        else:
            watch(opts)
    except KeyboardInterrupt:
        return 130  # the usual way to end it
    return None


def watch(opts: "dict[str, Any]") -> None:
    """Show every interval, until nobody is left to look at, or to look."""
    from pyrunc import usage

    root, ids = opts["root"], opts["args"]
    records = usage.find(root, ids)
    before = _samples(root, records)
    due = time.monotonic()
    show = show_json if opts["format"] == "json" else Screen().show
    while True:
        due = max(due + opts["interval"], time.monotonic())
        if not _sleep_until(due):
            return
        if not ids:
            records = usage.find(root, ids)
        now = _samples(root, records)
        show([usage.compare(before[id], now[id]) if id in before else now[id] for id in now])
        if opts["no_stream"] or ids and not now:
            return
        before = now


def _samples(root: str, records: "list[dict[str, Any]]") -> "dict[str, Sample]":
    from pyrunc import usage

    found = (usage.sample(root, record) for record in records)
    return {sample["id"]: sample for sample in found if sample}


def _sleep_until(due: float) -> bool:
    """False: nobody can read any more what we write."""
    poll = select.poll()
    poll.register(1, 0)  # POLLERR and POLLHUP are always told
    while (left := due - time.monotonic()) > 0:
        # poll(2) counts in int milliseconds; 24 days at a time are enough.
        if poll.poll(int(min(left, 2**31 // 1000) * 1000) + 1):
            return False
    return True


def show_json(samples: "list[Sample]") -> None:
    """A line for each."""
    from pyrunc import files, jsonio

    for sample in samples:
        document = {key: value for key, value in sample.items() if key != "clock"}
        files.show((jsonio.dumps(document) + "\n").encode())


class Screen:
    """Where tables are shown: on a terminal each takes the place of the one before."""

    __slots__ = ("_terminal", "_used")

    def __init__(self) -> None:
        self._terminal = os.isatty(1)
        self._used = False

    def show(self, samples: "list[Sample]") -> None:
        """The next table."""
        from pyrunc import files

        if not self._terminal:
            gap = "\n" if self._used else ""
            text = gap + "".join(f"{line}\n" for line in table(samples))
        else:
            width, height = os.get_terminal_size(1)
            lines = fit(samples, width or 80)[: max((height or 24) - 1, 2)]
            # Home; to the end of each line, and below the last, what was there is erased.
            clear = "" if self._used else "\x1b[2J"
            text = f"{clear}\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
        self._used = True
        files.show(text.encode())


def fit(samples: "list[Sample]", width: int) -> "list[str]":
    """The table in lines that are not wider; long ids are the first to give way."""
    lines = table(samples)
    surplus = max(map(len, lines)) - width
    if surplus > 0:
        longest = max((len(sample["id"]) for sample in samples), default=0)
        keep = max(longest - surplus, LEAST_ID)
        lines = table([{**sample, "id": sample["id"][:keep]} for sample in samples])
    return [line[:width] for line in lines]


def table(samples: "list[Sample]") -> "list[str]":
    """Lines of columns, two characters apart."""
    waiting = any(sample["pressure"] for sample in samples)
    rows: "list[tuple[str, ...]]" = [(*HEADER, WAITING) if waiting else HEADER]
    rows += [row(sample, waiting) for sample in samples]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(size) for text, size in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def row(sample: "Sample", waiting: bool) -> "tuple[str, ...]":
    """One container; `-` where there is nothing to tell."""
    memory, io, network = sample["memory"], sample["io"], sample["network"]
    limit = "-" if memory["limit"] is None else size(memory["limit"])
    traffic = "-"
    if network is not None:
        sums = (
            sum(counts[way]["bytes"] for counts in network.values()) for way in ("received", "sent")
        )
        traffic = " / ".join(map(size, sums))
    columns = [
        sample["id"],
        percent(sample["cpu"]["percent"]),
        f"{size(memory['used'])} / {limit}",
        percent(memory["percent"]),
        traffic,
        f"{size(io['read_bytes'])} / {size(io['written_bytes'])}",
        str(sample["pids"]["current"]),
    ]
    if waiting:
        found = sample["pressure"] or {}
        each = (found.get(name) for name in ("cpu", "memory", "io"))
        columns.append(" / ".join(f"{one['some']['avg10']:.1f}" if one else "-" for one in each))
    return tuple(columns)


def percent(value: "float | None") -> str:
    """`12.34%`, or `-` if it is not known."""
    return "-" if value is None else f"{value:.2f}%"


def size(count: int) -> str:
    """Bytes with three digits or so: `512B`, `1.5KiB`, `20.3MiB`."""
    if count < 1024:
        return f"{count}B"
    value = float(count)
    unit = ""
    for unit in "KMGTPE":
        value /= 1024
        if value < 1000 or unit == "E":
            break
    return f"{value:.1f}{unit}iB"

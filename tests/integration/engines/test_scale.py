"""Many containers of one containerd.  CONTAINERS says how many (200)."""

import os
import time

import pytest
from sandbox import BINARY, IMAGE

from harness import read, wait_for

COUNT = int(os.environ.get("CONTAINERS", "200"))
NAMES = [f"box{number}" for number in range(COUNT)]


def each(ctr, *args, **options):
    """A command of `ctr` for every container, some at the same time; {} is its name."""
    script = f"printf '%s\\n' {' '.join(NAMES)} | xargs -P 4 -I {{}} \"$@\""
    ctr.sandbox("sh", "-ec", script, "sh", *ctr.before, *args, timeout=110, **options)


def processes(ctr, program):
    lines = ctr.sandbox.processes().items()
    return [pid for pid, line in lines if line.split()[0].endswith(program)]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid):
    """MiB of memory."""
    rows = read(f"/proc/{pid}/status").splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmRSS:")) // 1024


@pytest.mark.timeout(300)
def test_many_containers_come_and_go(ctr, record_property):
    (daemon,) = processes(ctr, "containerd")
    open_before, memory = descriptors(daemon), [resident(daemon)]
    begin = time.monotonic()
    each(ctr, "run", "--detach", "--runc-binary", BINARY, IMAGE, "{}", "sleep", "1000000")
    up = time.monotonic()
    rows = [line.split() for line in ctr("tasks", "list").stdout.splitlines()[1:]]
    assert sorted(row[0] for row in rows) == sorted(NAMES)
    assert {row[2] for row in rows} == {"RUNNING"}
    shims = processes(ctr, "containerd-shim-runc-v2")
    assert len(shims) == COUNT
    counts = [descriptors(pid) for pid in shims]
    assert max(counts) - min(counts) <= 2, "a later shim has more open than an earlier one"
    memory.append(resident(daemon))

    down = time.monotonic()
    ctr("tasks", "delete", "--force", *NAMES, timeout=110)
    gone = time.monotonic()
    ctr("containers", "delete", *NAMES, timeout=110)
    wait_for(lambda: not processes(ctr, "containerd-shim-runc-v2"), what="end of the shims")
    wait_for(lambda: descriptors(daemon) <= open_before, what="descriptors of containerd closed")
    memory.append(resident(daemon))
    record_property(
        "note",
        f"containerd: {COUNT} containers, {COUNT / (up - begin):.0f} started and "
        f"{COUNT / (gone - down):.0f} deleted per second; {max(counts)} descriptors per shim; "
        f"containerd in {memory[0]} MiB before, {memory[1]} with them, {memory[2]} after",
    )

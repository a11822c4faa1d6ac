"""Many lives, one after the other: nothing is left of them.

PYRUNC_CYCLES sets how many.
"""

import itertools
import os

import pytest

from harness import cgroup_dirs, processes_in, read, wait_for

CYCLES = int(os.environ.get("PYRUNC_CYCLES", "100"))
MEGABYTE = 1 << 20


def created(pyrunc, name):
    """It never runs."""


def running(pyrunc, name):
    pyrunc("start", name)


def paused(pyrunc, name):
    pyrunc("start", name)
    pyrunc("pause", name)


def killed(pyrunc, name):
    pyrunc("start", name)
    pyrunc("kill", name, "KILL")


@pytest.mark.timeout(600)
def test_nothing_is_left(pyrunc, bundle, cgroup_mode):
    limits = {"pids": {"limit": 20}}
    flags = "--pids-limit 30"
    if cgroup_mode != "v2":
        limits["memory"] = {"limit": 32 * MEGABYTE}
        limits["cpu"] = {"shares": 100, "quota": 50000, "period": 100000}
        flags += " --memory 40M --cpu-share 200"
    elif "pids" not in read("/sys/fs/cgroup/cgroup.controllers"):
        limits, flags = {}, ""
    bundle.linux["resources"].update(limits)
    bundle.sh("sleep 100 & sleep 101 & wait")
    path = bundle.save()
    for number, life in zip(
        range(CYCLES), itertools.cycle((created, running, paused, killed)), strict=False
    ):
        name = f"{pyrunc.prefix}{number % 7}"  # names come again
        pyrunc("create", "--bundle", path, name)
        life(pyrunc, name)
        if life is not killed:
            pyrunc("update", *flags.split(), name)
        if number % 10 == 0:
            pyrunc("update", "--pids-limit", "9", "--cpuset-cpus", "x", name, code=1)
        pyrunc("delete", "--force", name)
        assert pyrunc.names() == []
    assert not cgroup_dirs(pyrunc.prefix)
    wait_for(lambda: not processes_in(pyrunc.prefix), what="end of all processes")

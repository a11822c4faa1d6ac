"""plan_mounts: the golden plan tests/plans/mounts-add, which are two: add, then remove."""

import json
import os

import pytest

from pyrunc import listing, plan_mounts
from pyrunc.errors import Error

CASE = os.path.join(os.path.dirname(__file__), "..", "plans", "mounts-add")
with open(f"{CASE}/mounts.json") as opened:
    GIVEN = json.load(opened)
CONFIG, WANTED = GIVEN["config"], GIVEN["mounts"]


def test_golden_plan(bless):
    fds = {("ns", "user"): 0, ("ns", "mount"): 1, ("ns", "pid"): 2, ("tree", 0): 3}
    entries, warnings = plan_mounts.decode(WANTED, CONFIG, "/b")
    assert warnings == []
    plans = [
        plan_mounts.for_add(entries, CONFIG, fds, False),
        plan_mounts.for_remove(plan_mounts.targets(WANTED, CONFIG), fds, False),
    ]
    text = "\n".join(listing.text(plan) for plan in plans)
    if bless:
        with open(f"{CASE}/plan.txt", "w") as file:
            file.write(text)
    with open(f"{CASE}/plan.txt") as file:
        assert text == file.read()


def test_only_namespaces_that_a_mount_shows_are_entered():
    entries, _ = plan_mounts.decode(WANTED, CONFIG, "/b")
    assert plan_mounts.kinds(entries[:2]) == ["user", "mount"]
    assert plan_mounts.kinds(entries) == ["user", "mount", "pid"]


@pytest.mark.parametrize(
    "path", ["/", "/proc", "/proc/1", "/proc/./sys/", "/b/rootfs/sys/firmware"]
)
def test_what_is_guarded_stays(path):
    with pytest.raises(Error, match=r"mounts\[0\]: /.* cannot be removed: "):
        plan_mounts.targets([{"destination": path}], CONFIG)


def test_what_covers_a_file_of_proc_may_go():
    assert plan_mounts.targets([{"destination": "/proc/meminfo"}], CONFIG) == ["/proc/meminfo"]

"""cgroup v2 with every controller: the same config.json with Debian's runc and with us.

Where we differ on purpose, WANTED says why.
"""

import os

import pytest

from harness import read

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def v2_only(cgroup_mode):
    if cgroup_mode != "v2":
        pytest.skip("needs cgroup v2 alone: make test-vm")


def disk():
    """major:minor of the disk that is the root."""
    name = sorted(name for name in os.listdir("/sys/block") if not name.startswith("loop"))[0]
    return read(f"/sys/block/{name}/dev").strip()


RESOURCES = {
    "nothing": {},
    "memory": {"memory": {"limit": 32 * MEGABYTE}},
    "memory-odd": {"memory": {"limit": 32 * MEGABYTE + 1}},
    "memory-unlimited": {"memory": {"limit": -1}},
    "swap": {"memory": {"limit": 32 * MEGABYTE, "swap": 48 * MEGABYTE}},
    "swap-none": {"memory": {"limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE}},
    "swap-unlimited": {"memory": {"limit": 32 * MEGABYTE, "swap": -1}},
    "reservation": {"memory": {"limit": 32 * MEGABYTE, "reservation": 16 * MEGABYTE}},
    "shares": {"cpu": {"shares": 1024}},
    "shares-least": {"cpu": {"shares": 2}},
    "shares-most": {"cpu": {"shares": 262144}},
    "quota": {"cpu": {"quota": 20000}},
    "period": {"cpu": {"period": 50000}},
    "quota-period": {"cpu": {"quota": 20000, "period": 50000}},
    "quota-unlimited": {"cpu": {"quota": -1, "period": 50000}},
    "cpuset": {"cpu": {"cpus": "0-1", "mems": "0"}},
    "pids": {"pids": {"limit": 20}},
    "pids-unlimited": {"pids": {"limit": -1}},
    "hugetlb": {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEGABYTE}]},
    "throttle": {
        "blockIO": {"throttleReadBpsDevice": [{"rate": MEGABYTE}], "weight": 0},
    },
    "throttle-all": {
        "blockIO": {
            "throttleReadBpsDevice": [{"rate": MEGABYTE}],
            "throttleWriteBpsDevice": [{"rate": 2 * MEGABYTE}],
            "throttleReadIOPSDevice": [{"rate": 100}],
            "throttleWriteIOPSDevice": [{"rate": 200}],
        },
    },
    "unified": {
        "unified": {
            "memory.high": str(24 * MEGABYTE),
            "memory.min": "4096",
            "memory.low": "8192",
            "cpu.weight": "77",
            "cpu.max": "30000 90000",
            "pids.max": "30",
            "io.max": "DISK rbps=1048576",
            "cgroup.max.depth": "3",
            "memory.oom.group": "1",
        }
    },
    "everything": {
        "memory": {"limit": 64 * MEGABYTE, "swap": 96 * MEGABYTE, "reservation": 16 * MEGABYTE},
        "cpu": {"quota": 20000, "period": 50000, "cpus": "0"},
        "pids": {"limit": 30},
    },
}
# {case: {file: what we write}}.
WANTED = {
    # As newer ones do: reserved pages count, too.
    "hugetlb": {"hugetlb.2MB.rsvd.max": [str(4 * MEGABYTE)]},
    # Debian's runc maps shares to weights in a straight line, newer ones so that 1024 is 100.
    "shares": {"cpu.weight": ["100"]},
}


def filled(value, number):
    """The resources with this host's disk in them."""
    major, minor = map(int, number.split(":"))
    if isinstance(value, dict):
        found = {key: filled(each, number) for key, each in value.items()}
        return {"major": major, "minor": minor, **found} if "rate" in value else found
    if isinstance(value, list):
        return [filled(each, number) for each in value]
    return value.replace("DISK", number) if isinstance(value, str) else value


@pytest.mark.parametrize("case", RESOURCES)
def test_files_of_the_cgroup(pair, bundle, case):
    bundle.linux["resources"].update(filled(RESOURCES[case], disk()))
    names = pair.up(bundle.args("sleep", "1000"))
    wanted = WANTED.get(case, {})
    found = pair.differences(names)
    # cpu.weight.nice is cpu.weight in other words.
    if "cpu.weight" in wanted:
        found.pop("cpu.weight.nice", None)
    assert {file: ours for file, (_, ours) in found.items()} == wanted, found


UPDATES = {
    "memory": "--memory 48M --memory-swap 64M",
    "reservation": "--memory-reservation 8M",
    "cpu": "--cpu-quota 30000 --cpu-period 60000",
    "pids": "--pids-limit 12",
    "cpuset": "--cpuset-cpus 1",
    "unlimited": "--memory -1 --pids-limit -1",
}


@pytest.mark.parametrize("case", UPDATES)
def test_files_after_an_update(pair, bundle, case):
    bundle.linux["resources"].update(RESOURCES["everything"])
    names = pair.up(bundle.args("sleep", "1000"))
    pair("update", names, *UPDATES[case].split())
    assert pair.differences(names) == {}


TRY = """
try() {
    rm -f /tmp/node
    mknod /tmp/node $1 $2 $3 2>/dev/null && echo "$* made"
    (: </tmp/node) 2>/dev/null && echo "$* read"
    (: >/tmp/node) 2>/dev/null && echo "$* written"
}
for each in 1:3 1:5 1:8 1:11 5:0 5:1 5:2 10:200 10:229 136:0; do
    try c ${each%:*} ${each#*:}
done
try b 7 0
echo over
"""
DENIED = {"allow": False, "access": "rwm"}
RULES = {
    "denied": [DENIED],
    "none": [],
    "all": [{"allow": True, "access": "rwm"}],
    "read": [DENIED, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}],
    "major": [DENIED, {"allow": True, "type": "c", "major": 10, "access": "rw"}],
    "blocks": [DENIED, {"allow": True, "type": "b", "access": "m"}],
    "all-but": [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ],
}


@pytest.mark.parametrize("case", RULES)
def test_devices_from_inside(pair, bundle, case):
    for names in bundle.process["capabilities"].values():
        names.append("CAP_MKNOD")
    bundle.linux["resources"]["devices"] = RULES[case]
    bundle.sh(TRY)
    outputs = []
    for runtime in pair.both:
        bundle.linux["cgroupsPath"] = f"/{runtime.prefix}d"
        outputs.append(runtime.run(bundle).stdout.splitlines())
    assert outputs[0][-1] == "over"
    assert outputs[1] == outputs[0]

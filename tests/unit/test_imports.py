"""The import budget: what each verb may load.  Changing a set here is a reviewed act.

Every module costs start-up time, and start-up is most of what a verb costs.
"""

import json
import os
import subprocess
import sys

import pytest

import pyrunc

SITE = os.path.dirname(os.path.dirname(pyrunc.__file__))
MAIN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from pyrunc.cli import main; sys.exit(main())"
)

# Standard library: extension modules, and Python ones that `os` brings along anyway.
STANDARD = set(
    "_collections_abc _stat abc errno fcntl genericpath os os.path posixpath select stat time _abc "
    "_json _signal gc".split()
)
NATIVE = {"_cffi_backend", "pyrunc._core"}
COMMON = set(
    "pyrunc pyrunc.cli pyrunc.commands pyrunc.errors pyrunc.log pyrunc.files pyrunc.jsonio "
    "pyrunc.procfs pyrunc.container pyrunc.cgroups pyrunc.cgroups.fs".split()
)
ENDING = {"pyrunc.processes", "pyrunc.signals"}
ENTERING = set(
    "pyrunc.enter pyrunc.attributes pyrunc.handshake pyrunc.host pyrunc.spec pyrunc._schema "
    "pyrunc.plan pyrunc.plan_exec pyrunc.process pyrunc.namespaces pyrunc.cgroups.entry".split()
)
MORE = ENDING | {"pyrunc.freezer"}
ALLOWED = {
    "state": COMMON | NATIVE | {"pyrunc.commands.state"},
    "kill": COMMON | NATIVE | ENDING | {"pyrunc.commands.kill"},
    "start": COMMON | NATIVE | {"pyrunc.commands.start"},
    "delete": COMMON | NATIVE | ENDING | {"pyrunc.commands.delete"},
    "list": COMMON | NATIVE | {"pyrunc.commands.list", "pwd"},
    "pause": COMMON | NATIVE | {"pyrunc.commands.pause", "pyrunc.freezer"},
    "resume": COMMON | NATIVE | {"pyrunc.commands.resume", "pyrunc.freezer"},
    "ps": COMMON | ENDING | {"pyrunc.commands.ps"},
    "stats": COMMON
    | NATIVE
    | {"pyrunc.commands.stats", "pyrunc.usage", "pyrunc.host", "pyrunc.cgroups.stats"},
    "wait": COMMON | NATIVE | {"pyrunc.commands.wait", "pyrunc.ending"},
    "exec": COMMON | NATIVE | ENTERING | {"pyrunc.commands.exec"},
}


VISITING = {f"pyrunc.{name}" for name in "mounting plan_mounts mounts visit userns".split()}
CREATING = set(
    "pyrunc.launch pyrunc.attributes pyrunc.handshake pyrunc.host pyrunc.spec pyrunc._schema "
    "pyrunc.plan pyrunc.plan_create pyrunc.process pyrunc.namespaces pyrunc.mounts pyrunc.rootfs "
    "pyrunc.record pyrunc.passed".split()
)
ALLOWED |= {
    "create": COMMON | NATIVE | CREATING | {"pyrunc.commands.create"},
    "run": COMMON | NATIVE | CREATING | {"pyrunc.commands.run"},
    "mounts": COMMON
    | NATIVE
    | ENTERING
    | VISITING
    | {"pyrunc.commands.mounts", "pyrunc.cgroups.hierarchies"},
}
ASKING_CRIU = set(
    "pyrunc.beneath pyrunc.checkpoint pyrunc.criu pyrunc.criu_messages pyrunc.hooks pyrunc.host "
    "pyrunc.mountpoints pyrunc.namespaces pyrunc.signals".split()
)
ALLOWED |= {
    "checkpoint": COMMON | NATIVE | ASKING_CRIU | {"pyrunc.commands.checkpoint"},
    "restore": COMMON
    | NATIVE
    | CREATING
    | ASKING_CRIU
    | {"pyrunc.commands.restore", "pyrunc.restore"},
}
# Those two pay for whatever these want, which is not ours to say.
PROTOBUF = (
    "import socket, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from google.protobuf import descriptor_pb2, descriptor_pool, message_factory"
)


def imported(*argv, python=()):
    """Modules that a child interpreter loads for argv."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-X", "importtime", *python, *argv]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={})
    rows = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {row.rpartition("|")[2].strip() for row in rows} - {"imported package"}


@pytest.fixture(scope="module")
def bare():
    return imported("-c", "pass")


@pytest.fixture
def root(tmp_path):
    """A --root with one container that has stopped."""
    record = {
        "id": "c",
        "init_process_pid": 4194304,  # above every kernel's pid_max: nobody
        "init_process_start": 1,
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "rootfs": "/",
            "labels": ["bundle=/"],
            "namespaces": [{"type": "NEWPID", "path": ""}],
            "cgroups": {"path": "/c"},
        },
        "cgroup_paths": {},
        "namespace_paths": {},
        "external_descriptors": [],
        "intel_rdt_path": "",
        "pyrunc": {
            "version": 1,
            "simple": True,
            "hooks": {},
            "bundle": "/",
            "rootfs": "/",
            "private_pid": True,
            "driver": "cgroupfs",
            "cgroup_mode": "v2",
        },
    }
    os.mkdir(tmp_path / "c")
    with open(tmp_path / "c" / "state.json", "w") as file:
        json.dump(record, file)
    return str(tmp_path)


@pytest.mark.parametrize("verb", ALLOWED)
def test_verb_imports_only_what_it_may(verb, root, bare, tmp_path):
    # Up to where it finds nothing to work on: by then all modules of its way are there.
    argv = {"list": [], "exec": ["--detach", "c", "true"]}.get(verb, ["c"])
    if verb == "mounts":
        (tmp_path / "mounts.json").write_text("[]")
        argv = ["add", "c", str(tmp_path / "mounts.json")]
    if verb in {"create", "run", "restore"}:
        argv = ["--bundle", os.path.dirname(__file__), "c"]
    loaded = imported("-c", MAIN, SITE, "pyrunc", "--root", root, verb, *argv) - bare
    assert "pyrunc.cli" in loaded
    brought = imported("-c", PROTOBUF, SITE) if verb in {"checkpoint", "restore"} else set()
    assert not loaded - STANDARD - ALLOWED[verb] - brought


@pytest.mark.parametrize("verb", ["state", "kill", "start", "delete", "pause", "resume", "ps"])
def test_frequent_verbs_load_few_modules_of_ours(verb, root, bare):
    loaded = imported("-c", MAIN, SITE, "pyrunc", "--root", root, verb, "c") - bare
    ours = {name for name in loaded if name.startswith("pyrunc")} - {"pyrunc._core"}
    assert len(ours - MORE) <= 12, sorted(ours)


def test_the_version_is_not_worth_an_import_of_click(bare):
    loaded = imported("-c", MAIN, SITE, "pyrunc", "--version") - bare
    assert not {"click", "jsonschema", "re", "json", "typing"} & loaded

"""Many living containers on one host: what one of them costs must not depend on the others.

CONTAINERS says how many (200).  The host has as many mounts more, as where an engine mounts images.
"""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness import Bundle, alive, wait_for

COUNT = int(os.environ.get("CONTAINERS", "200"))
VERBS = ("create", "start", "state", "ps", "exec", "pause", "resume", "kill", "delete")
TRACED = re.compile(r"^(?:read|getdents64)\(.* = (\d+)$", re.M)
HOLD = """
mount -t tmpfs tmpfs "$1"
for number in $(seq "$2"); do
    mkdir "$1/$number"
    mount --bind "$1/$number" "$1/$number"
done
echo ready
exec sleep infinity
"""
# $TRACE: where the system calls are listed; $MOUNTS: a process whose mounts are the host's.
COMMAND = """#!/bin/sh
exec ${{MOUNTS:+nsenter --target=$MOUNTS --mount}} ${{TRACE:+strace -s 8 -o $TRACE}} {command} "$@"
"""


@pytest.fixture(scope="module")
def mounts(tmp_path_factory):
    """The pid of a process that has a host's mount namespace with many mounts."""
    folder = str(tmp_path_factory.mktemp("mounts"))
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-ec", HOLD, "sh"]
    with subprocess.Popen([*argv, folder, str(COUNT)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"ready\n"
        yield holder.pid
        holder.kill()


@pytest.fixture(scope="module")
def crowd(command, base_config, binaries, tmp_path_factory, mounts, watch):
    """(runtime, bundle, {verb: what it did alone}, {verb: what it did among COUNT others})."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing (package strace)")
    directory = tmp_path_factory.mktemp("scale")
    script = directory / "pyrunc"
    script.write_text(COMMAND.format(command=command))
    script.chmod(0o755)
    with watch(str(script), directory) as runtime:
        bundle = Bundle(directory / "bundle", base_config, *binaries)
        bundle.args("sleep", "1000000").save()
        life(runtime, bundle)  # fills the caches
        alone = life(runtime, bundle)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOUNTS", str(mounts))
            for _ in range(COUNT):
                runtime.up(bundle)
            yield runtime, bundle, alone, life(runtime, bundle)


def life(runtime, bundle):
    """{verb: (system calls, bytes read)} in a container's life."""
    name = runtime.id()
    arguments = {
        "create": ["--bundle", bundle.path, name],
        "ps": ["--format", "json", name],
        "exec": [name, "true"],
        "kill": [name, "KILL"],
    }
    found = {}
    trace = f"{runtime.directory}/trace"
    for verb in VERBS:
        if verb == "delete":
            runtime.stopped(name)
        runtime(verb, *arguments.get(verb, [name]), env={**os.environ, "TRACE": trace})
        with open(trace) as file:
            text = file.read()
        found[verb] = (len(text.splitlines()), sum(map(int, TRACED.findall(text))))
    return found


def test_all_of_them_run(crowd):
    runtime = crowd[0]
    states = json.loads(runtime("list", "--format", "json").stdout)
    assert [state["id"] for state in states] == runtime.names()
    assert {state["status"] for state in states} == {"running"}
    pids = {state["pid"] for state in states}
    assert len(pids) == COUNT
    assert all(map(alive, pids))


def test_all_of_them_have_statistics(crowd):
    runtime = crowd[0]
    rows = runtime("stats", "--no-stream", "--format", "json").stdout.splitlines()
    assert [json.loads(row)["id"] for row in rows] == runtime.names()


def test_each_has_its_own_process(crowd):
    runtime = crowd[0]
    found = {runtime("ps", "--format", "json", name).stdout for name in runtime.names()}
    assert len({pid for text in found for pid in json.loads(text)}) == COUNT


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_does_no_more_than_alone(crowd, verb):
    """What looks at every container, cgroup or mount makes a call, or reads a line, for each."""
    (calls, size), (calls_among, size_among) = (found[verb] for found in crowd[2:])
    assert calls > 10
    assert calls_among - calls < COUNT / 4
    assert size_among - size < COUNT * 4


def test_the_last_one_is_as_good_as_the_first(crowd):
    runtime, bundle, *_ = crowd
    name = runtime.up(bundle)
    assert runtime("exec", name, "hostname").stdout == f"{bundle.config['hostname']}\n"
    runtime("kill", name, "KILL")
    wait_for(lambda: runtime.status(name) == "stopped", what="end")
    runtime("delete", name)

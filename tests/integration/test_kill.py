"""kill: one signal, to the right process."""

import json
import os
import signal

import pytest

from harness import alive, read, wait_for

TRAPS = (
    "trap 'echo TERM' TERM; trap 'echo HUP' HUP; trap 'echo USR1' USR1; echo ready; "
    "while :; do sleep 0.02; done"
)


def ready(pyrunc, bundle):
    name = pyrunc.create(bundle.sh(TRAPS))
    output = f"{pyrunc.directory}/container"
    os.rename(f"{pyrunc.directory}/stdout", output)
    pyrunc("start", name)
    wait_for(lambda: read(output) == "ready\n", what="ready container")
    return name, output


def test_default_is_sigterm(pyrunc, bundle):
    name, output = ready(pyrunc, bundle)
    result = pyrunc("kill", name)
    assert (result.stdout, result.stderr) == ("", "")
    wait_for(lambda: read(output) == "ready\nTERM\n", what="TERM")


@pytest.mark.parametrize("spelling", ["HUP", "SIGHUP", "hup", "sighup", "SigHup", "1"])
def test_spellings_of_a_signal(pyrunc, bundle, spelling):
    name, output = ready(pyrunc, bundle)
    pyrunc("kill", name, spelling)
    wait_for(lambda: read(output) == "ready\nHUP\n", what="HUP")


@pytest.mark.parametrize("spelling", ["NOPE", "SIGSIG", "1.5"])
def test_unknown_signal(pyrunc, bundle, spelling):
    name = pyrunc.create(bundle)
    result = pyrunc("kill", name, spelling, code=1)
    assert result.message == f'unknown signal "{spelling}"'


def test_kill_stops_it(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)


@pytest.mark.parametrize("ends", ["KILL", "TERM", "INT", "QUIT"])
@pytest.mark.parametrize("pid", ["private", "shared"])
def test_created_container(pyrunc, bundle, ends, pid):
    if pid == "shared":
        bundle.namespace("pid", False)
    name = pyrunc.create(bundle)
    pyrunc("kill", name, ends)
    pyrunc.stopped(name)


def test_a_waiting_container_takes_a_signal_that_ends_nothing(pyrunc, bundle):
    name = pyrunc.create(bundle)
    for harmless in ("USR1", "WINCH", "CONT", "HUP"):
        pyrunc("kill", name, harmless)
    assert pyrunc.status(name) == "created"


def test_the_program_gets_the_usual_signals(pyrunc, bundle):
    bundle.sh("sleep 100 & kill -TERM $!; wait $!; echo $?")
    assert pyrunc.run(bundle).stdout == "143\n"
    caught = pyrunc.run(bundle.args("grep", "SigCgt", "/proc/self/status")).stdout.split()[1]
    assert int(caught, 16) == 0


def test_signal_0_asks(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("kill", name, "0")
    assert pyrunc.status(name) == "running"


def test_stopped_container(pyrunc, bundle):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    assert pyrunc("kill", name, "KILL", code=1).message == "container not running"


@pytest.mark.parametrize("flag", ["--all", "-a"])
def test_all_makes_a_stopped_container_a_success(pyrunc, bundle, flag):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    pyrunc("kill", flag, name, "9")


def test_unknown_container(pyrunc):
    assert pyrunc("kill", "nobody", "9", code=1).message == "container does not exist"


def test_without_a_pid_namespace_all_processes_die(pyrunc, bundle):
    bundle.namespace("pid", False).sh("sleep 100 & sleep 101 & echo $! > /tmp/child; wait")
    name = pyrunc.up(bundle)
    path = f"{bundle.rootfs}/tmp/child"
    child = int(wait_for(lambda: os.path.exists(path) and read(path), what="child"))
    assert alive(child)
    pyrunc("kill", name, "KILL")
    wait_for(lambda: not alive(child), what="end of the child")
    pyrunc.stopped(name)


def test_what_the_first_process_left_behind_without_a_pid_namespace_is_killed(pyrunc, bundle):
    bundle.namespace("pid", False).sh("sleep 100 & sleep 101 & exec sleep 102")
    name = pyrunc.up(bundle)

    def left():
        return json.loads(pyrunc("ps", "--format", "json", name).stdout) or []

    wait_for(lambda: len(left()) == 3, what="children")
    os.kill(pyrunc.pid(name), signal.SIGKILL)
    pyrunc.stopped(name)
    assert pyrunc("kill", name, "TERM", code=1).message == "container not running"
    assert len(left()) == 2
    pyrunc("kill", name, "KILL")
    wait_for(lambda: not left(), what="end of the children")
    assert pyrunc("kill", name, "KILL", code=1).message == "container not running"


def test_a_stranger_with_the_recorded_pid_is_left_alone(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    path = f"{pyrunc.root}/{name}/state.json"
    record = json.loads(read(path))
    record["init_process_start"] -= 1
    with open(path, "w") as file:
        json.dump(record, file)
    assert pyrunc("kill", name, "KILL", code=1).message == "container not running"
    assert alive(record["init_process_pid"])
    os.kill(record["init_process_pid"], signal.SIGKILL)


def test_argument_count(pyrunc):
    result = pyrunc("kill", code=1)
    assert '"kill" requires a minimum of 1 argument(s)' in result.message
    assert result.stdout.startswith("Incorrect Usage.\n\n")

"""A kill -9 of any command at any step leaves nothing that `delete --force` cannot remove.

The fixture `pyrunc` then finds no process, cgroup, mount or file of the container.
"""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import alive, cgroup_dirs, processes_in, wait_for

FAULTY = os.path.join(os.path.dirname(__file__), "faulty.py")

CREATE = [
    "pyrunc.container:claim:before",
    "pyrunc.container:claim:after",
    "pyrunc.container:write_intent:before",
    "pyrunc.container:write_intent:after",
    "pyrunc.passed:_make_fifo:after",
    "pyrunc.launch:Launch._plan:after",
    "pyrunc.handshake:spawn:after",
    "pyrunc.cgroups.place:create:before",
    "pyrunc.cgroups.place:create:after",
    "pyrunc.cgroups.entry:entries:after",
    "pyrunc.launch:Launch._mounted:before",
    "pyrunc.cgroups:apply:after",
    "pyrunc.hooks:run:before",
    "pyrunc.hooks:run:after",
    "pyrunc.launch:Launch._ready:before",
    "pyrunc.record:complete:after",
    "pyrunc.container:write_record:before",
    "pyrunc.container:write_record:after",
    "pyrunc.launch:Launch._ready:after",
    "pyrunc.handshake:converse:after",
    "pyrunc.launch:Launch.set_up:after",
    "pyrunc.launch:Launch.close:after",
]
RUN = [
    "pyrunc.container:release:before",
    "pyrunc.container:release:after",
    "pyrunc.console:Foreground.serve:before",
    "pyrunc.console:Foreground.serve:after",
    "pyrunc.container:destroy:before",
    "pyrunc.cgroups.fs:remove:before",
    "pyrunc.cgroups.fs:remove:after",
    "pyrunc.container:remove_directory:after",
]
START = [
    "pyrunc.container:lock:after",
    "pyrunc.container:release:before",
    "pyrunc.files:unlink:before",
    "pyrunc.files:unlink:after",
    "pyrunc.container:release:after",
]
EXEC = [
    "pyrunc.container:lock:after",
    "pyrunc.enter:Entry.look:after",
    "pyrunc.cgroups.entry:open_entries:after",
    "pyrunc.handshake:spawn:after",
    "pyrunc.attributes:forget_affinity:before",
    "pyrunc.attributes:forget_affinity:after",
    "pyrunc.handshake:converse:after",
    "pyrunc.attributes:pid_file:before",
    "pyrunc.attributes:pid_file:after",
    "pyrunc.enter:Entry.start:after",
]
DELETE = [
    "pyrunc.processes:kill:before",
    "pyrunc.processes:kill:after",
    "pyrunc.container:destroy:before",
    "pyrunc.cgroups.fs:remove:before",
    "pyrunc.cgroups.fs:remove:after",
    "pyrunc.container:remove_directory:before",
    "pyrunc.files:unlink:after",
    "pyrunc.files:remove_tree:before",
]


def strike(pyrunc, point, *args):
    """Run a verb that is killed at `point`; it must have got there."""
    command = [sys.executable, FAULTY, point, *pyrunc.argv(*args)[1:]]
    # A file: the container that is left would hold a pipe open.
    with open(f"{pyrunc.directory}/struck", "w+") as err:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=err, stderr=err, timeout=20, check=False
        )
        err.seek(0)
        assert done.returncode == -signal.SIGKILL, (point, done, err.read())


def assert_removed(pyrunc, name):
    pyrunc("delete", "--force", name)
    assert name not in pyrunc.names()
    assert not cgroup_dirs(name)
    wait_for(lambda: not processes_in(name), what=f"end of {processes_in(name)}")
    assert pyrunc("state", name, code=1).message == "container does not exist"


def hooked(bundle):
    hook = {"path": "/bin/true", "args": ["true"]}
    bundle.config["hooks"] = {"createRuntime": [hook], "poststop": [hook]}
    return bundle.args("sleep", "1000")


@pytest.mark.parametrize("point", CREATE)
def test_killed_create(pyrunc, bundle, point):
    name = pyrunc.id()
    strike(pyrunc, point, "create", "--bundle", hooked(bundle).save(), name)
    assert_removed(pyrunc, name)
    # the id is free again, and the bundle unharmed
    pyrunc("create", "--bundle", bundle.path, name)
    assert pyrunc.status(name) == "created"


# The last point of CREATE comes in `run` only when the container has ended.
@pytest.mark.parametrize("point", [*CREATE[:-1], *RUN])
def test_killed_run(pyrunc, bundle, point):
    name = pyrunc.id()
    last = "true" if point in RUN[3:] else "sleep"
    strike(pyrunc, point, "run", "--bundle", hooked(bundle).args(last, "1000").save(), name)
    assert_removed(pyrunc, name)


@pytest.mark.parametrize("point", START)
def test_killed_start(pyrunc, bundle, point):
    name = pyrunc.create(bundle.args("sleep", "1000"))
    strike(pyrunc, point, "start", name)
    # either it was started, or it can still be
    if wait_for(lambda: pyrunc.status(name), what="status") == "created":
        pyrunc("start", name, code=None)
    wait_for(lambda: pyrunc.status(name) == "running", what="running")
    assert_removed(pyrunc, name)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("point", EXEC)
def test_killed_exec(pyrunc, bundle, point, detached):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    options = ["-d"] if detached else []
    path = f"{pyrunc.directory}/pid"
    strike(pyrunc, point, "exec", *options, "--pid-file", path, name, "sleep", "2000")
    # Its program runs if it was executed, and nothing else does: init died with its creator.
    executed = EXEC.index(point) >= EXEC.index("pyrunc.handshake:converse:after")
    count = 2 if executed else 1
    wait_for(lambda: len(processes_in(name)) == count, what=f"{count} processes")
    assert os.path.exists(path) == (
        EXEC.index(point) >= EXEC.index("pyrunc.attributes:pid_file:after")
    )
    assert pyrunc("exec", name, "echo", "fine").stdout == "fine\n"
    assert_removed(pyrunc, name)


@pytest.mark.parametrize("point", DELETE)
def test_killed_delete(pyrunc, bundle, point):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    pyrunc("exec", name, "true")  # which leaves its plan
    strike(pyrunc, point, "delete", "--force", name)
    assert_removed(pyrunc, name)


@pytest.mark.parametrize("verb", ["create", "run"])
def test_killed_at_random_moments(pyrunc, bundle, verb):
    """The native parts have no fault points: the clock strikes instead."""
    bundle.args("sleep", "1000").save()
    for step in range(12):
        name = pyrunc.id()
        process = pyrunc.popen(
            verb,
            "--bundle",
            bundle.path,
            name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.002 + 0.003 * step)
        process.kill()
        process.wait()
        assert_removed(pyrunc, name)


def test_init_dies_with_its_creator(pyrunc, bundle):
    name = pyrunc.id()
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"]}
    bundle.config["hooks"] = {"createContainer": [hook]}
    process = pyrunc.popen(
        "create",
        "--bundle",
        bundle.args("true").save(),
        name,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pids = wait_for(lambda: processes_in(name), what="init in its cgroup")
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids), what="end of init")
    assert_removed(pyrunc, name)


def test_a_killed_init_is_a_failed_create(pyrunc, bundle):
    name = pyrunc.id()
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"]}
    bundle.config["hooks"] = {"createContainer": [hook]}
    process = pyrunc.popen(
        "create",
        "--bundle",
        bundle.args("true").save(),
        name,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    pids = wait_for(lambda: processes_in(name), what="init in its cgroup")
    os.kill(min(pids), signal.SIGKILL)
    assert b"init ended before the container was ready" in process.communicate()[1]
    assert process.returncode == 1
    assert name not in pyrunc.names()


def test_a_hanging_create_yields_to_forced_delete(pyrunc, bundle):
    name = pyrunc.id()
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"]}
    bundle.config["hooks"] = {"createContainer": [hook]}
    process = pyrunc.popen(
        "create",
        "--bundle",
        bundle.args("true").save(),
        name,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: processes_in(name), what="init in its cgroup")
    assert_removed(pyrunc, name)
    assert process.wait(10) == 1


def test_two_creates_of_one_id(pyrunc, bundle):
    bundle.args("sleep", "1000").save()
    for _ in range(5):
        name = pyrunc.id()
        racers = [
            pyrunc.popen(
                "create",
                "--bundle",
                bundle.path,
                name,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        assert sorted(racer.wait() for racer in racers) == [0, 1]
        assert pyrunc.status(name) == "created"
        pyrunc("delete", name)


def test_two_starts_start_once(pyrunc, bundle):
    bundle.sh("echo started >>/tmp/log; sleep 1000").save()
    name = pyrunc.create(bundle)
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    racers = [pyrunc.popen("start", name, **quiet) for _ in range(4)]
    assert sorted(racer.wait() for racer in racers) == [0, 1, 1, 1]
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/tmp/log"), what="start")
    with open(f"{bundle.rootfs}/tmp/log") as file:
        assert file.read() == "started\n"


def test_kill_and_delete_race(pyrunc, bundle):
    for _ in range(5):
        name = pyrunc.up(bundle.args("sleep", "1000"))
        quiet = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        racers = [
            pyrunc.popen("kill", name, "9", **quiet),
            pyrunc.popen("delete", "--force", name, **quiet),
            pyrunc.popen("delete", "--force", name, **quiet),
        ]
        codes = [racer.wait() for racer in racers]
        assert codes[1:] == [0, 0], codes
        assert name not in pyrunc.names()


def test_two_hundred_containers_twenty_at_a_time(pyrunc, bundle):
    bundle.args("true").save()
    fds = len(os.listdir("/proc/self/fd"))

    def cycle(number):
        name = f"{pyrunc.prefix}mass{number}"
        for args in (("create", "--bundle", bundle.path, name), ("delete", name)):
            done = subprocess.run(
                pyrunc.argv(*args),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a pipe would stay open as long as init
                check=False,
            )
            assert done.returncode == 0, args

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(cycle, range(200)))
    assert pyrunc.names() == []
    assert not cgroup_dirs(f"{pyrunc.prefix}mass")
    assert len(os.listdir("/proc/self/fd")) <= fds + 1

"""containerd 1.6 and its shim with pyrunc as the runtime, through `ctr`."""

import os
import signal

import pytest
from sandbox import BINARY, IMAGE

from harness import wait_for

RUN = ("run", "--runc-binary", BINARY)


def up(ctr, name="box", *options, command=("sleep", "1000")):
    """Run a container in the background; its id."""
    ctr(*RUN, "--detach", *options, IMAGE, name, *command)
    return name


def tasks(ctr):
    """{id: (pid, status)}, the pid as the sandbox counts."""
    rows = [line.split() for line in ctr("tasks", "list").stdout.splitlines()[1:]]
    return {row[0]: (int(row[1]), row[2]) for row in rows}


@pytest.mark.parametrize("code", [0, 5, 255])
def test_exit_codes(ctr, code):
    ctr(*RUN, "--rm", IMAGE, "box", "sh", "-c", f"exit {code}", code=code)


def test_a_program_that_is_not_there(ctr):
    done = ctr(*RUN, "--rm", IMAGE, "box", "nosuch", code=1)
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr


def test_streams(ctr):
    done = ctr(*RUN, "--rm", IMAGE, "box", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_terminal(ctr):
    shown = ctr.terminal(*RUN, "--rm", "--tty", IMAGE, "box", "readlink", "/proc/self/fd/0")
    assert "/dev/pts/0" in shown


def test_exec(ctr):
    name = up(ctr)
    execute = ("tasks", "exec", "--exec-id", "one")
    assert ctr(*execute, name, "echo", "inside").stdout == "inside\n"
    ctr(*execute, name, "sh", "-c", "exit 9", code=9)
    done = ctr(*execute, "--user", "1000", "--cwd", "/tmp", name, "sh", "-c", "id -u; pwd")
    assert done.stdout == "1000\n/tmp\n"
    shown = ctr.terminal(*execute, "--tty", name, "readlink", "/proc/self/fd/0")
    assert "/dev/pts/" in shown
    assert "not found in $PATH" in ctr(*execute, name, "nosuch", code=1).stderr


def test_pause_and_resume(ctr):
    name = up(ctr)
    ctr("tasks", "pause", name)
    assert tasks(ctr)[name][1] == "PAUSED"
    ctr("tasks", "resume", name)
    assert tasks(ctr)[name][1] == "RUNNING"


def test_metrics_and_ps(ctr):
    name = up(ctr)
    metrics = ctr("tasks", "metrics", name).stdout
    assert "memory.usage_in_bytes" in metrics
    assert "pids.current 1" in " ".join(metrics.split())
    lines = ctr("tasks", "ps", name).stdout.splitlines()
    assert int(lines[1].split()[0]) == tasks(ctr)[name][0]


def test_limits(ctr):
    up(ctr, "box", "--memory-limit", str(16 << 20), "--cpus", "0.5")
    metrics = " ".join(ctr("tasks", "metrics", "box").stdout.split())
    assert str(16 << 20) in metrics


def test_kill(ctr):
    name = up(ctr, command=("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"))
    ctr("tasks", "kill", "--signal", "SIGTERM", name)
    wait_for(lambda: tasks(ctr)[name][1] == "STOPPED", what="end")
    assert "non-zero exit code 3" in ctr("tasks", "delete", name).stderr


def test_kill_all_and_delete_by_force(ctr):
    name = up(ctr)
    ctr("tasks", "kill", "--all", "--signal", "SIGKILL", name)
    wait_for(lambda: tasks(ctr)[name][1] == "STOPPED", what="end")
    ctr("tasks", "delete", name, code=None)
    ctr("tasks", "start", "--detach", name)
    ctr("tasks", "delete", "--force", name, code=None)
    assert name not in tasks(ctr)


def test_seccomp_and_the_hosts_network(ctr):
    read = "grep ^Seccomp: /proc/self/status; ls /sys/class/net"
    done = ctr(*RUN, "--rm", "--seccomp", "--net-host", IMAGE, "box", "sh", "-c", read)
    assert done.stdout.split()[:2] == ["Seccomp:", "2"]


def test_containerd_restarts_under_live_containers(ctr):
    name = up(ctr)
    pid, status = tasks(ctr)[name]
    ctr.sandbox.restart("containerd")
    wait_for(lambda: ctr("version", code=None).code == 0, what="containerd")
    assert tasks(ctr)[name] == (pid, "RUNNING")
    assert ctr("tasks", "exec", "--exec-id", "one", name, "echo", "here").stdout == "here\n"


def test_a_killed_shim_takes_its_container_along(ctr):
    name = up(ctr)
    shims = [pid for pid, line in ctr.sandbox.processes().items() if "containerd-shim" in line]
    assert shims
    for pid in shims:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: tasks(ctr).get(name, (0, "STOPPED"))[1] != "RUNNING", what="cleanup")
    ctr("tasks", "delete", "--force", name, code=None)
    wait_for(lambda: "sleep 1000" not in ctr.sandbox.processes().values(), what="its end")

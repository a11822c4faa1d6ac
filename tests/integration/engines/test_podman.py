"""Podman 4.3 as root with pyrunc as its runtime, configured as README.md says."""

import json

import pytest
from engine import state, up
from sandbox import IMAGE

from harness import wait_for


def test_pyrunc_is_the_runtime(podman):
    assert podman("info", "--format", "{{.Host.OCIRuntime.Name}}").stdout == "pyrunc\n"


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_codes(podman, code):
    podman("run", "--rm", IMAGE, "sh", "-c", f"exit {code}", code=code)


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such", 127), ("nosuch", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_programs_that_cannot_run(podman, program, code):
    podman("run", "--rm", IMAGE, program, code=code)


def test_streams(podman):
    done = podman("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo err >&2", stdin="in\n")
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


def test_a_terminal(podman):
    shown = podman.terminal("run", "--rm", "-it", IMAGE, "readlink", "/proc/self/fd/0")
    assert "/dev/pts/0" in shown


def test_exec(podman):
    name = up(podman)
    assert podman("exec", name, "echo", "inside").stdout == "inside\n"
    podman("exec", name, "sh", "-c", "exit 7", code=7)
    podman("exec", name, "nosuch", code=127)
    podman("exec", name, "/etc/passwd", code=126)
    options = ("-i", "--user=1000:2000", "--workdir=/tmp", "--env=A=b")
    done = podman("exec", *options, name, "sh", stdin="id -u; id -g; pwd; echo $A")
    assert done.stdout.split() == ["1000", "2000", "/tmp", "b"]
    assert "/dev/pts/" in podman.terminal("exec", "-it", name, "readlink", "/proc/self/fd/0")
    podman("exec", "--detach", name, "touch", "/made")
    wait_for(lambda: podman("exec", name, "test", "-e", "/made", code=None).code == 0, what="file")


def test_stop_kill_and_restart(podman):
    name = up(podman, command=("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"))
    podman("stop", "--time", "5", name)
    assert state(podman, name, "State.ExitCode") == "5"
    podman("start", name)
    podman("kill", name)
    podman("wait", name)
    assert state(podman, name, "State.ExitCode") == "137"
    podman("restart", "--time", "1", name)
    assert state(podman, name) == "running"


def test_pause_stats_and_top(podman):
    name = up(podman)
    podman("pause", name)
    assert state(podman, name) == "paused"
    podman("exec", name, "true", code=255)
    podman("unpause", name)
    assert "sleep 1000" in podman("top", name).stdout
    (stats,) = json.loads(podman("stats", "--no-stream", "--format", "json", name).stdout)
    assert stats["pids"] == "1"


def test_a_paused_container_can_be_removed(podman):
    name = up(podman)
    podman("pause", name)
    podman("rm", "--force", "--time", "0", name)


@pytest.mark.usefixtures("v1_files")
def test_limits(podman):
    options = ("--memory", "32m", "--pids-limit", "20", "--cpus", "0.5")
    read = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    done = podman("run", "--rm", *options, IMAGE, "sh", "-c", read)
    assert done.stdout.split() == [str(32 << 20), "20", "50000"]


@pytest.mark.usefixtures("v1_files")
def test_no_cgroups_at_all(podman):
    name = up(podman, "--cgroups=disabled")
    program = ("sh", "-c", "cat /proc/self/cgroup; echo; cat /proc/1/cgroup")
    own, first = podman("exec", name, *program).stdout.split("\n\n")
    assert name not in first
    assert "libpod" not in own + first
    podman("kill", name)
    assert podman("wait", name).stdout == "137\n"


def test_update(podman):
    name = up(podman, "--memory", "64m")
    podman("update", "--cpu-shares", "300", name)
    assert podman("exec", name, "cat", "/sys/fs/cgroup/cpu/cpu.shares").stdout == "300\n"


def test_a_memory_limit_ends_who_wants_more(podman):
    options = ("--memory", "16m", "--memory-swap", "16m")
    podman("run", "--rm", *options, IMAGE, "sh", "-c", "tail -c 64m /dev/zero", code=137)


def test_a_pod(podman):
    podman("pod", "create", "--name", "pod")
    first = up(podman, "--pod", "pod", command=("nc", "-l", "-p", "80", "-e", "echo", "hi"))
    done = podman("run", "--rm", "--pod", "pod", IMAGE, "nc", "-w", "5", "127.0.0.1", "80")
    assert done.stdout == "hi\n"
    podman("wait", first)
    podman("pod", "stop", "--time", "0", "pod")
    podman("pod", "rm", "pod")


def test_a_health_check(podman):
    name = up(podman, "--health-cmd", "true", "--health-interval", "disable")
    podman("healthcheck", "run", name)
    bad = up(podman, "--health-cmd", "false", "--health-interval", "disable")
    podman("healthcheck", "run", bad, code=1)


def test_volumes(podman):
    podman("volume", "create", "data")
    podman("run", "--rm", "-v", "data:/data", IMAGE, "sh", "-c", "echo kept >/data/file")
    done = podman("run", "--rm", "-v", "data:/data:ro", IMAGE, "cat", "/data/file")
    assert done.stdout == "kept\n"
    podman("run", "--rm", "-v", "data:/etc:nocopy", IMAGE, "test", "!", "-e", "/etc/group")
    podman("volume", "rm", "data")


def test_a_read_only_root_and_a_tmpfs(podman):
    options = ("--read-only", "--tmpfs", "/scratch:size=1m")
    script = "touch /file; touch /scratch/f && ls /scratch"
    done = podman("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert done.stdout == "f\n"


def test_networks(podman):
    done = podman("run", "--rm", "--network", "none", IMAGE, "ls", "/sys/class/net")
    assert done.stdout == "lo\n"
    podman("run", "--rm", "--network", "host", IMAGE, "true")
    assert "eth0" in podman("run", "--rm", IMAGE, "ls", "/sys/class/net").stdout


def test_security_options(podman):
    status = "grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status | cut -f2 | tr -d '\\n'"

    def see(*options):
        return podman("run", "--rm", *options, IMAGE, "sh", "-c", status).stdout

    assert see() == "02"
    assert see("--security-opt", "no-new-privileges") == "12"
    assert see("--security-opt", "seccomp=unconfined") == "00"


def test_privileged(podman):
    script = "mount -t tmpfs none /tmp && echo mounted"
    done = podman("run", "--rm", "--privileged", IMAGE, "sh", "-c", script)
    assert done.stdout == "mounted\n"


def test_logs_and_ps(podman):
    name = up(podman, command=("sh", "-c", "echo line; sleep 1000"))
    wait_for(lambda: podman("logs", name).stdout == "line\n", what="log line")
    assert podman("ps", "--format", "{{.ID}}", "--no-trunc").stdout.strip() == name

"""Docker 20.10 with pyrunc as its default runtime, configured as README.md says."""

import json

import pytest
from engine import state, up
from sandbox import IMAGE

from harness import read, wait_for


def test_pyrunc_is_the_default_runtime(docker):
    assert docker("info", "--format", "{{.DefaultRuntime}}").stdout == "pyrunc\n"
    assert state(docker, up(docker), "HostConfig.Runtime") == "pyrunc"


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_codes(docker, code):
    docker("run", "--rm", IMAGE, "sh", "-c", f"exit {code}", code=code)


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such", 127), ("nosuch", 127), ("/etc/passwd", 126)]
)
def test_programs_that_cannot_run(docker, program, code):
    docker("run", "--rm", IMAGE, program, code=code)


def test_streams(docker):
    done = docker("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo err >&2", stdin="in\n")
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


def test_a_terminal(docker):
    shown = docker.terminal(
        "run",
        "--rm",
        "-it",
        IMAGE,
        "sh",
        "-c",
        'tty; until [ "$(stty size 2>&1)" = "24 80" ]; do sleep 0.05; done; exit 4',
        code=4,
    )
    assert "/dev/" in shown


def test_exec(docker):
    name = up(docker)
    assert docker("exec", name, "echo", "inside").stdout == "inside\n"
    docker("exec", name, "sh", "-c", "exit 7", code=7)
    assert "executable file not found" in docker("exec", name, "nosuch", code=126).stdout
    done = docker(
        "exec",
        "-i",
        "-u",
        "1000:2000",
        "-w",
        "/tmp",
        "-e",
        "A=b",
        name,
        "sh",
        stdin="id; pwd; echo $A",
    )
    assert done.stdout.splitlines() == [
        "uid=1000(user) gid=2000(extra) groups=2000(extra)",
        "/tmp",
        "b",
    ]
    assert "/dev/" in docker.terminal("exec", "-it", name, "readlink", "/proc/self/fd/0")


def test_stop_kill_and_restart(docker):
    name = up(docker, command=("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"))
    docker("stop", "--time", "5", name)
    assert state(docker, name, "State.ExitCode") == "5"
    docker("start", name)
    docker("kill", name)
    docker("wait", name)
    assert state(docker, name, "State.ExitCode") == "137"
    docker("restart", "--time", "1", name)
    assert state(docker, name) == "running"


def test_a_restart_policy(docker):
    name = up(docker, "--restart", "on-failure:2", command=("false",))
    wait_for(lambda: state(docker, name, "RestartCount") == "2", 20, "second restart")


def test_pause_stats_and_top(docker):
    name = up(docker)
    docker("pause", name)
    assert state(docker, name) == "paused"
    docker("unpause", name)
    assert "sleep 1000" in docker("top", name).stdout
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", name).stdout)
    assert stats["PIDs"] == "1"
    assert not stats["MemUsage"].startswith("0B")


def test_a_paused_container_can_be_killed(docker):
    name = up(docker)
    docker("pause", name)
    docker("rm", "--force", name)


@pytest.mark.usefixtures("v1_files")
def test_update(docker):
    name = up(docker, "--memory", "64m", "--memory-swap", "64m")
    docker("update", "--memory", "32m", "--memory-swap", "48m", "--cpu-shares", "300", name)
    read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares"
    assert docker("exec", name, "sh", "-c", read).stdout.split() == [str(32 << 20), "300"]


def test_the_oom_killer_is_told_of(docker):
    command = ("sh", "-c", "tail -c 64m /dev/zero")
    name = up(docker, "--memory", "16m", "--memory-swap", "16m", command=command)
    docker("wait", name)
    assert state(docker, name, "State.ExitCode") == "137"
    assert state(docker, name, "State.OOMKilled") == "true"


def test_the_smallest_memory_limit(docker):
    done = docker("run", "--rm", "--memory", "6m", IMAGE, "echo", "small")
    assert done.stdout == "small\n"


def test_a_bridged_network(docker):
    server = up(docker, "--name", "server", command=("nc", "-l", "-p", "80", "-e", "echo", "hi"))
    address = state(docker, server, "NetworkSettings.IPAddress")
    done = docker(
        "run", "--rm", IMAGE, "sh", "-c", f"ip addr show eth0; nc -w 5 {address} 80 </dev/null"
    )
    assert "172." in done.stdout
    assert done.stdout.splitlines()[-1] == "hi"


def test_other_networks(docker):
    assert docker("run", "--rm", "--net", "none", IMAGE, "ls", "/sys/class/net").stdout == "lo\n"
    host = docker("run", "--rm", "--net", "host", IMAGE, "ls", "/sys/class/net").stdout
    assert "docker0" in host.split()


def test_shared_namespaces(docker):
    show = "for ns in pid ipc net; do readlink /proc/self/ns/$ns; done"
    name = up(docker, "--ipc", "shareable")
    options = [f"--{kind}=container:{name}" for kind in ("pid", "ipc", "net")]
    inside = docker("exec", name, "sh", "-c", show).stdout
    assert docker("run", "--rm", *options, IMAGE, "sh", "-c", show).stdout == inside
    options = ("--pid=host", "--ipc=host")
    assert "dockerd" in docker("run", "--rm", *options, IMAGE, "ps", "-o", "comm").stdout.split()


def test_a_read_only_root_and_a_tmpfs(docker):
    script = "touch /file; touch /scratch/file && ls /scratch"
    options = ("--read-only", "--tmpfs", "/scratch:size=1m")
    done = docker("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert done.stdout == "file\n"
    assert "Read-only file system" in done.stderr


def test_volumes(docker, tmp_path):
    docker("volume", "create", "data")
    docker("run", "--rm", "-v", "data:/data", IMAGE, "sh", "-c", "echo kept >/data/file")
    assert (
        docker("run", "--rm", "-v", "data:/data:ro", IMAGE, "cat", "/data/file").stdout == "kept\n"
    )
    docker("volume", "rm", "data")


def test_an_init(docker):
    done = docker("run", "--rm", "--init", IMAGE, "sh", "-c", "cat /proc/1/comm; echo $$")
    assert done.stdout.split()[0] in ("docker-init", "tini")


def test_security_options(docker):
    status = "grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status | cut -f2 | tr -d '\\n'"

    def see(*options):
        return docker("run", "--rm", *options, IMAGE, "sh", "-c", status).stdout

    assert see() == "02"
    assert see("--security-opt", "no-new-privileges") == "12"
    assert see("--security-opt", "seccomp=unconfined") == "00"


def test_capabilities(docker):
    def caps(*options):
        return docker(
            "run", "--rm", *options, IMAGE, "grep", "CapEff", "/proc/self/status"
        ).stdout.split()[1]

    assert caps("--cap-drop", "ALL") == "0000000000000000"
    assert caps("--cap-drop", "ALL", "--cap-add", "NET_ADMIN") == "0000000000001000"


@pytest.mark.parametrize("real", [False, True], ids=["in parts", "as one option"])
def test_privileged(docker, real):
    options = ["--privileged"]
    if not real:
        options = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"]
        options += ["--security-opt=systempaths=unconfined", "--security-opt=apparmor=unconfined"]
    elif not int(read("/proc/self/status").partition("CapBnd:")[2].split()[0], 16) >> 24 & 1:
        pytest.skip("Docker asks for CAP_SYS_RESOURCE, which root does not have here")
    script = "mount -t tmpfs tmpfs /tmp && ls /sys/firmware | wc -l"
    done = docker("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert int(done.stdout) > 0
    done = docker("run", "--rm", IMAGE, "mount", "-t", "tmpfs", "tmpfs", "/tmp", code=1)
    assert "ermitted" in done.stderr or "denied" in done.stderr


@pytest.mark.usefixtures("v1_files")
def test_limits(docker):
    options = ("--ulimit", "nofile=100:200", "--pids-limit", "20", "--cpus", "0.5")
    script = "ulimit -n; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    assert docker("run", "--rm", *options, IMAGE, "sh", "-c", script).stdout.split() == [
        "100",
        "20",
        "50000",
    ]


def test_a_health_check(docker):
    name = up(docker, "--health-cmd", "true", "--health-interval", "1s")
    wait_for(lambda: state(docker, name, "State.Health.Status") == "healthy", 20, "health")


def test_logs_cp_and_diff(docker):
    name = up(docker, command=("sh", "-c", "echo line; touch /new; sleep 1000"))
    wait_for(lambda: docker("logs", name).stdout == "line\n", what="log line")
    assert "A /new" in docker("diff", name).stdout
    done = docker("cp", f"{name}:/etc/group", "-")
    assert "extra:x:2000" in done.stdout


def test_a_host_name_and_hosts(docker):
    options = ("--hostname", "box", "--add-host", "other:10.0.0.9", "--dns", "10.0.0.1")
    done = docker(
        "run", "--rm", *options, IMAGE, "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf"
    )
    assert done.stdout.startswith("box\n")
    assert "10.0.0.9\tother" in done.stdout
    assert "nameserver 10.0.0.1" in done.stdout

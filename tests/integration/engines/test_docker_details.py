"""What Docker's options ask of pyrunc, seen from inside the container."""

import json
import os
import signal
import subprocess
import time

import pytest
from engine import see, state, up
from sandbox import IMAGE

from harness import wait_for

CAPS = "grep -E 'Cap(Prm|Bnd|Amb)' /proc/self/status | cut -f2"
LOOP = "echo ready; while :; do sleep 0.05; done"


def logged(docker, name, text):
    wait_for(lambda: text in docker("logs", name).stdout, what=f"{text} in the log")


# --- terminals and streams ---


def test_a_shell_that_is_typed_into(docker):
    keys = "echo $((6 * 7))\nexit 3\n"
    assert "42" in docker.terminal("run", "--rm", "-it", IMAGE, keys=keys, after="#", code=3)
    name = up(docker)
    assert "42" in docker.terminal("exec", "-it", name, "sh", keys=keys, after="#", code=3)


def test_ctrl_c_on_a_terminal_interrupts(docker):
    options = ("run", "--rm", "-it", IMAGE, "sh", "-c", f"trap 'echo caught; exit 5' INT; {LOOP}")
    assert "caught" in docker.terminal(*options, keys="\3", after="ready", code=5)


def test_detached_from_and_attached_again(docker):
    options = ("run", "--name", "box", "-it", IMAGE)
    docker.terminal(*options, keys="\x10\x11", after="#", code=None)
    assert state(docker, "box") == "running"
    keys = "echo $((6 * 7)); exit 6\n"
    assert "42" in docker.terminal("attach", "box", keys=keys, code=6)


def test_a_terminal_of_an_exec_has_a_size(docker):
    name = up(docker)
    script = 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; exit 4'
    docker.terminal("exec", "-it", name, "sh", "-c", script, rows=33, columns=77, code=4)


def test_many_bytes_pass_unchanged(docker):
    data = "0123456789abcde\n" * (1 << 16)
    name = up(docker)
    assert docker("exec", "-i", name, "cat", stdin=data).stdout == data
    assert docker("run", "--rm", "-i", IMAGE, "cat", stdin=data).stdout == data


def test_a_created_container_is_attached_to_at_its_start(docker):
    name = docker("create", "-i", IMAGE, "sh", "-c", "cat; echo err >&2; exit 3").stdout.strip()
    done = docker("start", "--attach", "--interactive", name, stdin="in\n", code=3)
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


# --- life ---


def test_signals(docker):
    name = up(docker, command=("sh", "-c", f"trap 'echo got; exit 9' USR1; {LOOP}"))
    logged(docker, name, "ready")
    docker("kill", "--signal", "STOP", name)
    docker("kill", "--signal", "CONT", name)
    docker("kill", "--signal", "USR1", name)
    assert docker("wait", name).stdout == "9\n"
    assert "is not running" in docker("kill", name, code=1).stderr


def test_a_stop_signal_of_its_own(docker):
    command = ("sh", "-c", f"trap 'exit 8' 37; {LOOP}")
    name = up(docker, "--stop-signal", "RTMIN+3", command=command)
    logged(docker, name, "ready")
    docker("stop", name)
    assert state(docker, name, "State.ExitCode") == "8"


def test_a_stop_that_is_not_heard(docker):
    name = up(docker)
    docker("stop", "--time", "0", name)
    assert state(docker, name, "State.ExitCode") == "137"
    assert state(docker, name, "State.OOMKilled") == "false"


def test_processes_of_the_hosts_pid_namespace_end_with_the_first(docker):
    name = up(docker, "--pid", "host", command=("sh", "-c", "sleep 987 & exec sleep 1000"))
    wait_for(lambda: "sleep 987" in docker.sandbox.processes().values(), what="both")
    docker("kill", name)
    docker("wait", name)
    wait_for(lambda: "sleep 987" not in docker.sandbox.processes().values(), what="end of all")


def test_a_detached_exec(docker):
    name = up(docker)
    docker("exec", "--detach", name, "sh", "-c", "echo $$ >/pid; exec sleep 999")
    wait_for(lambda: "sleep 999" in docker("top", name).stdout, what="exec")
    docker("exec", name, "sh", "-c", "kill -9 $(cat /pid)")
    wait_for(lambda: "sleep 999" not in docker("top", name).stdout, what="its end")


def test_an_exec_that_is_killed(docker):
    name = up(docker)
    docker("exec", name, "sh", "-c", "kill -9 $$", code=137)
    docker("exec", name, "sh", "-c", "kill -TERM $$", code=143)


@pytest.mark.parametrize("program", ["/no/such", "/etc/passwd", "/etc"])
def test_programs_that_an_exec_cannot_run(docker, program):
    done = docker("exec", up(docker), program, code=126)
    assert "OCI runtime exec failed: exec failed: unable to start container process" in done.stdout


def test_a_paused_container_stops(docker):
    name = up(docker)
    docker("pause", name)
    assert "is paused" in docker("exec", name, "true", code=1).stderr
    docker("stop", "--time", "0", name)
    assert state(docker, name) == "exited"
    docker("start", name)
    assert state(docker, name) == "running"


def test_what_the_runtime_refuses_is_told_by_docker(docker):
    options = ("--volume", "/etc/passwd:/etc/passwd/below")
    done = docker("run", "--rm", *options, IMAGE, "true", code=125)
    assert "OCI runtime create failed: " in done.stderr
    assert "not a directory" in done.stderr
    assert "Are you trying to mount a directory onto a file" in done.stderr
    done = docker("run", "--rm", "--sysctl", "net.nosuch=1", IMAGE, "true", code=None)
    assert done.code in (125, 127)
    assert "nosuch" in done.stderr


def test_a_failed_start_can_be_repeated(docker):
    name = docker("create", IMAGE, "/late").stdout.strip()
    for _ in range(2):
        docker("start", name, code=1)
        assert state(docker, name, "State.ExitCode") == "127"
    docker("cp", "/bin/busybox", f"{name}:/late")
    docker("start", name)
    docker("wait", name)
    assert state(docker, name) == "exited"


def test_containers_at_the_same_time(docker):
    argv = docker.sandbox.argv(*docker.before, "run", "--rm", IMAGE, "sleep", "0.2")
    running = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6


def test_execs_at_the_same_time(docker):
    name = up(docker)
    argv = docker.sandbox.argv(*docker.before, "exec", name, "sh", "-c", "sleep 0.2; exit 7")
    running = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(8)]
    assert [process.wait(60) for process in running] == [7] * 8


def test_events(docker):
    name = up(docker, "--memory=16m", command=("sh", "-c", "tail -c 64m /dev/zero"))
    docker("wait", name)
    options = ("--since=1m", f"--until={time.time():.9f}", "--format={{.Action}}")
    seen = docker("events", *options, f"--filter=container={name}").stdout.split()
    assert [one for one in seen if one in ("start", "oom", "die")] == ["start", "oom", "die"]


def test_a_health_check_that_fails(docker):
    options = ("--health-cmd=exit 1", "--health-interval=100ms", "--health-retries=1")
    name = up(docker, *options)
    wait_for(lambda: state(docker, name, "State.Health.Status") == "unhealthy", what="health")


# --- resources ---


@pytest.mark.usefixtures("v1_files")
def test_all_limits_together(docker):
    options = ["--cpu-quota=50000", "--cpu-period=90000", "--cpu-shares=300", "--cpuset-cpus=0"]
    options += ["--memory=20m", "--memory-swap=30m", "--memory-reservation=8m"]
    options += ["--memory-swappiness=10", "--oom-kill-disable", "--cpuset-mems=0"]
    files = "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpuset/cpuset.cpus "
    files += "cpuset/cpuset.mems memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes "
    files += "memory/memory.soft_limit_in_bytes memory/memory.swappiness"
    script = f"cd /sys/fs/cgroup; cat {files}; head -n 1 memory/memory.oom_control"
    done = see(docker, *options, script=script).split()
    assert done[:5] == ["50000", "90000", "300", "0", "0"]
    assert done[5:9] == [*(str(n << 20) for n in (20, 30, 8)), "10"]
    assert done[9:] == ["oom_kill_disable", "1"]


@pytest.mark.usefixtures("v1_files")
def test_update_of_everything(docker):
    name = up(docker, "--memory=64m", "--memory-swap=128m")
    options = ["--cpus=0.3", "--cpuset-cpus=0", "--memory=32m", "--memory-reservation=8m"]
    docker("update", *options, "--memory-swap=96m", "--pids-limit=33", name)
    files = "cpu/cpu.cfs_quota_us cpuset/cpuset.cpus memory/memory.limit_in_bytes "
    files += "memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max"

    def limits():
        return docker("exec", name, "sh", "-c", f"cd /sys/fs/cgroup; cat {files}").stdout.split()

    expected = ["30000", "0", *(str(n << 20) for n in (32, 8, 96))]
    assert limits() == [*expected, "33"]
    docker("update", "--pids-limit=-1", name)
    assert limits() == [*expected, "max"]
    docker("restart", "--time", "0", name)
    assert limits() == [*expected, "max"]


@pytest.mark.usefixtures("v1_files")
def test_update_of_a_paused_container(docker):
    name = up(docker, "--memory=64m", "--memory-swap=128m")
    docker("pause", name)
    docker("update", "--memory=32m", name)
    assert state(docker, name) == "paused"
    docker("unpause", name)
    done = docker("exec", name, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes").stdout
    assert done == f"{32 << 20}\n"


def test_stats_of_memory(docker):
    name = up(docker, "--memory=32m")
    (stats,) = docker("stats", "--no-stream", "--format={{.MemUsage}}", name).stdout.splitlines()
    assert stats.endswith("/ 32MiB")
    assert not stats.startswith("0B")


@pytest.mark.usefixtures("v1_files")
def test_cgroup_parents_and_namespaces(docker):
    read = "grep memory /proc/self/cgroup"
    parent = f"/pt{os.getpid()}-parent"
    assert f":{parent}/" in see(docker, "--cgroup-parent", parent, script=read)
    assert see(docker, "--cgroupns", "private", script=read).endswith(":/\n")


def test_rlimits_sysctl_and_the_rest_of_a_process(docker):
    options = ["--ulimit=nofile=100:200", "--ulimit=nproc=50:50", "--sysctl=kernel.msgmax=1000"]
    options += ["--oom-score-adj=500", "--group-add=2000", "--hostname=name", "--domainname=dom"]
    options += ["--env=A=b c", "--workdir=/made/here", "--user=1000:1000"]
    script = "ulimit -n; ulimit -Hn; ulimit -u; cat /proc/sys/kernel/msgmax; cat "
    script += "/proc/self/oom_score_adj /proc/sys/kernel/domainname; id; hostname; pwd; echo $A"
    done = see(docker, *options, script=script).splitlines()
    assert done[:6] == ["100", "200", "50", "1000", "500", "dom"]
    assert done[6] == "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)"
    assert done[7:] == ["name", "/made/here", "b c"]


# --- privileges ---


def test_the_sets_of_capabilities(docker):
    def caps(*options):
        return see(docker, *options, script=CAPS).split()

    none, net = f"{0:016x}", f"{1 << 12:016x}"
    assert caps("--cap-drop=all", "--cap-add=net_admin") == [net, net, none]
    assert caps("--user=1000", "--cap-drop=all", "--cap-add=net_admin") == [none, net, none]
    # This host may lack CAP_SYS_RESOURCE, 24.
    most = int(caps("--cap-add=all", "--cap-drop=sys_resource")[0], 16)
    assert most & 1 << 21
    assert not most & 1 << 24


def test_devices_and_their_rules(docker):
    options = ("--device", "/dev/full:/dev/mine:r")
    script = "ls -l /dev/mine; head -c 2 /dev/mine | wc -c; echo x >/dev/mine || echo refused"
    done = see(docker, *options, script=script)
    assert done.startswith("crw-rw-rw-")
    assert done.split("\n")[1:3] == ["2", "refused"]


def test_a_device_rule(docker):
    script = "mknod /fuse c 10 229; true </fuse; true"
    refused = "can't open /fuse: Operation not permitted"
    assert refused in docker("run", "--rm", IMAGE, "sh", "-c", script, code=None).stderr
    name = up(docker, "--device-cgroup-rule=c 10:* rwm")
    docker("update", "--cpu-shares=200", name)
    assert refused not in docker("exec", name, "sh", "-c", script, code=None).stderr


def test_masked_and_read_only_paths(docker):
    script = "ls /sys/firmware | wc -l; cat /proc/kcore | wc -c; echo 0 >/proc/sys/vm/swappiness"
    done = docker("run", "--rm", IMAGE, "sh", "-c", script, code=1)
    assert done.stdout == "0\n0\n"
    assert "Read-only file system" in done.stderr
    options = ("--security-opt", "systempaths=unconfined")
    assert see(docker, *options, script="ls /sys/firmware | head -n 1") != ""


def test_a_seccomp_profile(docker):
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    docker.sandbox.write("/etc/profile.json", json.dumps(profile))
    options = ("--security-opt", "seccomp=/etc/profile.json")
    done = docker("run", "--rm", *options, IMAGE, "mkdir", "/made", code=1)
    assert "Operation not permitted" in done.stderr
    assert "not permitted" in docker("exec", up(docker, *options), "mkdir", "/x", code=1).stderr


# --- files ---


def test_mounts_of_every_kind(docker):
    options = ["--mount=type=bind,src=/etc,dst=/bind,ro", "--volume=/anonymous"]
    options += ["--mount=type=tmpfs,dst=/memory,tmpfs-size=65536,tmpfs-mode=1770"]
    options += ["--volume=named:/named:nocopy", "--shm-size=1m", "--volume=/etc/passwd:/file:ro"]
    options += ["--tmpfs=/run:rw,noexec,nosuid,size=64k"]
    script = "touch /memory/x /named/x /anonymous/x /run/x; touch /bind/x; echo >/file; "
    script += "stat -c %a /memory; grep -E ' /(memory|dev/shm|run) ' /proc/mounts"
    done = docker("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert done.stderr.count("Read-only file system") == 2
    assert done.stderr.count("\n") == 2
    mode, *lines = done.stdout.splitlines()
    mounts = {line.split()[1]: line for line in lines}
    assert mode == "1770"
    assert "size=64k" in mounts["/memory"]
    assert "size=1024k" in mounts["/dev/shm"]
    assert "noexec" in mounts["/run"]
    docker("volume", "rm", "named")


def test_propagation_of_a_volume(docker):
    docker.sandbox("mkdir", "-p", "/run/shared/late")
    name = up(docker, "--volume", "/run/shared:/shared:rslave")
    docker.sandbox("mount", "-t", "tmpfs", "late", "/run/shared/late")
    try:
        assert "late /shared/late tmpfs" in docker("exec", name, "cat", "/proc/mounts").stdout
        options = ("--volume=/run/shared:/shared:ro", "--volume=/run/shared/late:/other")
        assert see(docker, *options, script="touch /other/x; ls /shared/late") == "x\n"
    finally:
        docker.sandbox("umount", "/run/shared/late")
    assert docker("exec", name, "ls", "/shared/late").stdout == ""


def test_volumes_from_another_container(docker):
    name = up(docker, "--volume=/data", command=("sh", "-c", f"echo kept >/data/file; {LOOP}"))
    logged(docker, name, "ready")
    assert see(docker, "--volumes-from", name, script="cat /data/file") == "kept\n"


# --- networks ---


def test_a_network_of_users(docker):
    docker("network", "create", "mine")
    try:
        name = up(docker, "--network", "mine", "--name", "server")
        see(docker, "--network", "mine", script="nslookup server")
        docker("network", "connect", "bridge", name)
        assert "eth1" in docker("exec", name, "ls", "/sys/class/net").stdout.split()
        docker("network", "disconnect", "mine", name)
        assert "eth0" not in docker("exec", name, "ls", "/sys/class/net").stdout.split()
        docker("rm", "--force", name)
    finally:
        docker("network", "rm", "mine")


def test_a_published_port(docker):
    name = up(docker, "--publish", "8080:80", command=("nc", "-ll", "-p", "80", "-e", "echo", "hi"))
    gateway = state(docker, name, "NetworkSettings.Gateway")
    argv = ("busybox", "nc", "-w", "5", gateway, "8080")
    wait_for(lambda: docker.sandbox(*argv, code=None).stdout == "hi\n", what="answer")


# --- images ---


def test_a_commit(docker):
    name = docker("create", IMAGE, "sh", "-c", "echo new >/new").stdout.strip()
    docker("start", "--attach", name)
    docker("commit", name, "made")
    assert docker("run", "--rm", "made", "cat", "/new").stdout == "new\n"
    docker("rmi", "made")


# --- the daemon ---


def test_a_killed_shim(docker):
    name = up(docker)
    for pid, line in docker.sandbox.processes().items():
        if "containerd-shim" in line and name in line:
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: state(docker, name) == "exited", what="end")
    docker("start", name)
    assert docker("exec", name, "echo", "again").stdout == "again\n"


def test_dockerd_restarts_under_live_containers(docker):
    path = "/etc/docker/daemon.json"
    config = {**json.loads(docker.sandbox.read(path)), "live-restore": True}
    docker.sandbox.write(path, json.dumps(config))
    lines = docker.sandbox.processes().items()
    (pid,) = [pid for pid, line in lines if line.startswith("dockerd ")]
    os.kill(pid, signal.SIGHUP)
    ask = ("info", "--format={{.LiveRestoreEnabled}}")
    wait_for(lambda: docker(*ask).stdout == "true\n", what="live restore")
    name = up(docker)
    first = state(docker, name, "State.Pid")
    docker.sandbox.restart("dockerd")
    wait_for(lambda: docker("version", code=None).code == 0, what="dockerd")
    assert (state(docker, name), state(docker, name, "State.Pid")) == ("running", first)
    assert docker("exec", name, "echo", "here").stdout == "here\n"
    docker("pause", name)
    docker("unpause", name)
    docker("stop", "--time", "0", name)
    assert state(docker, name, "State.ExitCode") == "137"

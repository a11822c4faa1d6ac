"""What Podman's options ask of pyrunc, seen from inside the container."""

import json
import os
import subprocess

import pytest
from engine import see, state, up
from sandbox import IMAGE

from harness import wait_for

CAPS = "grep -E 'Cap(Prm|Bnd|Amb)' /proc/self/status | cut -f2"
HOOK = {
    "version": "1.0.0",
    "hook": {
        "path": "/bin/sh",
        "args": ["sh", "-c", "cat >>/run/hooks.log; echo >>/run/hooks.log"],
    },
    "when": {"always": True},
    "stages": ["prestart", "createRuntime", "createContainer", "poststart", "poststop"],
}


# --- terminals and streams ---


def test_a_terminal_has_a_size_and_an_exit_status(podman):
    script = 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; tty; exit 4'
    options = ("run", "--rm", "-it", IMAGE, "sh", "-c", script)
    assert "/dev/pts/0" in podman.terminal(*options, rows=33, columns=77, code=4)


def test_ctrl_c_on_a_terminal_interrupts(podman):
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    options = ("run", "--rm", "-it", IMAGE, "sh", "-c", script)
    assert "caught" in podman.terminal(*options, keys="\3", after="ready", code=5)


def test_a_shell_that_is_typed_into(podman):
    shown = podman.terminal("run", "--rm", "-it", IMAGE, keys="echo $((6 * 7))\nexit 3\n", code=3)
    assert "42" in shown
    name = up(podman)
    shown = podman.terminal("exec", "-it", name, "sh", keys="echo $((6 * 7))\nexit 3\n", code=3)
    assert "42" in shown


def test_many_bytes_pass_unchanged(podman):
    data = "0123456789abcde\n" * (1 << 16)
    name = up(podman)
    assert podman("exec", "-i", name, "cat", stdin=data).stdout == data
    assert podman("run", "--rm", "-i", IMAGE, "cat", stdin=data).stdout == data


def test_a_created_container_is_attached_to_at_its_start(podman):
    name = podman("create", "-i", IMAGE, "sh", "-c", "cat; echo err >&2; exit 3").stdout.strip()
    done = podman("start", "--attach", "--interactive", name, stdin="in\n", code=3)
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


def test_descriptors_are_preserved(podman):
    script = 'podman run --rm --preserve-fds 1 "$0" sh -c "echo passed >&3" 3>/run/passed'
    podman.sandbox("sh", "-c", script, IMAGE)
    assert podman.sandbox.read("/run/passed") == "passed\n"


# --- life ---


def test_a_restart_policy(podman):
    name = up(podman, "--restart", "on-failure:2", command=("false",))
    wait_for(lambda: state(podman, name, "RestartCount") == "2", 20, "second restart")
    assert state(podman, name, "State.ExitCode") == "1"


def test_signals(podman):
    script = "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    name = up(podman, command=("sh", "-c", script))
    wait_for(lambda: podman("logs", name).stdout, what="trap")
    podman("kill", "--signal", "STOP", name)
    podman("kill", "--signal", "CONT", name)
    podman("kill", "--signal", "USR1", name)
    assert podman("wait", name).stdout == "9\n"
    podman("start", name)
    podman("stop", "--time", "0", name)
    assert podman("logs", name).stdout == "ready\ngot\nready\n"
    assert state(podman, name, "State.ExitCode") == "137"


def test_a_timeout_ends_the_container(podman):
    podman("run", "--rm", "--timeout", "1", IMAGE, "sleep", "1000", code=255)


def test_containers_at_the_same_time(podman):
    argv = podman.sandbox.argv(*podman.before, "run", "--rm", IMAGE, "sleep", "0.2")
    running = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6


def test_what_pyrunc_refuses_is_told_by_podman(podman):
    options = ("--volume", "/etc/passwd:/etc/passwd/below")
    done = podman("run", "--rm", *options, IMAGE, "true", code=126)
    assert "OCI runtime error: pyrunc: " in done.stderr
    assert "not a directory: /etc/passwd is no directory" in done.stderr
    name = up(podman)
    done = podman("exec", "--detach", name, "nosuch", code=125)
    assert 'pyrunc: exec failed: unable to start container process: exec: "nosuch"' in done.stderr
    podman("exec", "--workdir", "/nosuch", name, "true", code=127)


def test_a_health_check_that_fails(podman):
    options = ("--health-cmd", "exit 1", "--health-interval", "disable", "--health-retries", "1")
    name = up(podman, *options)
    podman("healthcheck", "run", name, code=1)
    assert state(podman, name, "State.Health.Status") == "unhealthy"


def test_processes_with_their_capabilities(podman):
    name = up(podman, "--user", "1000", "--cap-add", "NET_ADMIN")
    podman("exec", "--detach", name, "sleep", "999")
    shown = podman("top", name, "pid", "user", "args", "capamb").stdout.splitlines()[1:]
    assert [line.split() for line in shown][0] == ["1", "user", "sleep", "1000", "NET_ADMIN"]
    assert shown[1].split()[1:4] == ["user", "sleep", "999"]


def test_stats_of_memory(podman):
    name = up(podman, "--memory", "32m", "--pids-limit", "17")
    (stats,) = json.loads(podman("stats", "--no-stream", "--format", "json", name).stdout)
    assert stats["mem_usage"].endswith("/ 33.55MB")
    assert not stats["mem_usage"].startswith("0B")


# --- pods ---


def test_a_pod_shares_what_it_is_told_to(podman):
    show = "hostname; for ns in net uts ipc pid mnt; do readlink /proc/self/ns/$ns; done"
    podman("pod", "create", "--name", "pod", "--hostname", "host", "--share", "net,uts,ipc,pid")
    first = up(podman, "--pod", "pod")
    inside = podman("exec", first, "sh", "-c", show).stdout.split()
    other = see(podman, "--pod", "pod", script=show).split()
    assert inside[0] == "host"
    assert inside[:5] == other[:5]
    assert inside[5] != other[5]
    assert "sleep 1000000" in see(podman, "--pod", "pod", script="ps -o args")


def test_the_life_of_a_pod(podman):
    def status():
        return podman("pod", "ps", "--format", "{{.Status}}").stdout.strip()

    podman("pod", "create", "--name", "pod")
    name = up(podman, "--pod", "pod")
    podman("pod", "pause", "pod")
    assert (status(), state(podman, name)) == ("Paused", "paused")
    podman("pod", "unpause", "pod")
    assert "sleep 1000" in podman("pod", "top", "pod").stdout
    podman("pod", "kill", "pod")
    wait_for(lambda: status() == "Exited", what="end of the pod")
    podman("pod", "start", "pod")
    assert (status(), state(podman, name)) == ("Running", "running")
    podman("pod", "rm", "--force", "--time", "0", "pod")


@pytest.mark.usefixtures("v1_files")
def test_kube_play_with_limits_and_a_security_context(podman):
    script = "id -u; id -g; cat /sys/fs/cgroup/memory/memory.limit_in_bytes; echo $NAME; touch /x"
    container = {
        "name": "box",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", f"{script}; sleep 1000"],
        "env": [{"name": "NAME", "value": "value"}],
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "securityContext": {
            "runAsUser": 1000,
            "runAsGroup": 2000,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "hostname": "web"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
    podman.sandbox.write("/etc/web.yaml", json.dumps(manifest))
    podman("kube", "play", "--network", "none", "/etc/web.yaml")

    def log():
        done = podman("logs", "web-box")
        return done.stdout.split() + done.stderr.split(": ")[-1:]

    expected = ["1000", "2000", str(64 << 20), "value", "Read-only file system\n"]
    wait_for(lambda: log() == expected, what="log of the pod")
    podman("kube", "down", "/etc/web.yaml")


# --- options ---


@pytest.mark.parametrize("limit", ["0", "-1"])
@pytest.mark.usefixtures("v1_files")
def test_no_limit_of_processes(podman, limit):
    """Podman 4 says 0 in config.json, and means none."""
    read = "cat /sys/fs/cgroup/pids/pids.max"
    assert see(podman, "--pids-limit", limit, script=read) == "max\n"


@pytest.mark.usefixtures("v1_files")
def test_all_limits_together(podman):
    options = ["--cpus=0.5", "--cpu-shares=300", "--cpuset-cpus=0", "--memory=20m"]
    options += ["--memory-swap=30m", "--memory-reservation=8m", "--memory-swappiness=10"]
    files = "cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus memory/memory.limit_in_bytes "
    files += "memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes "
    files += "memory/memory.swappiness"
    done = see(podman, *options, script=f"cd /sys/fs/cgroup; cat {files}")
    assert done.split() == ["50000", "300", "0", *(str(n << 20) for n in (20, 30, 8)), "10"]


@pytest.mark.usefixtures("v1_files")
def test_update_of_memory(podman):
    name = up(podman, "--memory", "64m")
    podman("update", "--memory", "32m", "--cpus", "0.3", "--cpuset-cpus", "0", name)
    files = "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpuset/cpuset.cpus"
    done = podman("exec", name, "sh", "-c", f"cd /sys/fs/cgroup; cat {files}")
    assert done.stdout.split() == [str(32 << 20), "30000", "0"]


@pytest.mark.usefixtures("v1_files")
def test_cgroup_parents_and_namespaces(podman):
    read = "grep memory /proc/self/cgroup"
    parent = f"/pt{os.getpid()}-podman"
    options = ("--cgroup-parent", parent, "--cgroupns", "host", "--cgroups", "no-conmon")
    done = see(podman, *options, script=read)
    assert f":{parent}/libpod-" in done
    assert see(podman, "--cgroupns", "private", script=read).endswith(":/\n")


def test_rlimits_sysctl_and_the_rest_of_a_process(podman):
    options = ["--ulimit=nofile=100:200", "--ulimit=nproc=50:50", "--sysctl=kernel.msgmax=1000"]
    options += ["--umask=077", "--oom-score-adj=500", "--group-add=2000", "--hostname=name"]
    script = "ulimit -n; ulimit -Hn; ulimit -u; cat /proc/sys/kernel/msgmax; umask; "
    script += "cat /proc/self/oom_score_adj; id -G; hostname"
    done = see(podman, *options, script=script).splitlines()
    assert done[:6] == ["100", "200", "50", "1000", "0077", "500"]
    assert set(done[6].split()) == {"0", "2000"}
    assert done[7] == "name"


def test_capabilities(podman):
    def caps(*options):
        return see(podman, *options, script=CAPS).split()

    none, net = f"{0:016x}", f"{1 << 12:016x}"
    assert caps("--cap-drop=all") == [none] * 3
    assert caps("--cap-drop=all", "--cap-add=net_admin") == [net, net, none]
    assert caps("--user=1000", "--cap-drop=all", "--cap-add=net_admin") == [net, net, net]


def test_privileged_sees_all_devices_and_nothing_masked(podman):
    script = (
        "ls /dev | wc -l; ls /sys/firmware | wc -l; echo 3 >/dev/null && grep Bnd /proc/1/status"
    )
    plain = see(podman, script=script).split()
    privileged = see(podman, "--privileged", script=script).split()
    assert int(privileged[0]) > int(plain[0])
    assert int(privileged[1]) > int(plain[1])
    assert int(privileged[3], 16) > int(plain[3], 16)
    name = up(podman)
    done = podman("exec", "--privileged", name, "sh", "-c", CAPS).stdout.split()
    assert done[0] == privileged[3]


def test_devices_and_their_rules(podman):
    options = ("--device", "/dev/full:/dev/mine:r")
    script = "ls -l /dev/mine; head -c 2 /dev/mine | wc -c; echo x >/dev/mine || echo refused"
    done = see(podman, *options, script=script)
    assert done.startswith("crw-rw-rw-")
    assert done.split("\n")[1:3] == ["2", "refused"]


def test_masks(podman):
    assert see(podman, "--security-opt", "mask=/etc/group", script="cat /etc/group") == ""
    script = "ls /sys/firmware | head -n 1"
    assert see(podman, script=script) == ""
    assert see(podman, "--security-opt", "unmask=ALL", script=script) != ""


def test_a_seccomp_profile(podman):
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    podman.sandbox.write("/etc/profile.json", json.dumps(profile))
    options = ("--security-opt", "seccomp=/etc/profile.json")
    done = podman("run", "--rm", *options, IMAGE, "mkdir", "/made", code=1)
    assert "Permission denied" in done.stderr


def test_mounts_of_every_kind(podman):
    options = ["--mount=type=bind,src=/etc,dst=/bind,ro", "--volume=/etc:/over:O"]
    options += [
        "--mount=type=tmpfs,dst=/memory,tmpfs-size=64k",
        f"--mount=type=image,src={IMAGE},dst=/image",
    ]
    options += ["--volume=named:/named:noexec,nodev", "--volume=/anonymous", "--shm-size=1m"]
    script = "touch /over/x /memory/x /named/x /anonymous/x && ls /image/bin/sh; touch /bind/x; "
    script += "grep -E ' /(memory|dev/shm|named) ' /proc/mounts"
    done = podman("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert "/bind/x: Read-only file system" in done.stderr
    assert done.stderr.count("\n") == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines()[1:]}
    assert "size=64k" in lines["/memory"]
    assert "size=1024k" in lines["/dev/shm"]
    assert "nodev,noexec" in lines["/named"]
    podman("volume", "rm", "named")
    assert podman.sandbox("test", "-e", "/etc/x", code=1)


def test_hooks_of_a_directory(podman):
    podman.sandbox.write("/etc/hooks/hook.json", json.dumps(HOOK))
    podman("run", "--rm", "--hooks-dir=/etc/hooks", "--annotation=some=thing", IMAGE, "true")

    def states():
        return [json.loads(line) for line in podman.sandbox.read("/run/hooks.log").splitlines()]

    seen = wait_for(lambda: len(states()) == 5 and states(), what="poststop hook")
    assert [one["status"] for one in seen] == ["creating"] * 3 + ["running", "stopped"]
    assert {one["annotations"]["some"] for one in seen} == {"thing"}


def test_an_init(podman):
    options = ("--init", "--init-path", "/usr/bin/tini-static")
    done = see(podman, *options, script="cat /proc/1/comm; echo $$").split()
    assert done[0] == "podman-init"
    assert done[1] != "1"


def test_a_published_port(podman):
    up(podman, "--publish", "8080:80", command=("nc", "-ll", "-p", "80", "-e", "echo", "hi"))
    argv = ("busybox", "nc", "-w", "5", "127.0.0.1", "8080")
    wait_for(lambda: podman.sandbox(*argv, code=None).stdout == "hi\n", what="answer")


def test_namespaces_of_the_host_and_of_others(podman):
    kinds = ("pid", "ipc", "net", "uts")
    show = "for ns in pid ipc net uts; do readlink /proc/self/ns/$ns; done"
    name = up(podman, "--ipc", "shareable")
    inside = podman("exec", name, "sh", "-c", show).stdout
    shared = [f"--{kind}=container:{name}" for kind in kinds]
    assert see(podman, *shared, script=show) == inside
    host = podman.sandbox("sh", "-c", show).stdout
    assert see(podman, *(f"--{kind}=host" for kind in kinds), script=show) == host


def test_a_build_and_a_commit(podman):
    podman.sandbox.write("/etc/recipe", f"FROM {IMAGE}\nRUN echo built >/built\nCMD cat /built\n")
    podman("build", "--quiet", "--tag", "built", "--file", "/etc/recipe")
    assert podman("run", "--rm", "built").stdout == "built\n"
    name = podman("create", "built").stdout.strip()
    podman("commit", "--quiet", name, "committed")
    assert podman("run", "--rm", "committed").stdout == "built\n"
    podman("rm", name)
    podman("rmi", "committed", "built")

"""Podman of somebody who is not root: its runtime is root of a user namespace only."""

import os
import subprocess

import pytest
from engine import USERS, see, state, up
from sandbox import IMAGE
from user import HOME, UID

from harness import wait_for

MAP = ["0", str(UID), "1", "1", "200000", "65536"]


@pytest.fixture
def slirp(rootless):
    """For a test whose containers have a network that reaches out."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("this host has no /dev/net/tun")


def owner(engine, path):
    """Whose a file is on the host."""
    return int(engine.sandbox("stat", "--format=%u", path).stdout)


def test_pyrunc_is_the_runtime_of_the_users_configuration(rootless):
    shown = "{{.Host.OCIRuntime.Name}} {{.Host.Security.Rootless}}"
    assert rootless("info", "--format", shown).stdout == "pyrunc true\n"
    name = up(rootless)
    assert rootless.sandbox.names(rootless.states) == [name]


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such", 127), ("nosuch", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_programs_that_cannot_run(rootless, program, code):
    done = rootless("run", "--rm", IMAGE, program, code=code)
    assert "pyrunc: runc create failed: unable to start container process: error" in done.stderr


# --- a container's life ---


def test_streams_and_an_exit_status(rootless):
    done = rootless(
        "run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo err >&2; exit 7", stdin="in\n", code=7
    )
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


def test_a_terminal(rootless):
    shown = rootless.terminal(
        "run", "--rm", "-it", IMAGE, keys="readlink /proc/self/fd/0; exit 3\n", code=3
    )
    assert "/dev/pts/0" in shown


def test_exec(rootless):
    name = up(rootless)
    rootless("exec", name, "sh", "-c", "exit 7", code=7)
    rootless("exec", name, "nosuch", code=127)
    rootless("exec", name, "/etc/passwd", code=126)
    options = ("-i", "--user=1000:2000", "--workdir=/tmp", "--env=A=b")
    done = rootless("exec", *options, name, "sh", stdin="id -u; id -g; pwd; echo $A")
    assert done.stdout.split() == ["1000", "2000", "/tmp", "b"]
    assert "/dev/pts/" in rootless.terminal("exec", "-it", name, "readlink", "/proc/self/fd/0")
    rootless("exec", "--detach", name, "touch", "/made")
    wait_for(
        lambda: rootless("exec", name, "test", "-e", "/made", code=None).code == 0, what="file"
    )


def test_logs_stop_kill_restart_and_remove(rootless):
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    name = up(rootless, command=("sh", "-c", script))
    wait_for(lambda: rootless("logs", name).stdout == "ready\n", what="log line")
    rootless("stop", "--time=5", name)
    assert state(rootless, name, "State.ExitCode") == "5"
    rootless("start", name)
    rootless("kill", name)
    assert rootless("wait", name).stdout == "137\n"
    rootless("restart", "--time=0", name)
    assert state(rootless, name) == "running"
    rootless("rm", "--force", "--time=0", name)
    assert rootless("ps", "--all", "--quiet").stdout == ""


def test_a_created_container_is_attached_to_at_its_start(rootless):
    name = rootless("create", "-i", IMAGE, "sh", "-c", "cat; exit 3").stdout.strip()
    assert (
        rootless("start", "--attach", "--interactive", name, stdin="in\n", code=3).stdout == "in\n"
    )


def test_containers_at_the_same_time(rootless):
    argv = rootless.sandbox.argv(*rootless.before, "run", "--rm", IMAGE, "sleep", "0.2")
    running = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4


def test_a_pod(rootless):
    rootless("pod", "create", "--name=pod", "--network=none")
    server = up(rootless, "--pod=pod", command=("nc", "-l", "-p", "80", "-e", "echo", "hi"))
    done = rootless("run", "--rm", "--pod=pod", IMAGE, "nc", "-w", "5", "127.0.0.1", "80")
    assert done.stdout == "hi\n"
    rootless("wait", server)
    rootless("pod", "stop", "--time=0", "pod")
    rootless("pod", "rm", "pod")


# --- what needs cgroups ---


def test_without_cgroups_podman_pauses_nothing(rootless, cgroup_mode):
    if cgroup_mode == "v2":
        pytest.skip("needs cgroup v1, of which users get nothing")
    name = up(rootless)
    assert "cgroup V1" in rootless("pause", name, code=125).stderr
    assert state(rootless, name) == "running"


def test_pause_stats_and_top_in_cgroups_of_the_users_own(delegated):
    name = up(delegated, "--network=none")
    delegated("pause", name)
    assert state(delegated, name) == "paused"
    delegated("exec", name, "true", code=255)
    delegated("unpause", name)
    assert f"/{USERS}/{name}" == state(delegated, name, "State.CgroupPath")
    assert "sleep 1000" in delegated("top", name).stdout
    delegated("pause", name)
    delegated("rm", "--force", "--time=0", name)


# --- users ---


def test_the_users_ids(rootless):
    assert see(rootless, script="cat /proc/self/uid_map").split() == MAP
    part = see(rootless, "--uidmap=0:1:1000", "--gidmap=0:1:1000", script="cat /proc/self/uid_map")
    assert part.split() == ["0", "1", "1000"]


def test_another_user_within(rootless):
    script = "id -u; id -G; touch /made || echo refused"
    out = see(rootless, "--user=1000:2000", script=script)
    assert out == "1000\n2000\nrefused\n"


def test_a_user_who_keeps_his_id(rootless):
    options = ("--userns=keep-id", f"--volume={HOME}:/home")
    assert see(rootless, *options, script="id -u; touch /home/kept").strip() == str(UID)
    assert owner(rootless, f"{HOME}/kept") == UID
    name = up(rootless, *options)
    assert rootless("exec", name, "id", "-u").stdout == f"{UID}\n"
    assert rootless("exec", "--user=0", name, "id", "-u").stdout == "0\n"


def test_files_of_root_and_of_others_on_the_host(rootless):
    script = "touch /home/root; mkdir -m 777 /home/open; chown 5:5 /home/open"
    see(rootless, f"--volume={HOME}:/home", script=script)
    assert [owner(rootless, f"{HOME}/{name}") for name in ("root", "open")] == [UID, 200004]
    rootless("unshare", "rm", "-r", f"{HOME}/open")


# --- mounts ---


def test_volumes_of_every_kind(rootless):
    options = ["--volume=data:/data", f"--volume={HOME}:/bind:ro", f"--volume={HOME}:/over:O"]
    options += ["--tmpfs=/tmp:size=64k", "--read-only"]
    script = "for dir in /data /over /tmp /bind /; do touch $dir/new && echo $dir; done"
    assert see(rootless, *options, script=script, code=1).split() == ["/data", "/over", "/tmp"]
    assert see(rootless, "--volume=data:/data", script="ls /data") == "new\n"
    rootless("volume", "rm", "data")


def test_devices_of_the_host(rootless):
    script = "head -c 2 /dev/mine | wc -c; ls /dev/pts /dev/shm; echo x >/dev/null"
    assert see(rootless, "--device=/dev/zero:/dev/mine", script=script).split()[0] == "2"


def test_what_systemd_wants_of_a_container(rootless):
    script = "grep -c ' /run tmpfs ' /proc/mounts; ls /sys/fs/cgroup"
    mounts, *cgroups = see(rootless, "--systemd=always", script=script).split()
    assert mounts == "1"
    assert "systemd" in cgroups or "cgroup.procs" in cgroups


def test_systemd_in_a_cgroup_of_the_users_own(delegated):
    script = "mkdir /sys/fs/cgroup/below && rmdir /sys/fs/cgroup/below"
    see(delegated, "--network=none", "--systemd=always", script=script)


# --- networks ---


def test_no_network_and_the_hosts(rootless):
    show = "ls /sys/class/net"
    assert see(rootless, "--network=none", script=show) == "lo\n"
    mine = rootless.sandbox("readlink", "/proc/self/ns/net").stdout
    assert see(rootless, "--network=host", script="readlink /proc/self/ns/net") == mine


@pytest.mark.usefixtures("slirp")
def test_a_network_of_its_own_with_a_published_port(rootless):
    name = up(rootless, "--publish=8080:80", command=("nc", "-ll", "-p", "80", "-e", "echo", "hi"))
    assert "tap0" in rootless("exec", name, "ls", "/sys/class/net").stdout
    argv = ("busybox", "nc", "-w", "5", "127.0.0.1", "8080")
    wait_for(lambda: rootless.sandbox(*argv, code=None).stdout == "hi\n", what="answer")


# --- security ---


def test_security_options(rootless):
    fields = "grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status | cut -f2 | tr -d '\\n'"
    assert see(rootless, script=fields) == "02"
    assert see(rootless, "--security-opt=no-new-privileges", script=fields) == "12"
    assert see(rootless, "--security-opt=seccomp=unconfined", script=fields) == "00"


def test_filters_are_translated_once(rootless):
    see(rootless, script="true")
    assert rootless.sandbox.names(f"{os.path.dirname(rootless.states)}/pyrunc-seccomp")


def test_capabilities(rootless):
    script = "grep -E 'Cap(Prm|Amb)' /proc/self/status | cut -f2"
    options = ("--cap-drop=all", "--cap-add=net_admin")
    none, net = f"{0:016x}", f"{1 << 12:016x}"
    assert see(rootless, *options, script=script).split() == [net, none]
    assert see(rootless, *options, "--user=1000", script=script).split() == [net, net]


def test_privileged(rootless):
    script = "mount -t tmpfs none /tmp && ls /sys/firmware | wc -l"
    assert int(see(rootless, "--privileged", script=script)) > 0
    see(rootless, script=script, code=1)


def test_masks_and_sysctl(rootless):
    script = "wc -c </proc/keys; ls /sys/firmware | wc -l; cat /proc/sys/kernel/msgmax; hostname"
    options = ("--sysctl=kernel.msgmax=1000", "--hostname=box")
    assert see(rootless, *options, script=script).split() == ["0", "0", "1000", "box"]


def test_rlimits_umask_and_oom_score(rootless):
    options = (
        "--ulimit=nofile=100:200",
        "--ulimit=nproc=1000",
        "--umask=077",
        "--oom-score-adj=500",
    )
    script = "ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj"
    assert see(rootless, *options, script=script).split() == ["100", "200", "0077", "500"]


def test_an_init_and_a_health_check(rootless):
    options = ("--init", "--init-path=/usr/bin/tini-static", "--health-cmd=test $$ != 1")
    name = up(rootless, *options, "--health-interval=disable")
    assert rootless("exec", name, "cat", "/proc/1/comm").stdout == "podman-init\n"
    rootless("healthcheck", "run", name)

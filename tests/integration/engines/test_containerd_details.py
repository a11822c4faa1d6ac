"""What containerd's shim and `ctr`'s options ask of pyrunc."""

import os
import signal
import subprocess

from sandbox import BINARY, IMAGE

from harness import wait_for

RUN = ("run", "--runc-binary", BINARY)
EXEC = ("tasks", "exec", "--exec-id", "one")
LOOP = "echo ready; while :; do sleep 0.05; done"


def up(ctr, *options, name="box", command=("sleep", "1000")):
    ctr(*RUN, "--detach", *options, IMAGE, name, *command)
    return name


def see(ctr, *options, script, code=0):
    """What a shell in a container of its own prints."""
    return ctr(*RUN, "--rm", *options, IMAGE, "box", "sh", "-c", script, code=code).stdout


def status(ctr, name):
    """RUNNING, PAUSED, STOPPED or nothing."""
    rows = [line.split() for line in ctr("tasks", "list").stdout.splitlines()]
    return "".join(row[2] for row in rows if row[0] == name)


def shims(ctr):
    lines = ctr.sandbox.processes().items()
    return [pid for pid, line in lines if "containerd-shim" in line]


# --- terminals ---


def test_a_shell_that_is_typed_into(ctr):
    keys = "echo $((6 * 7)); stty size; exit 3\n"
    options = (*RUN, "--rm", "--tty", IMAGE, "box")
    shown = ctr.terminal(*options, keys=keys, after="#", rows=33, columns=77, code=3)
    assert "42" in shown
    assert "33 77" in shown


def test_ctrl_c_on_a_terminal_interrupts(ctr):
    options = (*RUN, "--rm", "--tty", IMAGE, "box", "sh", "-c")
    script = f"trap 'echo caught; exit 5' INT; {LOOP}"
    assert "caught" in ctr.terminal(*options, script, keys="\3", after="ready", code=5)


def test_the_exit_status_of_an_exec_with_a_terminal(ctr):
    name = up(ctr)
    ctr.terminal(*EXEC, "--tty", name, "sh", keys="exit 6\n", after="#", code=6)


# --- life ---


def test_an_exec_that_is_killed_and_one_that_stays(ctr):
    name = up(ctr)
    ctr(*EXEC, name, "sh", "-c", "kill -9 $$", code=137)
    ctr(*EXEC, "--detach", name, "sleep", "999")
    wait_for(lambda: "sleep 999" in ctr.sandbox.processes().values(), what="exec")
    ctr("tasks", "kill", "--exec-id", "one", "--signal", "SIGKILL", name)
    wait_for(lambda: "sleep 999" not in ctr.sandbox.processes().values(), what="its end")
    assert status(ctr, name) == "RUNNING"


def test_execs_at_the_same_time(ctr):
    name = up(ctr)
    execute = ctr.sandbox.argv(*ctr.before, "tasks", "exec")
    script = (name, "sh", "-c", "sleep 0.2; exit 7")
    running = [
        subprocess.Popen([*execute, "--exec-id", f"e{n}", *script], stdin=subprocess.DEVNULL)
        for n in range(8)
    ]
    assert [process.wait(60) for process in running] == [7] * 8


def test_containers_at_the_same_time(ctr):
    argv = ctr.sandbox.argv(*ctr.before, *RUN, "--rm", IMAGE)
    running = [
        subprocess.Popen([*argv, f"box{n}", "sleep", "0.2"], stdin=subprocess.DEVNULL)
        for n in range(6)
    ]
    assert [process.wait(60) for process in running] == [0] * 6


def test_a_paused_container_is_killed_and_deleted(ctr):
    name = up(ctr)
    ctr("tasks", "pause", name)
    ctr("tasks", "kill", "--signal", "SIGKILL", name)
    ctr("tasks", "resume", name, code=None)
    wait_for(lambda: status(ctr, name) == "STOPPED", what="end")
    assert "non-zero exit code 137" in ctr("tasks", "delete", name).stderr


def test_a_killed_shim_of_a_paused_container(ctr):
    name = up(ctr)
    ctr("tasks", "pause", name)
    for pid in shims(ctr):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "sleep 1000" not in ctr.sandbox.processes().values(), what="cleanup")
    wait_for(lambda: status(ctr, name) in ("", "STOPPED"), what="end")


def test_containerd_is_killed_under_live_containers(ctr):
    name = up(ctr, command=("sh", "-c", f"trap 'exit 4' TERM; {LOOP}"))
    lines = ctr.sandbox.processes().items()
    for pid in [pid for pid, line in lines if line == "containerd"]:
        os.kill(pid, signal.SIGKILL)
    ctr.sandbox.restart("containerd")
    wait_for(lambda: ctr("version", code=None).code == 0, what="containerd")
    assert status(ctr, name) == "RUNNING"
    ctr("tasks", "kill", "--signal", "SIGTERM", name)
    wait_for(lambda: status(ctr, name) == "STOPPED", what="end")
    assert "non-zero exit code 4" in ctr("tasks", "delete", name).stderr


def test_a_container_that_ends_while_containerd_is_away(ctr):
    name = up(ctr, command=("sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.0987; done"))
    lines = ctr.sandbox.processes().items()
    (pid,) = [pid for pid, line in lines if line.startswith("sh -c trap")]
    (daemon,) = [pid for pid, line in lines if line == "containerd"]
    os.kill(daemon, signal.SIGKILL)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: pid not in ctr.sandbox.processes(), what="end")
    ctr.sandbox.restart("containerd")
    wait_for(lambda: ctr("version", code=None).code == 0, what="containerd")
    assert status(ctr, name) == "STOPPED"
    assert "non-zero exit code 4" in ctr("tasks", "delete", name).stderr


def test_events_tell_of_the_oom_killer(ctr):
    # What a started daemon writes is in a file named after it.
    watcher = ctr.sandbox.daemon(*ctr.before, "events")
    try:
        command = ("sh", "-c", "sleep 0.5; tail -c 64m /dev/zero")
        name = up(ctr, "--memory-limit", str(16 << 20), command=command)
        wait_for(lambda: status(ctr, name) == "STOPPED", what="end")
        wait_for(lambda: "/tasks/oom" in ctr.sandbox.log("ctr"), what="event")
        assert "/tasks/exit" in ctr.sandbox.log("ctr")
        assert "non-zero exit code 137" in ctr("tasks", "delete", name).stderr
    finally:
        ctr.sandbox.end(watcher)


def test_what_pyrunc_refuses_is_told_by_containerd(ctr):
    options = ("--mount", "type=bind,src=/nosuch,dst=/mnt,options=rbind:ro")
    done = ctr(*RUN, "--rm", *options, IMAGE, "box", "true", code=1)
    assert "OCI runtime create failed: " in done.stderr
    assert 'error mounting "/nosuch" to rootfs at "/mnt"' in done.stderr


# --- options ---


def test_options_of_a_process(ctr):
    options = ["--env=A=b c", "--cwd=/tmp", "--read-only", "--cap-drop=CAP_KILL"]
    options += ["--mount=type=tmpfs,src=tmpfs,dst=/mnt,options=size=64k"]
    script = "echo $A; pwd; touch /mnt/x /x; grep -E 'NoNewPrivs|CapEff' /proc/self/status"
    done = ctr(*RUN, "--rm", *options, IMAGE, "box", "sh", "-c", script)
    lines = done.stdout.split("\n")
    assert lines[:2] == ["b c", "/tmp"]
    assert done.stderr == "touch: /x: Read-only file system\n"
    assert not int(lines[2].split()[1], 16) & 1 << 5
    assert lines[3].split()[1] == "1"
    assert see(ctr, "--allow-new-privs", script="grep NoNewPrivs /proc/self/status")[-2] == "0"


def test_a_pid_file_and_a_cgroup(ctr):
    path = f"/pt{os.getpid()}/of/its/own"
    name = up(ctr, "--pid-file", "/run/box.pid", "--cgroup", path)
    inside = ctr(*EXEC, name, "cat", "/proc/1/cgroup").stdout
    assert f":{path}\n" in inside or f":memory:{path}" in inside
    pid = ctr.sandbox.read("/run/box.pid")
    assert ctr.sandbox("cat", f"/proc/{pid}/comm").stdout == "sleep\n"
    ctr("tasks", "delete", "--force", name, code=None)
    for folder in (path, os.path.dirname(path)):
        ctr.sandbox("sh", "-c", f"rmdir /sys/fs/cgroup/*{folder} 2>/dev/null; true")
    ctr.sandbox("sh", "-c", f"rmdir /sys/fs/cgroup/*/pt{os.getpid()}/of 2>/dev/null; true")


def test_namespaces_of_the_sandbox(ctr):
    show = "for ns in net uts; do readlink /proc/self/ns/$ns; done"
    options = ["--with-ns=network:/proc/1/ns/net", "--with-ns=uts:/proc/1/ns/uts"]
    assert see(ctr, *options, script=show) == ctr.sandbox("sh", "-c", show).stdout


def test_processes_of_the_hosts_pid_namespace_end_with_the_first(ctr):
    command = ("sh", "-c", "sleep 987 & exec sleep 1000")
    name = up(ctr, "--with-ns=pid:/proc/1/ns/pid", command=command)
    wait_for(lambda: "sleep 987" in ctr.sandbox.processes().values(), what="both")
    ctr("tasks", "kill", "--signal", "SIGKILL", name)
    wait_for(lambda: status(ctr, name) == "STOPPED", what="end")
    wait_for(lambda: "sleep 987" not in ctr.sandbox.processes().values(), what="end of all")


def test_a_root_filesystem_without_an_image(ctr, archive):
    rootfs = f"{os.path.dirname(archive)}/rootfs"
    done = ctr(*RUN, "--rm", "--rootfs", rootfs, "box", "/bin/echo", "plain")
    assert done.stdout == "plain\n"

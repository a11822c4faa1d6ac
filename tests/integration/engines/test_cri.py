"""Kubernetes' view of pyrunc: pods of containerd's CRI plugin as docs/kubernetes.md has it.

The interface's definition is not in this repository: it comes as a Debian package, out of the
sources of this machine's apt.
"""

import json

import pytest
from engine import PREFIX
from kubelet import CONFIG, LOGS, connect
from sandbox import KUBERNETES, settings

from harness import wait_for

LOOP = "while :; do sleep 0.05; done"


@pytest.fixture(scope="session")
def kubelet(make_sandbox, archive, proto):
    """A client of a containerd that gives every pod pyrunc."""
    sandbox = make_sandbox("containerd", "ctr")
    path = "/etc/containerd/config.toml"
    text = settings(KUBERNETES)[path].replace("SystemdCgroup = true", "SystemdCgroup = false")
    sandbox.write(path, text + CONFIG)
    sandbox.daemon("containerd")
    with connect(sandbox, archive, proto) as client:
        yield client


@pytest.fixture
def cri(kubelet):
    yield kubelet
    kubelet.remove_all()
    kubelet.engine.sandbox("rm", "-rf", LOGS)
    kubelet.engine.check()


# --- life ---


def test_the_runtime_is_ready(cri):
    conditions = cri("Status")["status"]["conditions"]
    assert {one["type"]: one["status"] for one in conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }


def test_the_life_of_a_pod(cri):
    pod = cri.pod()
    assert cri("PodSandboxStatus", pod_sandbox_id=pod[0])["status"]["runtime_handler"] == "pyrunc"
    id = cri.container(pod, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert cri.status(id)["state"] == "CONTAINER_CREATED"
    cri("StartContainer", container_id=id)
    status = cri.exited(id)
    assert (status["exit_code"], status["reason"]) == (3, "Error")
    wait_for(lambda: len(cri.logged()) == 2, what="log")
    assert sorted(cri.logged()) == [("stderr", "err"), ("stdout", "out")]
    cri("RemoveContainer", container_id=id)
    cri("StopPodSandbox", pod_sandbox_id=pod[0])
    status = cri("PodSandboxStatus", pod_sandbox_id=pod[0])["status"]
    assert status["state"] == "SANDBOX_NOTREADY"
    cri("RemovePodSandbox", pod_sandbox_id=pod[0])
    assert cri("ListPodSandbox")["items"] == []


def test_a_container_that_has_crashed_gets_a_successor(cri):
    pod = cri.pod()
    for attempt in range(3):
        id = cri.up(pod, "sh", "-c", f"exit {attempt + 1}", attempt=attempt)
        assert cri.exited(id)["exit_code"] == attempt + 1
    assert len(cri("ListContainers")["containers"]) == 3


def test_stop_with_time_to_end(cri):
    pod = cri.pod()
    id = cri.up(pod, "sh", "-c", f"trap 'echo bye; exit 5' TERM; echo ready; {LOOP}")
    wait_for(lambda: cri.logged() == [("stdout", "ready")], what="trap")
    cri("StopContainer", container_id=id, timeout=20)
    assert cri.status(id)["exit_code"] == 5
    assert cri.logged()[-1] == ("stdout", "bye")


def test_stop_of_who_does_not_listen(cri):
    pod = cri.pod()
    id = cri.up(pod, "sh", "-c", f"trap '' TERM; {LOOP}")
    cri("StopContainer", container_id=id)
    assert cri.status(id)["exit_code"] == 137
    cri("StopContainer", container_id=id)  # again: kubelets repeat themselves


def test_a_created_container_is_removed(cri):
    pod = cri.pod()
    cri("RemoveContainer", container_id=cri.container(pod, "true"))


def test_a_running_container_is_removed_with_its_pod(cri):
    pod = cri.pod()
    cri.up(pod)
    cri.up(pod, name="other")
    cri("StopPodSandbox", pod_sandbox_id=pod[0])
    cri("RemovePodSandbox", pod_sandbox_id=pod[0])
    assert cri("ListContainers")["containers"] == []


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("nosuch", 128, 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 128, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 128, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_program_that_cannot_run(cri, program, code, text):
    pod = cri.pod()
    id = cri.container(pod, program)
    _, message = cri.fails("StartContainer", container_id=id)
    assert text in message
    status = cri.status(id)
    assert (status["exit_code"], status["reason"]) == (code, "StartError")
    assert text in status["message"]


# --- processes ---


def test_exec_sync(cri):
    id = cri.up(cri.pod())
    assert cri.exec(id, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert cri.exec(id, "sh", "-c", "kill -9 $$")[0] == 137
    _, message = cri.fails("ExecSync", container_id=id, cmd=["nosuch"])
    assert 'exec: "nosuch": executable file not found in $PATH' in message


def test_exec_sync_that_takes_too_long(cri):
    id = cri.up(cri.pod())
    code, _ = cri.fails("ExecSync", container_id=id, cmd=["sleep", "987"], timeout=1)
    assert code in ("DEADLINE_EXCEEDED", "UNKNOWN")
    wait_for(lambda: "sleep 987" not in cri.engine.sandbox.processes().values(), what="its end")


def test_probes_at_the_same_time(cri):
    pod = cri.pod()
    ids = [cri.up(pod, name=f"box{number}") for number in range(4)]
    for _ in range(3):
        assert [cri.exec(id, "true")[0] for id in ids] == [0] * 4


def test_exec_with_a_terminal(cri):
    id = cri.up(cri.pod())
    script = 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; tty; exit 4'
    url = cri("Exec", container_id=id, cmd=["sh", "-c", script], tty=True, stdin=True, stdout=True)
    told = cri.stream(url["url"], size={"Width": 77, "Height": 33})
    assert "/dev/pts/0\r\n" in told["1"]
    (cause,) = json.loads(told["3"])["details"]["causes"]
    assert cause == {"reason": "ExitCode", "message": "4"}


def test_attach(cri):
    script = "while read line; do echo [$line]; done"
    id = cri.up(cri.pod(), "sh", "-c", script, stdin=True)
    url = cri("Attach", container_id=id, stdin=True, stdout=True, stderr=True)["url"]
    told = cri.stream(url, input="some\nthing\n", until="[thing]")
    assert told["1"] == "[some]\n[thing]\n"
    assert cri.status(id)["state"] == "CONTAINER_RUNNING"


def test_attach_to_a_terminal(cri):
    id = cri.up(cri.pod(), "sh", stdin=True, tty=True)
    url = cri("Attach", container_id=id, tty=True, stdin=True, stdout=True)["url"]
    told = cri.stream(url, input="tty; echo $((6 * 7))\n", until="42\r\n")
    assert "/dev/pts/0\r\n42\r\n" in told["1"]
    url = cri("Attach", container_id=id, tty=True, stdin=True, stdout=True)["url"]
    cri.stream(url, input="exit 6\n")
    assert cri.exited(id)["exit_code"] == 6


def test_what_a_user_may(cri):
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 2000},
        "supplemental_groups": [3000],
        "readonly_rootfs": True,
        "no_new_privs": True,
        "capabilities": {"drop_capabilities": ["ALL"]},
        "seccomp": {"profile_type": "RuntimeDefault"},
        "masked_paths": ["/etc/group"],
    }
    id = cri.up(cri.pod(), security=security)
    read = "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2"
    code, out, err = cri.exec(id, "sh", "-c", f"id -u; id -G; {read}; touch /x; cat /etc/group")
    assert (code, out.splitlines()) == (0, ["1000", "2000 3000", "0" * 16, "1", "2"])
    assert "Read-only file system" in err


# --- resources ---


@pytest.mark.usefixtures("v1_files")
def test_limits_and_their_update(cri):
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 300, "cpu_quota": 30000}
    id = cri.up(cri.pod(), resources={**resources, "cpu_period": 100000})
    files = "memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us"

    def limits():
        return cri.exec(id, "sh", "-c", f"cd /sys/fs/cgroup; cat {files}")[1].split()

    assert limits() == [str(64 << 20), "300", "30000"]
    changed = {"memory_limit_in_bytes": 32 << 20, "cpu_shares": 200, "cpu_quota": 20000}
    cri("UpdateContainerResources", container_id=id, linux=changed)
    assert limits() == [str(32 << 20), "200", "20000"]


def test_stats(cri):
    pod = cri.pod()
    id = cri.up(pod)
    stats = cri("ContainerStats", container_id=id)["stats"]
    assert int(stats["memory"]["working_set_bytes"]["value"]) > 0
    assert int(stats["cpu"]["usage_core_nano_seconds"]["value"]) > 0
    assert len(cri("ListContainerStats")["stats"]) == 1
    used = cri("PodSandboxStats", pod_sandbox_id=pod[0])["stats"]["linux"]
    assert int(used["memory"]["working_set_bytes"]["value"]) > 0


def test_why_a_container_without_memory_ended(cri):
    resources = {"memory_limit_in_bytes": 16 << 20, "memory_swap_limit_in_bytes": 16 << 20}
    id = cri.up(cri.pod(), "tail", "-c", "64m", "/dev/zero", resources=resources)
    status = cri.exited(id)
    assert (status["exit_code"], status["reason"]) == (137, "OOMKilled")


# --- namespaces ---


def test_a_pid_namespace_of_each_container(cri):
    pod = cri.pod()
    cri.up(pod)
    id = cri.up(pod, name="other")
    assert cri.exec(id, "sh", "-c", "ps -o args | grep -c [s]leep")[1] == "1\n"


def test_a_pid_namespace_of_the_pod(cri):
    pod = cri.pod(pid="POD")
    id = cri.up(pod, "sleep", "987")
    seen = cri.exec(id, "ps", "-o", "pid,args")[1]
    assert "1 sleep 1000000" in seen
    assert "sleep 987" in seen
    cri("StopContainer", container_id=id)
    assert cri("PodSandboxStatus", pod_sandbox_id=pod[0])["status"]["state"] == "SANDBOX_READY"


def test_the_hosts_pid_namespace(cri):
    pod = cri.pod(pid="NODE")
    id = cri.up(pod, "sh", "-c", "sleep 987 & exec sleep 986")
    seen = cri.exec(id, "ps", "-o", "args")[1]
    assert "containerd" in seen
    assert "sleep 987" in seen
    cri("StopContainer", container_id=id)
    processes = cri.engine.sandbox.processes
    wait_for(lambda: "sleep 987" not in processes().values(), what="the end of all of them")


def test_a_network_of_the_pod(cri):
    server, client = cri.pod("server", network="POD", hostname="web"), cri.pod(network="POD")
    id = cri.up(server, "nc", "-ll", "-p", "80", "-e", "hostname", name="server")
    address = cri("PodSandboxStatus", pod_sandbox_id=server[0])["status"]["network"]["ip"]
    assert address.startswith("10.88.77.")
    assert address in cri.exec(id, "ip", "address")[1]
    asker = cri.up(client)
    ask = ("sh", "-c", f"nc -w 5 {address} 80 </dev/null")
    wait_for(lambda: cri.exec(asker, *ask)[1] == "web\n", what="answer")


def test_sysctls_of_the_pod(cri):
    pod = cri.pod(
        network="POD",
        linux={
            "cgroup_parent": f"/{PREFIX}-pods",
            "security_context": {"namespace_options": {"network": "POD", "pid": "CONTAINER"}},
            "sysctls": {"kernel.msgmax": "1000", "net.ipv4.ip_default_ttl": "33"},
        },
    )
    read = ("cat", "/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ip_default_ttl")
    assert cri.exec(cri.up(pod), *read)[1] == "1000\n33\n"


def test_volumes(cri):
    cri.engine.sandbox.write("/run/volume/file", "kept\n")
    mount = {"host_path": "/run/volume", "container_path": "/data"}
    pod = cri.pod()
    id = cri.up(pod, mounts=[{**mount, "readonly": True}])
    code, out, err = cri.exec(id, "sh", "-c", "cat /data/file; touch /data/x")
    assert (code, out) == (1, "kept\n")
    assert "Read-only file system" in err
    id = cri.up(pod, name="writer", mounts=[{**mount, "propagation": "PROPAGATION_BIDIRECTIONAL"}])
    assert cri.exec(id, "sh", "-c", "echo new >/data/new; cat /data/new")[1] == "new\n"


# --- containerd restarts ---


def test_containerd_restarts_under_pods(cri):
    pod = cri.pod()
    running = cri.up(pod)
    ending = cri.up(pod, "sh", "-c", "until [ -e /end ]; do sleep 0.05; done; exit 9", name="end")
    created = cri.container(pod, "sleep", "1000", name="late")
    cri.engine.sandbox.restart("containerd")
    cri.wait()
    assert cri.exec(running, "echo", "here") == (0, "here\n", "")
    assert cri.status(running)["state"] == "CONTAINER_RUNNING"
    cri.exec(ending, "touch", "/end")
    assert cri.exited(ending)["exit_code"] == 9
    cri("StopContainer", container_id=running)
    assert cri.status(running)["exit_code"] == 137
    cri("RemoveContainer", container_id=created)


def test_an_end_while_containerd_is_away(cri):
    id = cri.up(cri.pod(), "sh", "-c", "until [ -e /end ]; do sleep 0.05; done; exit 9")
    sandbox = cri.engine.sandbox
    (daemon,) = [process for process in sandbox._daemons if "containerd" in process.args]
    cri.exec(id, "sh", "-c", "(sleep 1; touch /end) >/dev/null 2>&1 &")
    sandbox.end(daemon)
    wait_for(lambda: not any("/end" in line for line in sandbox.processes().values()), what="end")
    sandbox.daemon(*daemon.args[len(sandbox.argv()) :])
    cri.wait()
    assert cri.exited(id)["exit_code"] == 9

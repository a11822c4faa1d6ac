"""hooks: when, where, with what on stdin, and what their failure means."""

import json
import os
import signal
import subprocess

import pytest

from harness import read, wait_for


class Hooks:
    """Hooks of a bundle that leave marks in a log the host can read."""

    def __init__(self, bundle, directory):
        self.bundle = bundle
        self.directory = str(directory)
        self.log = f"{self.directory}/hooks.log"

    def add(self, kind, script, **fields):
        """A hook of the host: /bin/sh -c script."""
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], **fields}
        self.bundle.config.setdefault("hooks", {}).setdefault(kind, []).append(hook)

    def mark(self, kind, text=None):
        self.add(kind, f"echo {text or kind} >> {self.log}; cat > {self.directory}/{kind}.json")

    def marks(self):
        return read(self.log).split() if os.path.exists(self.log) else []

    def state(self, kind):
        return json.loads(read(f"{self.directory}/{kind}.json"))


@pytest.fixture
def hooks(bundle, tmp_path):
    return Hooks(bundle, tmp_path)


HOST = ("prestart", "createRuntime", "poststart", "poststop")


def test_order(pyrunc, bundle, hooks):
    for kind in reversed(HOST):
        hooks.mark(kind, f"{kind}1")
        hooks.mark(kind, f"{kind}2")
    hooks.mark("createContainer")
    name = pyrunc.create(bundle.sh("sleep 100"))
    created = ["prestart1", "prestart2", "createRuntime1", "createRuntime2", "createContainer"]
    assert hooks.marks()[:5] == created
    pyrunc("start", name)
    pyrunc("delete", "--force", name)
    rest = ["poststart1", "poststart2", "poststop1", "poststop2"]
    assert hooks.marks() == created + rest


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststop", "stopped"),
    ],
)
def test_state_on_stdin(pyrunc, bundle, hooks, kind, status):
    bundle.config["annotations"] = {"a": "b"}
    hooks.mark(kind)
    name = pyrunc.create(bundle)
    pid = pyrunc.pid(name)
    pyrunc("delete", "--force", name)
    state = hooks.state(kind)
    assert state["id"] == name
    assert state["status"] == status
    assert state["bundle"] == bundle.path
    assert state["annotations"] == {"a": "b"}
    assert state["ociVersion"]
    expected = {"createContainer": 1, "poststop": 0}.get(kind, pid)
    assert state.get("pid", 0) == expected


def test_working_directories(pyrunc, bundle, hooks):
    hooks.add("createRuntime", f"pwd > {hooks.directory}/runtime")
    hooks.add("createContainer", f"pwd -P > {hooks.directory}/container")
    pyrunc.create(bundle)
    assert read(f"{hooks.directory}/runtime") == bundle.path + "\n"
    assert read(f"{hooks.directory}/container") == bundle.rootfs + "\n"


def test_the_callers_umask_is_that_of_hooks(pyrunc, bundle, hooks):
    for kind in ("createRuntime", "createContainer"):
        hooks.add(kind, f"umask > {hooks.directory}/{kind}")
    pyrunc.create(bundle, umask=0o027)
    for kind in ("createRuntime", "createContainer"):
        assert read(f"{hooks.directory}/{kind}") == "0027\n"


def test_namespaces(pyrunc, bundle, hooks):
    for kind in ("createRuntime", "createContainer"):
        hooks.add(kind, f"readlink /proc/self/ns/uts > {hooks.directory}/{kind}")
    name = pyrunc.create(bundle)
    ours, theirs = (os.readlink(f"/proc/{pid}/ns/uts") for pid in ("self", pyrunc.pid(name)))
    assert read(f"{hooks.directory}/createRuntime").strip() == ours
    assert read(f"{hooks.directory}/createContainer").strip() == theirs


def test_start_container_runs_inside(pyrunc, bundle):
    bundle.write("hook", '#!/bin/sh\necho "hook $1 $VAR"\ncat > /tmp/state\n', 0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/hook", "args": ["x", "one"]}]}
    bundle.process["env"].append("VAR=value")
    result = pyrunc.run(bundle.sh("echo program"))
    assert result.stdout.endswith("program\n")
    state = json.loads(read(f"{bundle.rootfs}/tmp/state"))
    assert (state["status"], state["pid"]) == ("created", 1)


def test_arguments_and_environment_are_verbatim(pyrunc, bundle, hooks):
    script = f'printf "%s|" "$0" "$@" > {hooks.directory}/out; env >> {hooks.directory}/out'
    args = ["zero", "-c", script, "name", "a b", ""]
    hook = {"path": "/bin/sh", "args": args, "env": ["ONLY=this"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    pyrunc.create(bundle)
    words, _, env = read(f"{hooks.directory}/out").rpartition("|")
    assert words == "name|a b|"
    assert "ONLY=this" in env and "PATH=/" not in env.replace("PWD", "")


def test_absent_environment_is_the_callers(pyrunc, bundle, hooks):
    hooks.add("createRuntime", f"echo $OF_CALLER > {hooks.directory}/out")
    pyrunc.create(bundle, env={**os.environ, "OF_CALLER": "yes"})
    assert read(f"{hooks.directory}/out") == "yes\n"


def test_hook_that_does_not_read_its_stdin(pyrunc, bundle, hooks):
    bundle.config["annotations"] = {"big": "x" * 200000}
    hooks.add("createRuntime", "exec 0<&-; exit 0")
    hooks.add("createContainer", "exec 0<&-; exit 0")
    pyrunc.create(bundle)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_failing_hook_fails_create(pyrunc, bundle, hooks, kind):
    hooks.add(kind, "true")
    hooks.add(kind, "echo said; echo complained >&2; exit 3")
    hooks.mark("poststop")
    result = pyrunc.create(bundle, code=1)
    assert f"error running {kind} hook #1: exit status 3" in result.message
    assert "stdout: said" in result.message
    assert "stderr: complained" in result.message
    assert hooks.marks() == ["poststop"]
    assert pyrunc.names() == []


def test_missing_hook_program(pyrunc, bundle):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/absent"}]}
    message = pyrunc.create(bundle, code=1).message
    assert "error running createRuntime hook #0" in message
    assert "no such file or directory" in message


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_timeout(pyrunc, bundle, hooks, kind):
    hooks.add(kind, "exec sleep 100", timeout=1)
    assert "hook ran past specified timeout of 1.0s" in pyrunc.create(bundle, code=1).message


def test_failing_start_container_hook_ends_the_container(pyrunc, bundle):
    bundle.write("hook", "#!/bin/sh\nexit 1\n", 0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/hook"}]}
    name = pyrunc.create(bundle.sh("echo never > /tmp/mark"))
    message = pyrunc("start", name, code=1).message
    assert "error running startContainer hook #0: exit status 1" in message
    assert not os.path.exists(f"{bundle.rootfs}/tmp/mark")


OPENED_AGAIN = "exit status 1, stdout: , stderr: a b"


@pytest.mark.parametrize(
    ("script", "timeout", "text"),
    [
        ("kill -9 $$", 9, "signal: killed, stdout: , stderr:"),
        ("kill -15 $$", 9, "signal: 15, stdout: , stderr:"),
        ("echo long >&2; echo a >/dev/stderr; echo b >&2; exit 1", 9, OPENED_AGAIN),
        ("exec sleep 100", 1, "hook ran past specified timeout of 1.0s"),
        (None, 9, "fork/exec /hook: no such file or directory"),
    ],
)
def test_how_a_start_container_hook_fails(pyrunc, bundle, script, timeout, text):
    if script:
        bundle.write("hook", f"#!/bin/sh\n{script}\n", 0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/hook", "timeout": timeout}]}
    name = pyrunc.create(bundle.args("true"))
    message = pyrunc("start", name, code=1).message
    assert message == f"error running startContainer hook #0: {text}"


def test_a_start_container_hook_without_a_descriptor_to_spare(pyrunc, bundle):
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 20}]
    name = pyrunc.create(bundle.args("true"))
    message = pyrunc("start", name, code=1).message
    what = "error running startContainer hook #0: fork/exec /bin/true"
    assert message == f"{what}: too many open files"


def test_failing_poststart_hook_kills_the_container(pyrunc, bundle, hooks):
    hooks.add("poststart", "exit 1")
    hooks.mark("poststop")
    name = pyrunc.create(bundle.sh("sleep 100"))
    message = pyrunc("start", name, code=1).message
    assert "error running poststart hook #0: exit status 1" in message
    assert pyrunc.names() == []
    assert hooks.marks() == ["poststop"]


@pytest.mark.parametrize("version", ["1.0.2-dev", "1.2.1"])
def test_failing_poststart_hook_was_a_warning_before_1_3(pyrunc, bundle, hooks, version):
    bundle.config["ociVersion"] = version
    hooks.add("poststart", "exit 1")
    hooks.mark("poststart")
    name = pyrunc.create(bundle.sh("sleep 100"))
    result = pyrunc("start", name)
    assert "level=warning" in result.stderr
    assert result.message == "error running poststart hook #0: exit status 1, stdout: , stderr: "
    assert hooks.marks() == ["poststart"]
    assert pyrunc.status(name) == "running"


def test_no_poststart_where_init_died_before_it_was_let_go(pyrunc, bundle, hooks):
    hooks.mark("poststart")
    name = pyrunc.create(bundle.sh("sleep 100"))
    pid = pyrunc.pid(name)
    fifo = f"{pyrunc.root}/{name}/exec.fifo"
    os.kill(pid, signal.SIGSTOP)
    with pyrunc.popen("start", name, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: not os.path.exists(fifo), what="byte in the fifo")
        os.kill(pid, signal.SIGKILL)
        message = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert "container process is already dead" in message
    assert hooks.marks() == []
    assert pyrunc.names() == []


def test_poststart_comes_after_the_program_was_executed(pyrunc, bundle, hooks):
    hooks.add("poststart", f"readlink /proc/$(cat {hooks.directory}/pid)/exe > {hooks.log}")
    name = pyrunc.create(bundle.sh("sleep 100"), "--pid-file", f"{hooks.directory}/pid")
    assert hooks.marks() == []
    pyrunc("start", name)
    (program,) = hooks.marks()
    assert program.endswith("/bin/busybox")


def test_failing_poststop_hook_is_reported_after_everything_is_gone(pyrunc, bundle, hooks):
    hooks.add("poststop", "exit 1")
    hooks.mark("poststop", "second")
    name = pyrunc.create(bundle)
    pyrunc("delete", name, code=None)
    assert pyrunc.names() == []


def test_poststop_after_foreground_run(pyrunc, bundle, hooks):
    hooks.mark("poststop")
    pyrunc.run(bundle.args("true"))
    wait_for(lambda: hooks.marks() == ["poststop"], what="poststop")


def test_create_runtime_hook_can_mount_into_the_container(pyrunc, bundle, hooks):
    source = f"{hooks.directory}/source"
    os.mkdir(source)
    with open(f"{source}/file", "w") as file:
        file.write("by the hook")
    os.mkdir(f"{bundle.rootfs}/data")
    pid = "$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"
    hooks.add("createRuntime", f"nsenter -m -t {pid} mount --bind {source} {bundle.rootfs}/data")
    assert pyrunc.run(bundle.args("cat", "/data/file")).stdout == "by the hook"


def test_hook_gets_no_descriptor_but_stdio(pyrunc, bundle, hooks):
    for kind in ("createRuntime", "createContainer"):
        bundle.config.setdefault("hooks", {})[kind] = [
            {
                "path": "/bin/bash",
                "args": ["bash", "-c", f"echo /proc/self/fd/* > {hooks.directory}/{kind}"],
            }
        ]
    pyrunc.create(bundle)
    for kind in ("createRuntime", "createContainer"):
        numbers = {os.path.basename(fd) for fd in read(f"{hooks.directory}/{kind}").split()}
        # bash opens the directory, and keeps a copy of its script's terminal at 255.
        assert numbers - {"3", "255"} == {"0", "1", "2"}, (kind, numbers)


def test_signals_of_hooks_are_default(pyrunc, bundle, hooks):
    for kind in ("createRuntime", "createContainer"):
        hooks.add(kind, f"grep -E 'Sig(Ign|Blk)' /proc/self/status > {hooks.directory}/{kind}")
    pyrunc.create(bundle)
    for kind in ("createRuntime", "createContainer"):
        values = read(f"{hooks.directory}/{kind}").split()[1::2]
        # glibc's posix_spawn ignores the two signals it keeps for itself.
        assert [int(value, 16) & ~(3 << 31) for value in values] == [0, 0], kind


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_caller_that_ignores_the_end_of_its_children(pyrunc, bundle, hooks, options):
    hooks.mark("prestart")
    hooks.mark("poststop")
    ignore = lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # noqa: E731
    name = pyrunc.id()
    bundle.args("true").save()
    pyrunc("run", *options, "--bundle", bundle.path, name, preexec_fn=ignore)
    pyrunc("delete", "--force", name, preexec_fn=ignore)
    assert hooks.marks() == ["prestart", "poststop"]

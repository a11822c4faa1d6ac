"""What goes wrong is told as with runc: the same exit codes and messages out of an engine."""

import json
import re

import pytest
from sandbox import IMAGE, REFERENCE, need

HOOK = {
    "version": "1.0.0",
    "when": {"always": True},
    "hook": {"path": "/bin/sh", "args": ["sh", "-c", "echo from the hook >&2; exit 3"]},
}
# (name, options, command)
COMMANDS = {
    "a missing command": ([], ["nosuch"]),
    "a missing path": ([], ["/no/such"]),
    "a path through a file": ([], ["/etc/passwd/x"]),
    "a directory": ([], ["/etc"]),
    "no x bit": ([], ["/etc/passwd"]),
    "no x bit, as a user": (["--user=1000"], ["/etc/passwd"]),
    "an empty command": ([], [""]),
    "a file as working directory": (["--workdir=/etc/passwd"], ["pwd"]),
    "a missing user": (["--user=nosuch"], ["true"]),
    "a missing group": (["--user=0:nosuch"], ["true"]),
    "a user that is too large": (["--user=4294967296"], ["true"]),
}
OPTIONS = {
    "a missing mount source": ["--mount=type=bind,source=/no/such,target=/x"],
    "a directory onto a file": ["--volume=/etc:/etc/passwd"],
    "a file onto a directory": ["--volume=/etc/passwd:/etc"],
    "a mount below a file": ["--volume=/etc/passwd:/etc/passwd/below"],
    "a mount over proc": ["--volume=/etc:/proc"],
    "a mount inside proc": ["--volume=/etc:/proc/sys"],
    "an odd option of a tmpfs": ["--tmpfs=/x:size=nonsense"],
    "a sysctl of the host": ["--sysctl=kernel.nosuch=1"],
    "a missing sysctl": ["--sysctl=net.nosuch=1"],
    "a value that a sysctl refuses": ["--sysctl=net.ipv4.ip_forward=nonsense"],
    "a limit that may not be raised": ["--ulimit=nofile=9999999:9999999"],
    "a missing device": ["--device=/dev/nosuch"],
    "a missing network": ["--network=container:nosuch"],
    "an unknown capability": ["--cap-add=NOSUCH"],
    "a cpuset that is not there": ["--cpuset-cpus=77"],
    "a limit of one byte": ["--memory=1"],
    "a seccomp profile of nonsense": ["--security-opt=seccomp=/etc/passwd"],
}


EXECS = {
    "a missing command": ([], ["nosuch"]),
    "a missing path": ([], ["/no/such"]),
    "a directory": ([], ["/etc"]),
    "no x bit": ([], ["/etc/passwd"]),
    "a missing working directory": (["--workdir=/no/such"], ["pwd"]),
    "a file as working directory": (["--workdir=/etc/passwd"], ["pwd"]),
    "a missing user": (["--user=nosuch"], ["true"]),
}


def plain(text):
    """A message without what names a container, a process, a moment, a version of runc."""
    text = re.sub(r"time=\S+ level=error msg=\"error waiting .*\n", "", text)  # now and then
    # Podman looks for JSON in the log of a runtime that it knows by its name only.
    if found := re.search(r'time=\S+ level=error msg="(.*)"(.*)\n', text):
        text = text.replace(found[0], found[1].replace('\\"', '"') + found[2] + "\n")
    text = text.replace("\\n", "")
    for pattern, instead in (
        (r"\b([0-9a-f]{64}|[0-9a-f]{12})\b|(?<=/overlay/)[0-9a-f]+|(?<=/overlay2/)[0-9a-f]+", "ID"),
        (r"(usage:) \d+", r"\1 N"),
        (r"error during container init: ", ""),
        (r"error running (\w+ )?hook #0: (error running hook: )?", "error running hook: "),
        # How exactly it was mounted.
        (r'(to rootfs at "[^"]*": ).*: (not a directory|invalid argument)', r"\1\2"),
        # What pyrunc says besides.
        (
            r"(no such file or directory|not a directory|permission denied): "
            r"(/\S+ is (missing|no directory)|it has no x bit|"
            r"the (source|destination) is a file[^:\n]*)(?=[:\s]|$)",
            r"\1",
        ),
        # As a newer runc says it, and as an engine understands it.
        (r"is a directory: permission denied", "permission denied"),
        (rf"{REFERENCE}|pyrunc|runc", "RUNTIME"),
    ):
        text = re.sub(pattern, instead, text)
    return re.sub(r" +", " ", text)


class Both:
    """An engine with runc and with pyrunc."""

    def __init__(self, engine, name):
        self.engine = engine
        self.name = name

    def before(self, runtime, verb):
        if self.name == "podman":
            return (f"--runtime={runtime}", verb)
        return (verb, f"--runtime={'reference' if runtime == REFERENCE else runtime}")

    def __call__(self, verb, *args):
        """[(exit code, output)] with runc and with pyrunc."""
        told = []
        for runtime in (REFERENCE, "pyrunc"):
            done = self.engine(*self.before(runtime, verb), *args, code=None)
            told.append((done.code, plain(done.stdout + done.stderr)))
        return told


@pytest.fixture(params=["docker", "podman"])
def both(request):
    if missing := need(REFERENCE):
        pytest.skip(missing)
    return Both(request.getfixturevalue(request.param), request.param)


@pytest.mark.parametrize("case", COMMANDS)
def test_what_cannot_run(both, case):
    options, command = COMMANDS[case]
    theirs, ours = both("run", "--rm", *options, IMAGE, *command)
    assert theirs[0] in (125, 126, 127)
    assert ours == theirs


@pytest.mark.parametrize("case", OPTIONS)
def test_what_cannot_be_set_up(both, case):
    theirs, ours = both("run", "--rm", *OPTIONS[case], IMAGE, "true")
    assert theirs[0] in (125, 126, 127)
    assert ours == theirs


def test_a_name_that_is_taken(both):
    both.engine("create", "--name=taken", IMAGE, "true")
    theirs, ours = both("run", "--rm", "--name=taken", IMAGE, "true")
    assert theirs[0] == 125
    assert "already in use" in theirs[1]
    assert ours == theirs


@pytest.mark.parametrize("case", EXECS)
def test_what_cannot_be_executed(both, case):
    options, command = EXECS[case]
    told = []
    for runtime in (REFERENCE, "pyrunc"):
        run = both.before(runtime, "run")
        name = both.engine(*run, "--detach", IMAGE, "sleep", "1000").stdout.strip()
        done = both.engine("exec", *options, name, *command, code=None)
        told.append((done.code, plain(done.stdout + done.stderr)))
    theirs, ours = told
    assert theirs[0] != 0
    assert ours == theirs


def test_what_is_behind_an_error_changes_no_exit_code(both):
    run = both.before("pyrunc", "run")
    name = both.engine(*run, "--detach", IMAGE, "sleep", "1000").stdout.strip()
    both.engine("exec", name, "sh", "-c", "echo '#!/no/shell' > /tool; chmod 755 /tool")
    plain, explained = (both.engine("exec", name, path, code=None) for path in ("/none", "/tool"))
    assert "its interpreter /no/shell is missing" in explained.stdout + explained.stderr
    assert explained.code == plain.code


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails(podman, stage):
    if missing := need(REFERENCE):
        pytest.skip(missing)
    podman.sandbox.write("/etc/failing/hook.json", json.dumps({**HOOK, "stages": [stage]}))
    theirs, ours = Both(podman, "podman")("run", "--rm", "--hooks-dir=/etc/failing", IMAGE, "true")
    assert theirs[0] == 126
    assert "exit status 3" in theirs[1]
    assert ours == theirs

"""Any call may fail, and anybody may be killed at any: a clear error, nothing lost, nothing left.

tests/failing.c makes one call go wrong.  Which ones is a sample here, the last call of each kind;
PYRUNC_FAULTS=all tries every single one, which takes half an hour.
"""

import errno
import json
import os
import subprocess

import pytest

from harness import cgroup_dirs, processes_in, read, wait_for

ALL = os.environ.get("PYRUNC_FAULTS") == "all"
ERRORS = (errno.ENOMEM, errno.EMFILE, errno.ENOSPC, errno.EIO) if ALL else (errno.ENOMEM,)
KILLED = -9
INTERRUPTED = -2
START = "/"  # the first file that is opened: a library
INIT = "pyrunc:init"
OURSELVES = ""
# verb: what it is called with, the status of its failure, who makes the calls
CASES = {
    "create": (["create", "--pid-file", "{pid}", "--bundle", "{bundle}", "{id}"], 1, OURSELVES),
    "init of create": (["create", "--bundle", "{bundle}", "{id}"], 1, INIT),
    "run": (["run", "-d", "--bundle", "{bundle}", "{id}"], 1, OURSELVES),
    "exec": (["exec", "-d", "--pid-file", "{pid}", "{id}", "sleep", "99"], 255, OURSELVES),
    "init of exec": (["exec", "{id}", "true"], 255, INIT),
    "start": (["start", "{id}"], 1, OURSELVES),
    "update": (["update", "--pids-limit", "77", "{id}"], 1, OURSELVES),
    "pause": (["pause", "{id}"], 1, OURSELVES),
    "kill": (["kill", "{id}", "KILL"], 1, OURSELVES),
    "delete": (["delete", "--force", "{id}"], 1, OURSELVES),
}


@pytest.fixture(scope="session")
def failing(tmp_path_factory):
    """The compiled tests/failing.c."""
    output = str(tmp_path_factory.mktemp("failing") / "failing")
    source = os.path.join(os.path.dirname(__file__), "..", "failing.c")
    subprocess.run(["cc", "-std=gnu11", "-O", "-Wall", "-o", output, source], check=True)
    return output


class Faults:
    """One verb again and again, each time with another call that goes wrong."""

    def __init__(self, pyrunc, failing, bundle, case):
        self.pyrunc, self.failing = pyrunc, failing
        self.bundle = bundle.args("sleep", "1000").save()
        self.pid_file = f"{pyrunc.directory}/pid"
        self.argv, self.failure, self.who = CASES[case]
        self.makes = self.argv[0] in ("create", "run")
        self.wanted = None

    def strike(self, nth, what, mark=""):
        """(id, exit status, stderr, calls) of the verb, whose nth call goes wrong.

        mark: counted from where a path with this in it is opened.
        """
        name = self.pyrunc.id()
        if not self.makes:
            self.pyrunc("create", "--bundle", self.bundle, name)
            if self.argv[0] != "start":
                self.pyrunc("start", name)
        report, log = f"{self.pyrunc.directory}/report", f"{self.pyrunc.directory}/log"
        argv = [part.format(id=name, bundle=self.bundle, pid=self.pid_file) for part in self.argv]
        mark = mark or ("config.json" if self.makes else self.pyrunc.root)
        with open(log, "wb") as err:
            done = subprocess.run(
                [self.failing, report, mark, self.who, str(nth), str(what)]
                + self.pyrunc.argv(*argv),
                # The C side starts Python when anything is odd, and that is who counts.
                env={**os.environ, "PYRUNC_FRONT": "python"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                timeout=30,
                check=False,
            )
        calls = read(report).split()
        os.unlink(report)
        return name, done.returncode, read(log), calls

    def sample(self):
        """Which calls, from 1: all of them, or the last of each kind."""
        name, code, err, calls = self.strike(0, 0)
        assert (code, err) == (0, "")
        self.wanted = self.seen(name)
        self.clean(name)
        count = range(1, len(calls) + 1)
        return list(count) if ALL else sorted(dict(zip(calls, count, strict=True)).values())

    def seen(self, name):
        """What of a new container's process has to be as it was asked for; None if it ended."""
        if (
            not self.makes
            or self.argv[0] == "create"
            and self.pyrunc("start", name, code=None).code
        ):
            return None
        path = f"/proc/{self.pyrunc.record(name)['init_process_pid']}"
        wait_for(lambda: read(f"{path}/comm") == "sleep\n", what="program")
        kept = ("Cap", "NoNewPrivs", "Seccomp:", "Uid", "Gid", "Groups")
        rows = [row for row in read(f"{path}/status").splitlines() if row.startswith(kept)]
        mounts = {row.split()[4] for row in read(f"{path}/mountinfo").splitlines()}
        # Hierarchies that only group processes are left out if they cannot be had.
        mounts = {path for path in mounts if not path.startswith("/sys/fs/cgroup/")}
        return rows, sorted(os.listdir(f"{path}/fd")), mounts

    def clean(self, name):
        """`delete --force` removes all there is, whatever happened before."""
        path = f"{self.pyrunc.root}/{name}/state.json"
        if os.path.exists(path):
            assert json.loads(read(path))["id"] == name, "it is whole"
        assert self.pyrunc("delete", "--force", name).stderr == ""
        assert self.pyrunc.names() == []
        wait_for(lambda: not processes_in(name), what=f"end of {processes_in(name)}")
        assert cgroup_dirs(name) == []
        if os.path.exists(self.pid_file):
            os.unlink(self.pid_file)


@pytest.fixture
def faults(pyrunc, failing, bundle, case):
    return Faults(pyrunc, failing, bundle, case)


@pytest.mark.timeout(3600 if ALL else 120)
@pytest.mark.parametrize("case", CASES)
def test_a_call_that_fails(faults):
    for nth in faults.sample():
        for number in ERRORS:
            name, code, err, calls = faults.strike(nth, number)
            if nth > len(calls):  # fewer than in the first run
                faults.clean(name)
                continue
            lines = err.splitlines()
            told = (nth, number, calls[nth - 1], code, err)
            assert code in (0, faults.failure), told
            if code:
                # A failed call beneath Python's import shows as a module that is not there.
                assert len(lines) == 1 and "level=error" in err, told
                assert "internal error" not in err or "ImportError" in err or "NotFound" in err, (
                    told
                )
                assert not os.path.exists(faults.pid_file), told
                if faults.makes:
                    assert not faults.pyrunc.names() and not cgroup_dirs(name), told
            else:
                assert "level=error" not in err, told
                assert faults.seen(name) in (faults.wanted, None), told
            faults.clean(name)


@pytest.mark.timeout(3600 if ALL else 120)
@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][2] != INIT])
def test_killed_at_a_call(faults):
    for nth in faults.sample()[:: 1 if ALL else 5]:
        name, code, _, calls = faults.strike(nth, KILLED)
        assert code == (KILLED if nth <= len(calls) else 0)
        faults.clean(name)


@pytest.mark.timeout(3600 if ALL else 120)
@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][2] != INIT])
def test_interrupted_at_a_call(faults):
    for nth in faults.sample():
        name, code, err, calls = faults.strike(nth, INTERRUPTED)
        told = (nth, calls[nth - 1 : nth], code, err)
        assert code == 130 or nth > len(calls), told
        assert len(err.splitlines()) == (code == 130), told
        faults.clean(name)


@pytest.mark.timeout(3600 if ALL else 120)
@pytest.mark.parametrize("case", ["start"])
def test_interrupted_while_python_starts(faults):
    """One line, and not where the interpreter was."""
    nth, code = 0, INTERRUPTED
    while code == INTERRUPTED:
        nth += 1 if ALL else 7
        name, code, err, calls = faults.strike(nth, INTERRUPTED, START)
        assert len(err.splitlines()) <= 1, (nth, calls[nth - 1 : nth], code, err)
        faults.clean(name)
    assert code == 130


@pytest.mark.parametrize("case", ["delete"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_record_that_cannot_be_read_is_not_given_up(faults, number):
    name, code, err, _ = faults.strike(1, number, "state.json")
    why = os.strerror(number).lower()
    assert code == 1 and f"open {faults.pyrunc.root}/{name}/state.json: {why}" in err
    assert faults.pyrunc.status(name) == "running"
    faults.clean(name)


@pytest.mark.parametrize("case", ["create"])
def test_an_id_is_free_again_if_it_cannot_be_locked(faults):
    name, code, err, _ = faults.strike(1, errno.EMFILE, f"{faults.pyrunc.root}/")
    assert code == 1 and f"open {faults.pyrunc.root}/{name}: too many open files" in err
    assert faults.pyrunc.names() == []

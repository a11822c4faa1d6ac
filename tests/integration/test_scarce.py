"""Little of what a process may have: everything works, or one line says what was not enough."""

import resource
import subprocess

import pytest

from harness import Result, cgroup_dirs, read

NOFILE = resource.RLIMIT_NOFILE
HARD = resource.getrlimit(NOFILE)[1]
BOTH = {"soft": lambda count: (count, HARD), "hard": lambda count: (count, count)}
TOO_MANY = "too many open files"


@pytest.fixture
def scarce(pyrunc):
    """scarce(resource, (soft, hard), *args): the Result of a verb with such a limit."""

    def run(kind, limit, *args, stdout=subprocess.DEVNULL):
        log = f"{pyrunc.directory}/log"
        with open(log, "wb") as err:
            done = subprocess.run(
                pyrunc.argv(*args),
                preexec_fn=lambda: resource.setrlimit(kind, limit),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=err,
                timeout=30,
                check=False,
            )
        result = Result(done.returncode, "", read(log))
        assert len(result.stderr.splitlines()) == (1 if result.code else 0), result
        assert "internal error" not in result.stderr, result
        return result

    return run


@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("count", range(4, 21, 2))
def test_few_descriptors(pyrunc, bundle, scarce, which, count):
    """A soft limit we raise; below a hard one nothing is begun that could not be undone."""
    limit = BOTH[which](count)
    path = bundle.args("sleep", "1000").save()
    name = pyrunc.id()
    for verb in ("create", "run"):
        result = scarce(NOFILE, limit, verb, "--bundle", path, *["-d"][: verb == "run"], name)
        assert result.code == 0 if which == "soft" else f"is too low: {count}" in result.message
        assert pyrunc.names() == ([name] if which == "soft" else [])
        pyrunc("delete", "--force", name)
        assert not cgroup_dirs(name)
    pyrunc("run", "-d", "--bundle", path, name)
    result = scarce(NOFILE, limit, "exec", name, "true")
    if which == "hard":
        assert f"is too low: {count}" in result.message
    else:
        assert result.code == 0 or TOO_MANY in result.message
    for args in (["state", name], ["ps", name], ["update", "--pids-limit", "9", name]):
        result = scarce(NOFILE, limit, *args)
        assert result.code == 0 or TOO_MANY in result.message


@pytest.mark.parametrize("front", ["native", "python"])
@pytest.mark.parametrize("count", range(4, 9))
def test_a_delete_that_cannot_look_forgets_nothing(
    pyrunc, bundle, scarce, monkeypatch, front, count
):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    if front == "python":
        monkeypatch.setenv("PYRUNC_FRONT", "python")
    result = scarce(NOFILE, (count, count), "delete", "--force", name)
    if result.code:
        assert TOO_MANY in result.message
        assert pyrunc.status(name) == "running"
    else:
        assert pyrunc.names() == []


def limited(pyrunc, size, *args, stdout=subprocess.PIPE):
    """(status, stderr) of a verb that may not make a file larger."""
    done = subprocess.run(
        pyrunc.argv(*args),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("size", [0, 1000])
def test_no_file_may_grow(pyrunc, bundle, size):
    path = bundle.args("sleep", "1000").save()
    name = pyrunc.id()
    for verb in (["create"], ["run", "-d"]):
        code, err = limited(pyrunc, size, *verb, "--bundle", path, name)
        assert code == 1 and f"open {pyrunc.root}/{name}/intent.json: file too large" in err
        assert pyrunc.names() == [] and not cgroup_dirs(name)
    pyrunc("run", "-d", "--bundle", path, name)
    before = read(f"{pyrunc.root}/{name}/state.json")
    code, err = limited(pyrunc, size, "update", "--pids-limit", "9", name)
    assert code == 1 and "state.json: file too large" in err
    assert read(f"{pyrunc.root}/{name}/state.json") == before
    code, err = limited(pyrunc, size, "exec", name, "true")
    assert code == 255 and "file too large" in err


@pytest.mark.parametrize("front", ["native", "python"])
def test_a_file_as_stdout_that_may_not_grow(pyrunc, bundle, monkeypatch, front):
    name = pyrunc.create(bundle)
    if front == "python":
        monkeypatch.setenv("PYRUNC_FRONT", "python")
    with open(f"{pyrunc.directory}/out", "wb") as out:
        code, err = limited(pyrunc, 0, "state", name, stdout=out)
    assert code == 1 and "write /dev/stdout: file too large" in err


def test_little_memory(pyrunc, bundle):
    """From too little for the interpreter, which says so in its own words, to enough."""
    path = bundle.args("sleep", "1000").save()
    log = f"{pyrunc.directory}/log"
    codes = []
    for size in range(3 << 20, 9 << 20, 1 << 18):
        name = pyrunc.id()
        with open(log, "wb") as err:
            done = subprocess.run(
                pyrunc.argv("create", "--bundle", path, name),
                preexec_fn=lambda data=(size, size): resource.setrlimit(resource.RLIMIT_DATA, data),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                check=False,
            )
        text = read(log)
        if "Fatal Python error" not in text:
            assert len(text.splitlines()) == (1 if done.returncode else 0), (size, done, text)
        pyrunc("delete", "--force", name)
        assert pyrunc.names() == [] and not cgroup_dirs(name)
        codes.append(done.returncode)
    assert codes[-1] == 0 and codes[0] != 0


def test_a_procfs_with_processes_only(pyrunc, bundle):
    script = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    argv = pyrunc.argv("create", "--bundle", bundle.save(), pyrunc.id())
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'msg="runc create failed: open /proc/sys/kernel/cap_last_cap: no such' in done.stderr
    assert (done.returncode, pyrunc.names()) == (1, [])

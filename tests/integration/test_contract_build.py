"""What buildah and BuildKit need of the runtime for one RUN step, and all callers at once."""

import json
import os
import signal
import subprocess

import pytest
from callers import Buildah, BuildKit, Shim

from harness import alive, cgroup_dirs, read, wait_for

SLEEP = "trap 'exit 7' TERM; while :; do sleep 0.02; done"
NULL = subprocess.DEVNULL


def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def buildah(play, bundle):
    """No --root: its containers are in the default one."""
    player = play(Buildah, bundle.sh(SLEEP))
    yield player
    player.ask("delete", "--force", player.id)


@pytest.fixture
def buildkit(play, bundle):
    return play(BuildKit, bundle.sh("echo out; echo err >&2; exit 3"))


def step(buildah, code=0):
    """buildah's `create`, with the step's own output."""
    bundle = buildah.bundle.save()
    args = ["create", "--bundle", bundle, "--pid-file", f"{bundle}/pid", buildah.id]
    buildah.wired(*args, code=code)
    return buildah.pid("pid") if code == 0 else None


def status(buildah):
    return json.loads(buildah.ask("state", buildah.id))["status"]


# --- buildah ---


def test_buildah_runs_a_step(buildah, reaper):
    buildah.bundle.sh("echo out; echo err >&2; sleep 0.2; exit 5")
    init = step(buildah)
    assert reaper() == {init}
    buildah.silent("start", buildah.id)
    seen = []
    wait_for(lambda: seen.append(status(buildah)) or seen[-1] == "stopped", what="end of the step")
    assert seen[0] == "running"
    assert set(seen) == {"running", "stopped"}
    assert reap(init) == 5
    assert status(buildah) == "stopped", "it was a zombie, now it is nothing"
    buildah.silent("delete", buildah.id)
    assert buildah.drain() == ("out\n", "err\n")
    assert not os.path.exists(f"/run/pyrunc/{buildah.id}")


@pytest.mark.parametrize("words", [[], ["SIGKILL"]])
def test_buildah_aborts_a_step(buildah, reaper, words):
    init = step(buildah)
    buildah.silent("start", buildah.id)
    wait_for(lambda: status(buildah) == "running", what="running step")
    buildah.silent("kill", buildah.id, *words)
    # The shell may not have set its trap yet.
    assert reap(init) in ([7, -15] if not words else [-9])
    buildah.silent("delete", buildah.id)


def test_buildahs_pipes_end_when_create_fails(buildah, reaper):
    buildah.bundle.args("absent")
    step(buildah, code=1)
    out, err = buildah.drain()
    assert out == ""
    assert err.count("\n") == 1
    assert reaper() == set()


# --- BuildKit ---


def run(buildkit, **options):
    """`run --keep` as a process group of its own."""
    args = [*buildkit.globals(), "run", "--bundle", buildkit.bundle.save(), "--keep", buildkit.id]
    return buildkit.popen(args, stdin=NULL, start_new_session=True, **options)


def asked(buildkit, *args, **options):
    return buildkit.ask(*buildkit.globals(), *args, **options)


def polled(buildkit):
    """The state as soon as it says running; before that BuildKit asks again."""
    args = [*buildkit.globals(), "state", buildkit.id]
    with buildkit.popen(args, stdin=NULL, stdout=subprocess.PIPE, stderr=NULL) as process:
        output = process.communicate(timeout=20)[0]
    state = json.loads(output) if process.returncode == 0 else {}
    return state if state.get("status") == "running" else None


def test_buildkit_keeps_what_it_reads_after_the_end(buildkit, reaper, cgroup_mode):
    with run(buildkit, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=30) == (b"out\n", b"err\n")
    assert process.returncode == 3
    assert reaper() == set()
    state = json.loads(asked(buildkit, "state", buildkit.id))
    assert (state["status"], state["pid"]) == ("stopped", 0)
    kept = cgroup_dirs(buildkit.pyrunc.prefix)
    assert kept
    if cgroup_mode == "v2":
        assert "oom_kill 0" in read(f"{kept[0]}/memory.events")
    assert asked(buildkit, "delete", buildkit.id) == ""
    assert not cgroup_dirs(buildkit.pyrunc.prefix)


def test_buildkit_kills_until_it_works_and_learns_the_signal(buildkit):
    buildkit.bundle.args("sleep", "1000")
    with run(buildkit, stdout=NULL, stderr=NULL) as process:

        def killed():
            args = [*buildkit.globals(), "kill", buildkit.id, "9"]
            with buildkit.popen(args, stdin=NULL, stdout=NULL, stderr=NULL) as kill:
                return kill.wait(20) == 0

        wait_for(killed, what="successful kill")
        assert process.wait(30) == 128 + signal.SIGKILL
    assert asked(buildkit, "delete", buildkit.id) == ""


def test_buildkits_exec_within_a_step(buildkit):
    buildkit.bundle.args("sleep", "1000")
    with run(buildkit, stdout=NULL, stderr=NULL) as process:
        state = wait_for(lambda: polled(buildkit), what="running step")
        assert json.loads(read(f"{state['bundle']}/config.json"))["process"]["args"][0] == "sleep"
        assert state["rootfs"] == buildkit.bundle.rootfs
        file = buildkit.process_file("exec.json", "sh", "-c", "echo $$; exit 42")
        args = ["exec", "--process", file, "--pid-file", buildkit.file("exec.pid"), buildkit.id]
        assert int(asked(buildkit, *args, code=42)) > 1
        assert buildkit.pid("exec.pid") > 1
        assert asked(buildkit, "kill", buildkit.id, "9") == ""
        assert process.wait(30) == 137
    assert asked(buildkit, "delete", buildkit.id) == ""


def test_a_killed_run_takes_its_group_and_can_be_deleted(buildkit, reaper):
    buildkit.bundle.args("sleep", "1000")
    with run(buildkit, stdout=NULL, stderr=NULL) as process:
        wait_for(lambda: polled(buildkit), what="running step")
        process.kill()
    assert asked(buildkit, "delete", "--force", buildkit.id) == ""
    for pid in reaper():
        wait_for(lambda pid=pid: not alive(pid), what=f"end of {pid}")


# --- all at once ---


def started(shim):
    init = shim.create()
    shim.silent("start", shim.id)
    return init


def test_a_hundred_execs_and_lists_at_once(play, bundle, reaper):
    shim = play(Shim, bundle.sh(SLEEP))
    init = started(shim)
    file = shim.process_file("p", "true")
    lines = [shim.exec_args(f"e{number}", file) for number in range(100)]
    lines += [["ps", "--format", "json", shim.id]] * 100
    options = {"stdin": NULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    for start in range(5):
        some = lines[start::5]
        calls = [shim.popen([*shim.globals(), *line], **options) for line in some]
        for line, call in zip(some, calls, strict=True):
            output = call.communicate(timeout=60)[0].decode()
            assert call.returncode == 0, output
            if line[0] == "ps":
                assert init in json.loads(output)
            else:
                assert output == ""
    pids = {shim.pid(f"e{number}.pid") for number in range(100)}
    assert len(pids) == 100
    assert [reap(pid) for pid in pids] == [0] * 100
    assert not os.path.exists(shim.file("log.json")) or shim.error() is None


def test_kill_and_delete_at_once(play, bundle, reaper):
    shim = play(Shim, bundle.sh(SLEEP))
    for _ in range(10):
        started(shim)
        words = [
            ["kill", shim.id, "9"],
            ["delete", "--force", shim.id],
            ["kill", "-a", shim.id, "9"],
        ]
        options = {"stdin": NULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        all_ = [shim.popen([*shim.globals(), *args], **options) for args in words]
        outputs = [process.communicate(timeout=30)[0].decode() for process in all_]
        assert all_[1].returncode == 0, outputs
        for output in (outputs[0], outputs[2]):
            known = (
                "container not running",
                "does not exist",
                "no such process",
                "already finished",
            )
            assert not output or any(text in output for text in known), output
        shim.silent("delete", "--force", shim.id)
        assert not cgroup_dirs(shim.pyrunc.prefix)


# --- a --root shared with others ---


def crun_status(pid):
    return json.dumps(
        {"pid": pid, "cgroup-path": "/x", "bundle": "/b", "rootfs": "r", "created": ""}
    )


FOREIGN = {
    "crun": {"status": crun_status(1), "config.json": "{}"},
    "runc": {"state.json": '{"id":"runc","init_process_pid":1,"init_process_start":5,"config":{}}'},
    "youki": {"state.json": '{"ociVersion":"v1.0.2","id":"youki","status":"Running","pid":1}'},
    "empty": {},
    "garbage": {"state.json": "\0\1\2"},
    "pinned": {"state.json": None},
}


@pytest.fixture
def shared(play, bundle):
    shim = play(Shim, bundle.sh(SLEEP))
    for name, files in FOREIGN.items():
        directory = f"{shim.pyrunc.root}/{name}"
        os.makedirs(directory)
        for file, text in files.items():
            if text is None:
                os.mkdir(f"{directory}/{file}")
                continue
            with open(f"{directory}/{file}", "w") as written:
                written.write(text)
    with open(f"{shim.pyrunc.root}/file", "w"):
        pass
    yield shim
    os.unlink(f"{shim.pyrunc.root}/file")
    for name, files in FOREIGN.items():
        for file, text in files.items():
            path = f"{shim.pyrunc.root}/{name}/{file}"
            (os.rmdir if text is None else os.unlink)(path)
        os.rmdir(f"{shim.pyrunc.root}/{name}")


def test_foreign_directories_in_a_shared_root(shared):
    started(shared)
    arguments = [*shared.globals(), "list", "--format=json"]
    with shared.popen(arguments, stdout=subprocess.PIPE, stderr=NULL) as process:
        listed = json.loads(process.communicate(timeout=20)[0])
    assert process.returncode == 0
    ours = [row for row in listed if row["id"] == shared.id]
    assert [row["status"] for row in ours] == ["running"]
    for verb in ("state", "kill", "start", "pause", "resume"):
        for name in FOREIGN:
            if name == "runc":
                continue
            output = shared.ask(verb, name, code=1)
            assert output.count("\n") == 1, (verb, name, output)
    for name, files in FOREIGN.items():
        shared.ask("create", "--bundle", shared.bundle.path, name, code=1)
        assert "container with given ID already exists" in shared.error()
        assert sorted(os.listdir(f"{shared.pyrunc.root}/{name}")) == sorted(files)
    shared.silent("kill", shared.id, 9)
    shared.silent("delete", "--force", shared.id)

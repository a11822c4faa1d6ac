"""container: the record, the lock, the observed status, and what may be done in which status."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time

import pytest

import pyrunc
from pyrunc import container, files, processes, procfs
from pyrunc.cgroups import fs
from pyrunc.commands import delete as delete_verb
from pyrunc.commands import kill, list, start, state
from pyrunc.errors import Error

SITE = os.path.dirname(os.path.dirname(pyrunc.__file__))
NOBODY = 4194305  # above every kernel's pid_max


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "root")


def spawn(memfd=False):
    """A process that sleeps; memfd: one that looks like a waiting init."""
    if not memfd:
        return os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    fd = os.memfd_create("pyrunc-init", 0)
    try:
        os.write(fd, files.read("/bin/sleep"))
        return os.posix_spawn(f"/proc/self/fd/{fd}", ["sleep", "600"], {})
    finally:
        os.close(fd)


@pytest.fixture
def process():
    """spawn(), with the processes ended when the test is over."""
    children = []

    def begin(memfd=False):
        children.append(spawn(memfd))
        return children[-1]

    yield begin
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def build(pid, name="c", **changes):
    return {
        "id": name,
        "init_process_pid": pid,
        "init_process_start": procfs.start_time(pid),
        "created": "2026-01-01T00:00:00.5Z",
        "config": {
            "rootfs": "/b/rootfs",
            "version": "1.3.0",
            "namespaces": [{"type": "NEWPID", "path": ""}],
            "labels": ["z=<1>", "a=b=c", "bundle=/b"],
        },
        "cgroup_paths": {},
        "pyrunc": {"version": 1, "simple": True, "bundle": "/b", "hooks": {}},
    } | changes


def make(root, pid, name="c", fifo=False, **changes):
    record = build(pid, name, **changes)
    os.close(container.claim(root, name))
    if fifo:
        os.mkfifo(f"{root}/{name}/exec.fifo")
    container.write_record(root, name, record)
    return record


def hooks(**kinds):
    """A record's `pyrunc` with hooks: kind=[script, ...]."""
    shells = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]} for script in scripts]
        for kind, scripts in kinds.items()
    }
    return {"version": 1, "simple": False, "bundle": "/b", "hooks": shells}


def refused(function, *args, **options):
    with pytest.raises(Error) as caught:
        function(*args, **options)
    return caught.value.message


# --- ids and directories ---


@pytest.mark.parametrize("id", ["a", "A_b+c.d-9", "...", "a" * 255, "-f", ".a"])
def test_ids_that_are_one_harmless_component(id):
    container.check_id(id)


@pytest.mark.parametrize("id", [".", "..", "a/b", "../a", "a b", "é", "a\n", "a\0", "٣", "a:b"])
def test_other_ids_are_refused(id):
    assert refused(container.check_id, id) == "invalid container ID format"


def test_an_empty_id():
    assert refused(container.check_id, "") == "container id cannot be empty"


def test_claim_makes_root_and_directory_whatever_the_umask(root):
    old = os.umask(0o777)
    try:
        os.mkdir(root)  # a root of mode 0 would stop anybody but root
        os.chmod(root, 0o700)
        fd = container.claim(root, "c")
    finally:
        os.umask(old)
    assert os.stat(f"{root}/c").st_mode & 0o7777 == 0o711
    assert refused(container.claim, root, "c") == "container with given ID already exists"
    assert files.lock_directory(f"{root}/c", fcntl.LOCK_SH) == -1
    os.close(fd)


def test_claim_makes_missing_parents_for_the_owner_alone(tmp_path):
    os.close(container.claim(str(tmp_path / "a" / "b"), "c"))
    assert os.stat(tmp_path / "a" / "b").st_mode & 0o777 == 0o700


def test_lock_waits_for_its_holder(root):
    fd = container.claim(root, "c")
    timer = threading.Timer(0.2, os.close, [fd])
    timer.start()
    began = time.monotonic()
    os.close(container.lock(root, "c"))
    assert 0.15 < time.monotonic() - began < 5
    timer.join()


def test_lock_gives_up(root, monkeypatch):
    monkeypatch.setattr(container, "PATIENCE", 0.1)
    fd = container.claim(root, "c")
    assert "container c is busy" in refused(container.lock, root, "c")
    os.close(fd)


def test_lock_of_a_container_deleted_meanwhile(root):
    fd = container.claim(root, "c")

    def remove():
        os.rmdir(f"{root}/c")
        os.close(fd)

    timer = threading.Timer(0.1, remove)
    timer.start()
    assert refused(container.lock, root, "c") == "container does not exist"
    timer.join()


def test_the_lock_dies_with_its_holder(root):
    os.close(container.claim(root, "c"))
    code = (
        f"import sys; sys.path.insert(0, {SITE!r}); from pyrunc import container\n"
        f"container.lock({root!r}, 'c'); import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    os.close(container.lock(root, "c"))


# --- the record ---


def test_the_record_replaces_the_intent(root):
    os.close(container.claim(root, "c"))
    record = build(NOBODY)
    container.write_intent(root, "c", record)
    assert os.listdir(f"{root}/c") == ["intent.json"]
    assert refused(container.load, root, "c") == "container does not exist"
    container.write_record(root, "c", record)
    assert os.listdir(f"{root}/c") == ["state.json"]
    assert os.stat(f"{root}/c/state.json").st_mode & 0o777 == 0o600
    assert container.load(root, "c") == record
    assert b"\n" not in files.read(f"{root}/c/state.json")


@pytest.mark.parametrize("verb", [container.load, container.start, container.delete])
def test_nobody_is_there(root, verb):
    assert refused(verb, root, "c") == "container does not exist"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": 1}'])
def test_a_record_that_is_none_is_named(root, text):
    make(root, NOBODY)
    files.write(f"{root}/c/state.json", text + " " * 2000)
    assert refused(container.load, root, "c").endswith("is not the record of a container")


def test_what_hooks_read(root):
    record = build(7)
    assert json.loads(container.hook_state(record, "creating", 7)) == {
        "ociVersion": "1.3.0",
        "id": "c",
        "status": "creating",
        "pid": 7,
        "bundle": "/b",
        "annotations": {"a": "b=c", "z": "<1>"},
    }
    assert '{"a":"b=c","z":' in container.hook_state(record, "creating", 7)  # sorted, as in Go
    record["config"]["labels"] = ["bundle=/b"]
    assert json.loads(container.hook_state(record, "stopped")) == {
        "ociVersion": "1.3.0",
        "id": "c",
        "status": "stopped",
        "bundle": "/b",
    }


# --- status ---


def test_created_needs_the_fifo_and_inits_own_program(root, process):
    assert container.status(root, make(root, process(memfd=True), "a", fifo=True)) == "created"
    assert container.status(root, make(root, process(memfd=True), "b")) == "running"
    assert container.status(root, make(root, process(), "c", fifo=True)) == "running"


def test_stopped_whatever_the_fifo_says(root, process):
    assert container.status(root, make(root, NOBODY, "a", fifo=True)) == "stopped"
    pid = process()
    reused = make(root, pid, "b", init_process_start=procfs.start_time(pid) - 1)
    assert container.status(root, reused) == "stopped"


def test_a_zombie_has_stopped(root):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    record = make(root, pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert container.status(root, record) == "stopped"
    os.waitpid(pid, 0)


def test_paused_even_if_init_is_gone(root, tmp_path):
    (tmp_path / "cgroup.freeze").write_text("1\n")
    assert container.status(root, make(root, NOBODY, cgroup_paths={"": str(tmp_path)})) == "paused"


# --- start ---


def test_start_writes_one_byte(root, process):
    make(root, process(memfd=True), fifo=True)
    fifo = os.open(f"{root}/c/exec.fifo", os.O_RDWR | os.O_NONBLOCK)
    container.start(root, "c")
    assert os.read(fifo, 9) == b"0"
    assert not os.path.exists(f"{root}/c/exec.fifo")
    os.close(fifo)


def test_start_in_the_wrong_status(root, process, tmp_path):
    make(root, NOBODY, "stopped", fifo=True)
    make(root, process(), "running")
    make(root, process(memfd=True), "dead", fifo=True)
    (tmp_path / "cgroup.freeze").write_text("1\n")
    make(root, process(memfd=True), "paused", fifo=True, cgroup_paths={"": str(tmp_path)})
    for name, message in {
        "stopped": "cannot start a container that has stopped",
        "running": "cannot start an already running container",
        "paused": "cannot start a container in the paused state",
        "dead": "container process is already dead",
    }.items():
        assert refused(container.start, root, name) == message


def test_poststart_hooks_run_after_the_program_began(root, process, tmp_path):
    log = tmp_path / "log"
    make(root, process(memfd=True), fifo=True, pyrunc=hooks(poststart=[f"cat > {log}"]))
    fifo = os.open(f"{root}/c/exec.fifo", os.O_RDWR)
    began = []

    def execute():
        os.read(fifo, 1)
        time.sleep(0.2)  # startContainer hooks, say
        began.append(log.exists())
        os.close(fifo)  # as exec does

    init = threading.Thread(target=execute)
    init.start()
    container.start(root, "c")
    init.join()
    assert began == [False]
    assert json.loads(log.read_text())["status"] == "running"


def test_a_failing_poststart_hook_ends_the_container(root, tmp_path):
    pid = spawn()
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    todo = hooks(poststart=["exit 3"], poststop=[f"touch {tmp_path}/stopped"])
    record = make(root, pid, cgroup_paths={"": str(cgroup)}, pyrunc=todo)
    record["config"]["namespaces"] = [{"type": "NEWPID", "path": ""}]
    message = refused(container.poststart, record)
    assert message.startswith("error running poststart hook #0: exit status 3")
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    container.destroy(root, record)
    assert (tmp_path / "stopped").exists()
    assert not cgroup.exists()
    assert os.listdir(root) == []


def test_what_init_says_instead_of_the_exec_is_the_error(root, process):
    todo = hooks(startContainer=["exit 1"], poststop=["true"])
    make(root, process(memfd=True), fifo=True, pyrunc=todo)
    fifo = os.open(f"{root}/c/exec.fifo", os.O_RDWR)

    def fail():
        os.read(fifo, 1)
        os.write(fifo, b"error running startContainer hook #0: exit status 1\n")
        os.close(fifo)

    init = threading.Thread(target=fail)
    init.start()
    message = refused(container.start, root, "c")
    init.join()
    assert message == "error running startContainer hook #0: exit status 1"
    assert os.listdir(root) == []


# --- kill ---


def test_signal_reaches_the_process(root):
    pid = spawn()
    processes.signal(make(root, pid), 15)
    assert os.waitpid(pid, 0)[1] == 15


def test_signal_of_a_stopped_container(root):
    record = make(root, NOBODY)
    assert refused(processes.signal, record, 9) == "container not running"
    processes.signal(record, 9, leftovers=True)


def test_signal_never_reaches_a_stranger(root, process):
    pid = process()
    record = make(root, pid, init_process_start=procfs.start_time(pid) - 1)
    assert refused(processes.signal, record, 9) == "container not running"
    assert procfs.state_letter(pid) in ("R", "S")


def test_a_number_the_kernel_does_not_know(root, process):
    record = make(root, process())
    for number in (-1, 65, 2**70):
        message = refused(processes.signal, record, number)
        assert message == "unable to signal init: invalid argument"


def test_sigkill_without_a_pid_namespace_goes_to_the_whole_cgroup(root, process, monkeypatch):
    shared = {
        "rootfs": "/",
        "labels": [],
        "namespaces": [{"type": "NEWPID", "path": "/proc/1/ns/pid"}],
    }
    record = make(root, process(), config=shared, cgroup_paths={"": "/x"})
    killed = []
    monkeypatch.setattr(fs, "kill_all", lambda paths, number: killed.append((paths, number)))
    processes.signal(record, 9)
    processes.signal(record, 0)
    assert killed == [({"": "/x"}, 9)]


# --- delete ---


def test_delete_in_the_wrong_status(root, process):
    make(root, process())
    message = "cannot delete container c that is not stopped: running"
    assert refused(container.delete, root, "c") == message
    assert os.path.exists(f"{root}/c/state.json")


@pytest.mark.parametrize("force", [False, True])
def test_delete_kills_a_created_container(root, force):
    pid = spawn(memfd=True)
    make(root, pid, fifo=True)
    container.delete(root, "c", force)
    assert os.waitpid(pid, 0)[1] == 9
    assert os.listdir(root) == []


def test_delete_runs_all_poststop_hooks_and_succeeds(root, tmp_path, capfd):
    log = tmp_path / "log"
    make(root, NOBODY, pyrunc=hooks(poststop=["exit 1", f"cat > {log}; test ! -e {root}/c"]))
    container.delete(root, "c")
    state_of = json.loads(log.read_text())
    assert (state_of["status"], "pid" in state_of) == ("stopped", False)
    err = capfd.readouterr().err
    assert "level=warning" in err
    assert "error running poststop hook #0: exit status 1" in err
    assert "hook #1" not in err


def test_delete_of_an_unknown_container(root):
    assert refused(container.delete, root, "c") == "container does not exist"
    container.delete(root, "c", force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("intent", ["whole", "half", None])
def test_delete_undoes_a_creation_that_was_killed(root, tmp_path, intent, force):
    cgroup = tmp_path / "cgroup" / "c"
    (cgroup / "child").mkdir(parents=True)
    os.close(container.claim(root, "c"))
    os.mkfifo(f"{root}/c/exec.fifo")
    if intent:
        container.write_intent(root, "c", build(0, cgroup_paths={"": str(cgroup)}))
    if intent == "half":
        text = files.read(f"{root}/c/intent.json")
        files.replace(f"{root}/c/intent.json", text[:-9])
    if force:
        container.delete(root, "c", force=True)
    else:
        assert refused(container.delete, root, "c") == "container does not exist"
    assert os.listdir(root) == []
    assert cgroup.exists() == (intent != "whole")


def test_delete_waits_for_a_creation_that_goes_on(root):
    fd = container.claim(root, "c")
    container.write_intent(root, "c", build(0))

    def fail():
        container.remove_directory(f"{root}/c")
        os.close(fd)

    timer = threading.Timer(0.1, fail)
    timer.start()
    container.delete(root, "c", force=True)
    timer.join()
    assert os.listdir(root) == []


def test_concurrent_deletes_leave_nothing_and_agree(root):
    for number in range(5):
        make(root, NOBODY, f"c{number}")
        results = []

        def remove(name=f"c{number}", results=results):
            try:
                results.append(container.delete(root, name))
            except Error as err:
                results.append(err.message)

        threads = [threading.Thread(target=remove) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results, key=str) == [None] + ["container does not exist"] * 3
    assert os.listdir(root) == []


# --- the verbs ---


def opts(root, *args, **more):
    known = {
        "all": False,
        "force": False,
        "regex": False,
        "format": "table",
        "quiet": False,
        "root_given": True,
    }
    return {"root": root, "args": [*args]} | known | more


def test_state_prints_runcs_layout_to_the_byte(root, capfdbinary):
    make(root, NOBODY)
    state.run(opts(root, "c"))
    assert capfdbinary.readouterr().out == (
        b'{\n  "ociVersion": "1.3.0",\n  "id": "c",\n  "pid": 0,\n  "status": "stopped",\n'
        b'  "bundle": "/b",\n  "rootfs": "/b/rootfs",\n  "created": "2026-01-01T00:00:00.5Z",\n'
        b'  "annotations": {\n    "a": "b=c",\n    "z": "\\u003c1\\u003e"\n  },\n  "owner": ""\n}'
    )


def test_kill_looks_for_the_container_before_it_reads_the_signal(root, process):
    assert refused(kill.run, opts(root, "c", "FOO")) == "container does not exist"
    make(root, process())
    assert refused(kill.run, opts(root, "c", "FOO")) == 'unknown signal "FOO"'
    kill.run(opts(root, "c", "0"))


def test_start_and_delete_say_nothing(root, process, capfd):
    make(root, process(memfd=True), fifo=True)
    fifo = os.open(f"{root}/c/exec.fifo", os.O_RDWR)
    start.run(opts(root, "c"))
    os.close(fifo)
    make(root, NOBODY, "d")
    delete_verb.run(opts(root, "d"))
    delete_verb.run(opts(root, "d", force=True))
    assert capfd.readouterr() == ("", "")


def test_list_as_a_table(root, capfd):
    os.mkdir(root)
    list.run(opts(root))
    empty = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert capfd.readouterr().out == empty
    make(root, NOBODY, "name-of-16-chars")
    make(root, NOBODY, "b")
    list.run(opts(root))
    rows = capfd.readouterr().out.splitlines()
    when, owner = "2026-01-01T00:00:00.5Z", list.owner(os.geteuid())
    assert rows == [
        "ID                 PID         STATUS      BUNDLE      CREATED                  OWNER",
        f"b                  0           stopped     /b          {when}   {owner}",
        f"name-of-16-chars   0           stopped     /b          {when}   {owner}",
    ]


def test_list_as_ids_and_as_json(root, capfd):
    os.mkdir(root)
    list.run(opts(root, format="json"))
    assert capfd.readouterr().out == "null\n"
    make(root, NOBODY, "b")
    make(root, NOBODY, "a")
    list.run(opts(root, quiet=True, format="json"))
    assert capfd.readouterr().out == "a\nb\n"
    list.run(opts(root, format="json"))
    out = capfd.readouterr().out
    assert [item["id"] for item in json.loads(out)] == ["a", "b"]
    assert json.loads(out)[0]["owner"] == list.owner(os.geteuid())
    assert out.endswith("]\n") and ", " not in out


def test_list_names_what_it_cannot_read_and_goes_on(root, capfd):
    make(root, NOBODY, "b")
    os.close(container.claim(root, "a"))
    os.close(os.open(f"{root}/file", os.O_CREAT))
    list.run(opts(root, quiet=True))
    out, err = capfd.readouterr()
    assert (out, err) == ("b\n", "load container a: container does not exist\n")


def test_list_without_a_root(root, capfd):
    assert refused(list.run, opts(root)) == f"open {root}: no such file or directory"
    list.run(opts(root, root_given=False, format="json"))
    assert capfd.readouterr().out == "null\n"


def test_list_in_another_format(root):
    os.mkdir(root)
    assert refused(list.run, opts(root, format="xml")) == "invalid format option"


def test_an_owner_without_a_name():
    assert list.owner(3999999999) == "#3999999999"

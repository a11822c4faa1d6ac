"""state and list: what is, computed each time."""

import json
import os
import re
import signal
import subprocess

import pytest

from harness import alive, read, wait_for

NANOSECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"


def test_keys_and_their_order(pyrunc, bundle):
    name = pyrunc.create(bundle)
    state = pyrunc.state(name)
    keys = "ociVersion id pid status bundle rootfs created owner".split()
    assert list(state) == keys
    assert state["id"] == name
    assert state["bundle"] == bundle.path
    assert state["rootfs"] == bundle.rootfs
    assert state["owner"] == ""
    assert re.fullmatch(NANOSECONDS, state["created"])


def test_format_is_two_spaces_and_no_newline_at_the_end(pyrunc, bundle):
    name = pyrunc.create(bundle)
    text = pyrunc("state", name).stdout
    assert text.startswith('{\n  "ociVersion": "')
    assert '\n  "status": "created",\n' in text
    assert text.endswith('\n  "owner": ""\n}')


def test_annotations(pyrunc, bundle):
    bundle.config["annotations"] = {"b": "<&>", "a": "x"}
    name = pyrunc.create(bundle)
    text = pyrunc("state", name).stdout
    assert json.loads(text)["annotations"] == {"a": "x", "b": "<&>"}
    assert '"a": "x",\n    "b": "\\u003c\\u0026\\u003e"\n' in text


def test_pid_is_the_hosts(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pid = pyrunc.pid(name)
    assert read(f"/proc/{pid}/status").partition("NSpid:")[2].split()[:2] == [str(pid), "1"]


def test_life(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("sleep 100"))
    assert pyrunc.status(name) == "created"
    pyrunc("start", name)
    assert pyrunc.status(name) == "running"
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    assert pyrunc.pid(name) == 0


def test_created_and_killed_is_stopped(pyrunc, bundle):
    name = pyrunc.create(bundle)
    os.kill(pyrunc.pid(name), signal.SIGKILL)
    pyrunc.stopped(name)


def test_a_process_id_of_another_time_is_not_ours(pyrunc, bundle):
    name = pyrunc.create(bundle)
    path = f"{pyrunc.root}/{name}/state.json"
    record = json.loads(read(path))
    pid, record["init_process_start"] = record["init_process_pid"], 1
    with open(path, "w") as file:
        json.dump(record, file)
    assert pyrunc.status(name) == "stopped"
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), what="end of init")


def test_unknown_container(pyrunc):
    assert pyrunc("state", "nobody", code=1).message == "container does not exist"


@pytest.mark.parametrize("name", ["..", "a/b", "."])
def test_id_is_no_path(pyrunc, name):
    assert pyrunc("state", name, code=1).message == "invalid container ID format"


def test_half_made_container_does_not_exist(pyrunc):
    os.makedirs(f"{pyrunc.root}/half")
    assert pyrunc("state", "half", code=1).message == "container does not exist"


def test_empty_table_has_its_heading(pyrunc):
    os.makedirs(pyrunc.root)
    heading = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert pyrunc("list").stdout == heading


def test_missing_root_that_was_asked_for_is_an_error(pyrunc):
    assert "no such file or directory" in pyrunc("list", code=1).message


def test_table(pyrunc, bundle):
    name = pyrunc.create(bundle)
    state = pyrunc.state(name)
    heading, row = pyrunc("list").stdout.splitlines()
    fields = [name, str(state["pid"]), "created", bundle.path, state["created"], "root"]
    assert row.split() == fields
    assert row.index(bundle.path) == heading.index("BUNDLE")


def test_quiet_is_the_ids(pyrunc, bundle):
    names = sorted(pyrunc.create(bundle) for _ in range(3))
    assert pyrunc("list", "-q").stdout.split() == names
    assert pyrunc("list", "--quiet", "--format", "json").stdout.split() == names


def test_json(pyrunc, bundle):
    name = pyrunc.create(bundle)
    text = pyrunc("list", "--format", "json").stdout
    assert text.endswith("]\n")
    (entry,) = json.loads(text)
    assert entry == {**pyrunc.state(name), "owner": "root"}


def test_json_of_nothing_is_null(pyrunc):
    os.makedirs(pyrunc.root)
    assert pyrunc("list", "-f", "json").stdout == "null\n"


def test_unknown_format(pyrunc):
    os.makedirs(pyrunc.root)
    assert pyrunc("list", "-f", "xml", code=1).message == "invalid format option"


def test_foreign_entries_do_not_disturb(pyrunc, bundle):
    name = pyrunc.create(bundle)
    os.makedirs(f"{pyrunc.root}/foreign")
    with open(f"{pyrunc.root}/file", "w") as file:
        file.write("{}")
    result = pyrunc("list", "-q")
    assert result.stdout.split() == [name]
    os.unlink(f"{pyrunc.root}/file")


# --- stdout that takes nothing ---


@pytest.mark.parametrize("verb", ["state", "ps", "list", "features", "events"])
def test_a_full_device_is_told(pyrunc, bundle, verb):
    name = pyrunc.create(bundle)
    args = {"list": (), "features": (), "events": ("--stats", name)}.get(verb, (name,))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            pyrunc.argv(verb, *args), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith('msg="write /dev/stdout: no space left on device"\n')


@pytest.mark.parametrize("verb", ["state", "ps", "list", "features", "events", "--help"])
def test_nobody_reads(pyrunc, bundle, verb):
    name = pyrunc.create(bundle)
    args = {"list": (), "features": (), "--help": (), "events": ("--stats", name)}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        pyrunc.argv(verb, *args.get(verb, (name,))),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode in (141, -signal.SIGPIPE)


@pytest.mark.parametrize("front", ["native", "python"])
def test_a_pipe_that_does_not_block_is_waited_for(pyrunc, bundle, monkeypatch, front):
    """Whoever shares stdout may have made it so; what did not fit was lost, or an error."""
    name = pyrunc.create(bundle)
    monkeypatch.setenv("PYRUNC_FRONT", front)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with open(reader, "rb") as source:
        try:
            while True:
                os.write(writer, bytes(4096))
        except BlockingIOError:
            pass
        process = pyrunc.popen("state", name, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        wait_for(lambda: "poll" in read(f"/proc/{process.pid}/wchan"), what="wait for room")
        os.set_blocking(reader, True)
        shown = source.read().strip(b"\0")
        assert process.communicate()[1] == b""
    assert json.loads(shown)["id"] == name
    assert process.returncode == 0
    monkeypatch.delenv("PYRUNC_FRONT")

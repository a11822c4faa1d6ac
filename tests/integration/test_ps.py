"""ps: who is in the container; the one verb that never fails for a container that lives."""

import json
import os
import signal

from harness import alive, cgroup_dirs, processes_in, read, wait_for


def pids(pyrunc, name):
    return json.loads(pyrunc("ps", "--format", "json", name).stdout)


def test_json_is_a_list_of_host_pids(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100 & sleep 101 & wait"))
    wait_for(lambda: len(pids(pyrunc, name)) == 3, what="three processes")
    found = pyrunc("ps", "--format", "json", name)
    assert found.stdout == json.dumps(sorted(processes_in(name)), separators=(",", ":")) + "\n"
    assert found.stderr == ""
    assert pyrunc.pid(name) in json.loads(found.stdout)


def test_a_created_container_has_init(pyrunc, bundle):
    name = pyrunc.create(bundle)
    assert pids(pyrunc, name) == [pyrunc.pid(name)]


def test_a_paused_container_answers(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("pause", name)
    assert pids(pyrunc, name) == [pyrunc.pid(name)]
    assert str(pyrunc.pid(name)) in pyrunc("ps", name).stdout


def test_a_stopped_container_has_nobody(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("true"))
    pyrunc.stopped(name)
    wait_for(lambda: not processes_in(name), what="end of init")
    assert pyrunc("ps", "-f", "json", name).stdout == "null\n"
    assert len(pyrunc("ps", name).stdout.splitlines()) == 1


def test_without_its_cgroup_a_stopped_container_is_null(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("true"))
    pyrunc.stopped(name)
    for path in pyrunc.record(name)["cgroup_paths"].values():
        wait_for(lambda path=path: removed(path), what=f"removal of {path}")
    assert pyrunc("ps", "-f", "json", name).stdout == "null\n"


def removed(path):
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def test_a_container_moved_out_of_its_cgroups_is_still_there(pyrunc, bundle, cgroup_mode):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pid = pyrunc.pid(name)
    for path in pyrunc.record(name)["cgroup_paths"].values():
        if f"/{name}" in path:
            above = "/sys/fs/cgroup" if cgroup_mode == "v2" else os.path.dirname(path)
            with open(f"{above}/cgroup.procs", "w") as file:
                file.write(str(pid))
            os.rmdir(path)
    assert not cgroup_dirs(name)
    assert pids(pyrunc, name) == [pid]
    assert f" {pid} " in pyrunc("ps", name).stdout
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)


def test_processes_in_cgroups_of_the_payload_count(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100 & wait"))
    wait_for(lambda: len(pids(pyrunc, name)) == 2, what="two processes")
    pid = next(pid for pid in pids(pyrunc, name) if pid != pyrunc.pid(name))
    paths = pyrunc.record(name)["cgroup_paths"]
    for path in {paths.get("devices"), paths.get("")} - {None}:
        os.mkdir(f"{path}/inner")
        with open(f"{path}/inner/cgroup.procs", "w") as file:
            file.write(str(pid))
    assert sorted(pids(pyrunc, name)) == sorted([pid, pyrunc.pid(name)])


def test_table_shows_the_lines_of_the_hosts_ps(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100 & wait"))
    wait_for(lambda: len(pids(pyrunc, name)) == 2, what="two processes")
    lines = pyrunc("ps", name).stdout.splitlines()
    assert lines[0].split()[:3] == ["UID", "PID", "PPID"]
    assert {int(line.split()[1]) for line in lines[1:]} == set(pids(pyrunc, name))
    assert any(line.endswith("sleep 100") for line in lines)


def test_table_takes_options_of_ps(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("exec sleep 100"))
    pid = pyrunc.pid(name)
    wait_for(lambda: "sleep" in read(f"/proc/{pid}/comm"), what="sleep")
    lines = pyrunc("ps", "--format", "table", name, "-o", "comm,pid", "-e").stdout.splitlines()
    assert [line.split() for line in lines] == [["COMMAND", "PID"], ["sleep", str(pid)]]


def test_options_after_the_id_are_not_ours(pyrunc, bundle):
    name = pyrunc.create(bundle)
    lines = pyrunc("ps", name, "-f", "-p", str(pyrunc.pid(name))).stdout.splitlines()
    assert lines[0].split()[0] == "UID"
    assert len(lines) == 2


def test_output_without_a_pid_column(pyrunc, bundle):
    name = pyrunc.create(bundle)
    result = pyrunc("ps", name, "-o", "comm", code=1)
    assert result.message == "couldn't find PID field in ps output"
    assert result.stdout == ""


def test_failure_of_ps_is_told_with_its_words(pyrunc, bundle):
    name = pyrunc.create(bundle)
    message = pyrunc("ps", name, "-zzz", code=1).message
    assert message.startswith("exit status 1: error: ")


def test_no_ps_on_the_path(pyrunc, bundle, tmp_path):
    name = pyrunc.create(bundle)
    result = pyrunc("ps", name, env={"PATH": str(tmp_path)}, code=1)
    assert result.message == 'exec: "ps": executable file not found in $PATH'
    assert pyrunc("ps", name, env={}).stdout.startswith("UID")  # as Podman calls: no PATH at all
    assert pyrunc("ps", "--format", "json", name, env={}).stdout.startswith("[")


def test_refusals(pyrunc, bundle):
    assert pyrunc("ps", "nobody", code=1).message == "container does not exist"
    assert pyrunc("ps", "--format", "json", "nobody", code=1).message == "container does not exist"
    name = pyrunc.create(bundle)
    assert pyrunc("ps", "--format", "yaml", name, code=1).message == "invalid format option"
    assert "requires a minimum of 1 argument(s)" in pyrunc("ps", code=1).message


def test_init_that_died_while_others_live(pyrunc, bundle):
    bundle.namespace("pid", False).sh("trap '' TERM; sleep 100 & exit 0")
    name = pyrunc.up(bundle)
    pyrunc.stopped(name)
    left = wait_for(lambda: processes_in(name), what="a process that is left")
    assert pids(pyrunc, name) == left
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, left)), what="its end")

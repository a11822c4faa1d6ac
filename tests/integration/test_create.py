"""create: everything is set up, the program waits."""

import json
import os
import signal
import stat
import subprocess
import time

import prctl
import pytest

from harness import alive, cgroup_dirs, processes_in, read, wait_for


def test_is_silent_and_the_status_is_created(pyrunc, bundle):
    name = pyrunc.id()
    result = pyrunc("create", "--bundle", bundle.sh("echo ran").save(), name)
    assert (result.stdout, result.stderr) == ("", "")
    assert pyrunc.status(name) == "created"


def test_bundle_defaults_to_the_current_directory(pyrunc, bundle):
    name = pyrunc.id()
    pyrunc("create", name, cwd=bundle.save())
    assert pyrunc.state(name)["bundle"] == bundle.path


def test_relative_bundle(pyrunc, bundle):
    name = pyrunc.id()
    pyrunc("create", "-b", "rootfs/..", name, cwd=bundle.save())
    assert pyrunc.state(name)["bundle"] == bundle.path


def test_pid_file_is_the_bare_number(pyrunc, bundle, tmp_path):
    path = tmp_path / "pid"
    path.write_text("old content")
    name = pyrunc.create(bundle, "--pid-file", path)
    assert read(path) == str(pyrunc.pid(name))
    assert not (tmp_path / ".pid").exists()


def test_pid_file_that_cannot_be_written(pyrunc, bundle, tmp_path):
    result = pyrunc.create(bundle, "--pid-file", tmp_path / "absent" / "pid", code=1)
    path = tmp_path / "absent" / ".pid"
    why = f"no such file or directory: {os.path.dirname(path)} is missing"
    assert result.message == f"runc create failed: open {path}: {why}"


def test_relative_pid_file_is_of_the_callers_directory(pyrunc, bundle, tmp_path):
    name = pyrunc.create(bundle, "--pid-file", "here", cwd=tmp_path)
    assert read(tmp_path / "here") == str(pyrunc.pid(name))


def test_files_of_the_state_directory(pyrunc, bundle):
    directory = f"{pyrunc.root}/{pyrunc.create(bundle)}"
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o711
    assert stat.S_IMODE(os.stat(f"{directory}/state.json").st_mode) == 0o600
    assert stat.S_ISFIFO(os.stat(f"{directory}/exec.fifo").st_mode)


def test_modes_do_not_depend_on_the_umask(pyrunc, bundle):
    directory = f"{pyrunc.root}/{pyrunc.create(bundle, umask=0o077)}"
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o711


def test_record_has_runcs_keys(pyrunc, bundle):
    name = pyrunc.create(bundle)
    record = pyrunc.record(name)
    pid = pyrunc.pid(name)
    assert record["id"] == name
    assert record["init_process_pid"] == pid
    start = read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]
    assert record["init_process_start"] == int(start)
    assert record["cgroup_paths"]
    assert all(os.path.isdir(path) for path in record["cgroup_paths"].values())
    assert record["namespace_paths"]["NEWNS"] == f"/proc/{pid}/ns/mnt"
    assert record["config"]["rootfs"] == bundle.rootfs
    assert f"bundle={bundle.path}" in record["config"]["labels"]
    assert {"type": "NEWPID", "path": ""} in record["config"]["namespaces"]


@pytest.mark.parametrize("name", ["a/b", "a b", "..", ".", "é", "a\n"])
def test_invalid_id(pyrunc, bundle, name):
    result = pyrunc("create", "--bundle", bundle.save(), name, code=1)
    assert result.message == "runc create failed: invalid container ID format"


def test_an_invalid_id_is_told_before_a_terminal_without_socket(pyrunc, bundle):
    bundle.process["terminal"] = True  # as `spec` writes it
    result = pyrunc("create", "--bundle", bundle.save(), "a/b", code=1)
    assert result.message == "runc create failed: invalid container ID format"


def test_empty_id(pyrunc, bundle):
    result = pyrunc("create", "--bundle", bundle.save(), "", code=1)
    assert "container id cannot be empty" in result.message


def test_id_in_use(pyrunc, bundle):
    name = pyrunc.create(bundle)
    result = pyrunc("create", "--bundle", bundle.path, name, code=1)
    assert result.message == "runc create failed: container with given ID already exists"
    assert pyrunc.status(name) == "created"


def test_no_config(pyrunc, bundle):
    os.makedirs(bundle.path, exist_ok=True)
    result = pyrunc("create", "--bundle", bundle.path, pyrunc.id(), code=1)
    assert "JSON specification file config.json not found" in result.message


def test_no_bundle(pyrunc, tmp_path):
    result = pyrunc("create", "--bundle", tmp_path / "absent", pyrunc.id(), code=1)
    assert "no such file or directory" in result.message


def test_no_root_filesystem(pyrunc, bundle):
    bundle.config["root"]["path"] = "absent"
    result = pyrunc.create(bundle, code=1)
    assert "invalid rootfs" in result.message
    assert pyrunc.names() == []


def test_any_oci_version(pyrunc, bundle):
    for version in ("1.0.0", "1.0.2-dev", "1.1.0+dev", "1.3.0"):
        bundle.config["ociVersion"] = version
        pyrunc.create(bundle)


def test_keys_match_whatever_their_case_and_unknown_ones_are_ignored(pyrunc, bundle):
    config = bundle.config
    config["Hostname"] = "mixed"
    del config["hostname"]
    config["unknown"] = {"a": [1]}
    config["linux"]["resources"]["Memory"] = {"Limit": 64 << 20}
    pyrunc.create(bundle)


def test_what_follows_the_first_json_value_is_ignored(pyrunc, bundle):
    bundle.save()
    with open(f"{bundle.path}/config.json", "a") as file:
        file.write("trailing }{")
    pyrunc("create", "--bundle", bundle.path, pyrunc.id())


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["absent"], 'exec: "absent": executable file not found in $PATH'),
        (["/absent"], 'exec: "/absent": stat /absent: no such file or directory'),
        (["/etc"], 'exec: "/etc": is a directory: permission denied'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied: it has no x bit'),
        (["./absent"], 'exec: "./absent": stat ./absent: no such file or directory'),
    ],
)
def test_a_program_that_cannot_be_run_fails_at_create(pyrunc, bundle, args, text):
    result = pyrunc.create(bundle.args(*args), code=1)
    assert result.message.startswith("runc create failed: unable to start container process: ")
    assert result.message.endswith(text)
    assert pyrunc.names() == []
    assert not cgroup_dirs(pyrunc.prefix)


def test_cwd_is_made(pyrunc, bundle):
    bundle.process["cwd"] = "/a/b/c"
    pyrunc.create(bundle)
    assert stat.S_IMODE(os.stat(f"{bundle.rootfs}/a/b/c").st_mode) == 0o755


def test_cwd_that_is_a_file(pyrunc, bundle):
    bundle.process["cwd"] = "/etc/passwd"
    assert "not a directory" in pyrunc.create(bundle, code=1).message


def test_error_goes_to_the_log_and_to_stderr(pyrunc, bundle, tmp_path):
    log = tmp_path / "log.json"
    bundle.args("absent").save()
    create = ["create", "--bundle", bundle.path, pyrunc.id()]
    result = pyrunc("--log", log, "--log-format", "json", *create, code=1)
    record = json.loads(read(log).splitlines()[-1])
    assert record["level"] == "error"
    assert sorted(record) == ["level", "msg", "time"]
    assert result.stderr == record["msg"] + "\n"
    assert result.stdout == ""


def test_the_waiting_init_is_not_a_file_of_the_host(pyrunc, bundle):
    pid = pyrunc.pid(pyrunc.create(bundle))
    # CVE-2019-5736: a container must not reach the runtime's binary.
    assert "memfd:" in os.readlink(f"/proc/{pid}/exe")


def test_the_waiting_init_holds_nothing_of_the_host(pyrunc, bundle):
    # CVE-2024-21626: but for stdio and the fifo, what is open lies on the container's own mounts.
    pid = pyrunc.pid(pyrunc.create(bundle))
    mounts = {line.split()[0] for line in read(f"/proc/{pid}/mountinfo").splitlines()}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
        if int(fd) > 2 and not target.endswith("/exec.fifo"):
            mount = read(f"/proc/{pid}/fdinfo/{fd}").partition("mnt_id:")[2].split()[0]
            assert mount in mounts, target


def test_cgroup_is_final_when_create_returns(pyrunc, bundle):
    name = pyrunc.create(bundle)
    lines = read(f"/proc/{pyrunc.pid(name)}/cgroup").splitlines()
    record = pyrunc.record(name)
    assert len([line for line in lines if line.endswith(f"/{name}")]) == len(record["cgroup_paths"])


def test_init_is_left_to_the_nearest_subreaper(pyrunc, bundle):
    prctl.set_child_subreaper(1)
    try:
        pid = pyrunc.pid(pyrunc.create(bundle))
        assert read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1] == str(os.getpid())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    finally:
        prctl.set_child_subreaper(0)


def test_small_memory_limit(pyrunc, bundle):
    bundle.linux["resources"]["memory"] = {"limit": 6 << 20}
    pyrunc.create(bundle)


def test_without_environment_and_in_a_deleted_directory(pyrunc, bundle, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    argv = pyrunc.argv("create", "--bundle", bundle.save(), pyrunc.id())
    script = 'cd "$0" && rmdir "$0" && exec env -i "$@"'
    subprocess.run(["sh", "-c", script, str(gone), *argv], check=True, timeout=30)


def test_environment_of_python_is_no_way_in(pyrunc, bundle, tmp_path):
    (tmp_path / "os.py").write_text("raise SystemExit(99)")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONINSPECT": "1"}
    pyrunc.create(bundle, env=env, cwd=tmp_path)


def test_stderr_is_closed_when_a_failed_create_ends(pyrunc, bundle):
    # A captured pipe must see its end: nobody may be left holding it.
    argv = pyrunc.argv("create", "--bundle", bundle.args("absent").save(), pyrunc.id())
    done = subprocess.run(argv, capture_output=True, check=False, timeout=30)
    assert done.returncode == 1
    assert b"executable file not found" in done.stderr


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
def test_a_killed_create_can_be_deleted(pyrunc, bundle, share):
    before = time.monotonic()
    pyrunc.create(bundle.sh("sleep 100"))
    usual = time.monotonic() - before
    name = pyrunc.id()
    with pyrunc.popen("create", "--bundle", bundle.path, name) as process:
        time.sleep(usual * share)  # any moment of its life
        process.kill()
    pyrunc("delete", "--force", name)
    assert name not in pyrunc.names()
    assert not cgroup_dirs(name)
    wait_for(lambda: not processes_in(name), 5, "end of the container's processes")


def test_a_created_container_outlives_its_creator(pyrunc, bundle):
    name = pyrunc.create(bundle)
    pid = pyrunc.pid(name)
    assert alive(pid)
    assert pyrunc.status(name) == "created"


def test_not_yet_supported_is_refused_by_name(pyrunc, bundle):
    bundle.linux["intelRdt"] = {"closID": "x"}
    assert "intelRdt" in pyrunc.create(bundle, code=1).message
    assert pyrunc.names() == []


def test_wrong_type_in_the_configuration_names_its_place(pyrunc, bundle):
    bundle.process["args"] = "not a list"
    message = pyrunc.create(bundle, code=1).message
    assert "process.args" in message or "args" in message
    assert pyrunc.names() == []


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda c: c.pop("process"), "process property must not be empty"),
        (lambda c: c["process"].update(cwd=""), "Cwd property must not be empty"),
        (lambda c: c["process"].update(cwd="tmp"), "Cwd must be an absolute path"),
        (lambda c: c["process"].update(args=[]), "args must not be empty"),
        (lambda c: c.pop("root"), "root must be specified"),
    ],
)
def test_configuration_that_is_incomplete(pyrunc, bundle, edit, text):
    edit(bundle.config)
    assert text in pyrunc.create(bundle, code=1).message


def test_want_of_memory_is_named(pyrunc, bundle, cgroup_mode):
    """Whatever fails first, the cause is what the user can do something about."""
    if cgroup_mode == "v2" and "memory" not in read("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("no memory controller")
    bundle.linux["resources"]["memory"] = {"limit": 4 << 20, "swap": 4 << 20}
    greedy = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", greedy]}
    bundle.config["hooks"] = {"createContainer": [hook]}
    result = pyrunc.create(bundle, code=1)
    assert result.message == (
        "runc create failed: unable to start container process: "
        "container init was OOM-killed (memory limit too low?)"
    )
    assert pyrunc.names() == []

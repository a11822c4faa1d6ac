"""delete: nothing is left."""

import os
import shutil
import threading

import pytest

from harness import alive, cgroup_dirs, read, wait_for


def test_stopped_container(pyrunc, bundle):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    assert cgroup_dirs(name)
    result = pyrunc("delete", name)
    assert (result.stdout, result.stderr) == ("", "")
    assert pyrunc.names() == []
    assert not cgroup_dirs(name)


def test_again_says_that_it_does_not_exist(pyrunc, bundle):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    pyrunc("delete", name)
    assert pyrunc("delete", name, code=1).message == "container does not exist"


def test_created_container(pyrunc, bundle):
    name = pyrunc.create(bundle)
    pid = pyrunc.pid(name)
    pyrunc("delete", name)
    assert not alive(pid)
    assert pyrunc.names() == []


def test_running_container_is_refused(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    result = pyrunc("delete", name, code=1)
    assert result.message == f"cannot delete container {name} that is not stopped: running"
    assert pyrunc.status(name) == "running"


def test_force_running(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pid = pyrunc.pid(name)
    result = pyrunc("delete", "--force", name)
    assert (result.stdout, result.stderr) == ("", "")
    assert not alive(pid)
    assert pyrunc.names() == []


def test_force_after_the_id(pyrunc, bundle):
    pyrunc("delete", pyrunc.up(bundle.sh("sleep 100")), "-f")


def test_unknown_container(pyrunc):
    assert pyrunc("delete", "nobody", code=1).message == "container does not exist"


def test_force_unknown_is_silent_success(pyrunc):
    result = pyrunc("delete", "--force", "nobody")
    assert (result.stdout, result.stderr) == ("", "")


def test_force_without_any_environment(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    pyrunc("delete", "--force", name, env={"XDG_RUNTIME_DIR": ""})


def test_half_made_directory_is_removed_with_an_error(pyrunc):
    os.makedirs(f"{pyrunc.root}/half")
    assert pyrunc("delete", "half", code=1).message == "container does not exist"
    assert pyrunc.names() == []


def test_force_half_made_directory(pyrunc):
    os.makedirs(f"{pyrunc.root}/half")
    pyrunc("delete", "--force", "half")
    assert pyrunc.names() == []


def test_cgroups_made_by_the_container_go_too(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    paths = [path for path in pyrunc.record(name)["cgroup_paths"].values() if "memory" in path]
    for path in paths or pyrunc.record(name)["cgroup_paths"].values():
        os.makedirs(f"{path}/inner/most")
    pyrunc("delete", "--force", name)
    assert not cgroup_dirs(name)


def test_processes_in_a_cgroup_of_the_container_die_too(pyrunc, bundle):
    bundle.namespace("pid", False).sh("sleep 100 & echo $! > /tmp/child; exit 0")
    name = pyrunc.up(bundle)
    path = f"{bundle.rootfs}/tmp/child"
    child = int(wait_for(lambda: os.path.exists(path) and read(path), what="child"))
    pyrunc.stopped(name)
    assert alive(child)
    pyrunc("delete", name)
    assert not alive(child)


def test_concurrent_deletes_end_in_one_deletion(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("sleep 100"))
    codes = []

    def delete():
        with pyrunc.popen("delete", "--force", name, stderr=-3) as process:
            codes.append(process.wait(timeout=60))

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0, 0]
    assert pyrunc.names() == []


def test_root_filesystem_is_untouched(pyrunc, bundle):
    name = pyrunc.up(bundle.sh("echo data > /tmp/file; sleep 100"))
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/tmp/file"), what="file")
    pyrunc("delete", "--force", name)
    assert read(f"{bundle.rootfs}/tmp/file") == "data\n"
    assert os.path.exists(f"{bundle.rootfs}/bin/busybox")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_directory_of_another_runtime_is_left_alone(pyrunc, force):
    """crun keeps its containers in files of these names; engines may share one --root."""
    foreign = f"{pyrunc.root}/theirs"
    os.makedirs(foreign)
    for name in ("status", "config.json", "exec.fifo"):
        with open(f"{foreign}/{name}", "w") as file:
            file.write("{}")
    result = pyrunc("delete", *force, "theirs", code=0 if force else 1)
    assert force or result.message == "container does not exist"
    assert sorted(os.listdir(foreign)) == ["config.json", "exec.fifo", "status"]
    shutil.rmtree(foreign)

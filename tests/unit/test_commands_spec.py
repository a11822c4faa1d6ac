"""spec: the file a first bundle starts from."""

import json
import os

import pytest

from pyrunc import cli
from pyrunc.cgroups import hierarchies
from pyrunc.commands import spec


def test_the_file_is_indented_by_tabs_without_a_last_newline(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    old = os.umask(0o027)
    try:
        assert cli.main(["pyrunc", "spec"]) == 0
    finally:
        os.umask(old)
    assert capfd.readouterr() == ("", "")
    text = (tmp_path / "config.json").read_text()
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true,')
    assert text.endswith("\n\t}\n}")
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o640
    assert json.loads(text) == spec.example(cgroupns=hierarchies.mode() == "v2")


def test_rootless_is_the_verbs_own_flag(tmp_path):
    for line in ("spec --rootless", "--rootless=true spec", "spec --rootless=false"):
        path = tmp_path / line.replace(" ", "")
        path.mkdir()
        assert cli.main(["pyrunc", *line.split(), "--bundle", str(path)]) == 0
        linux = json.loads((path / "config.json").read_text())["linux"]
        assert ("uidMappings" in linux) == (line == "spec --rootless")


def test_a_file_that_exists_is_left_alone(tmp_path, capfd):
    (tmp_path / "config.json").write_text("mine")
    assert cli.main(["pyrunc", "spec", "--bundle", str(tmp_path)]) == 1
    assert 'msg="File config.json exists. Remove it first"' in capfd.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_bundle_that_does_not_exist(tmp_path, capfd):
    assert cli.main(["pyrunc", "spec", "-b", f"{tmp_path}/none"]) == 1
    assert f'"chdir {tmp_path}/none: no such file or directory"' in capfd.readouterr().err


@pytest.mark.parametrize("cgroupns", [False, True])
def test_a_cgroup_namespace_where_the_host_has_cgroup_v2(cgroupns):
    kinds = [item["type"] for item in spec.example(cgroupns)["linux"]["namespaces"]]
    assert kinds == ["pid", "network", "ipc", "uts", "mount"] + ["cgroup"] * cgroupns


def test_the_order_of_the_keys():
    doc = spec.example(cgroupns=True)
    assert list(doc) == ["ociVersion", "process", "root", "hostname", "mounts", "linux"]
    assert list(doc["process"]) == [
        "terminal",
        "user",
        "args",
        "env",
        "cwd",
        "capabilities",
        "rlimits",
        "noNewPrivileges",
    ]
    assert list(doc["process"]["capabilities"]) == ["bounding", "effective", "permitted"]
    assert list(doc["linux"]) == ["resources", "namespaces", "maskedPaths", "readonlyPaths"]


def test_rootless_takes_out_what_a_user_cannot_have():
    doc = spec.rootless(spec.example(cgroupns=True), 1000, 100)
    linux = doc["linux"]
    assert list(linux) == [
        "uidMappings",
        "gidMappings",
        "namespaces",
        "maskedPaths",
        "readonlyPaths",
    ]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert [n["type"] for n in linux["namespaces"]] == "pid ipc uts mount cgroup user".split()
    mounts = {mount["destination"]: mount for mount in doc["mounts"]}
    assert mounts["/sys"] == {
        "destination": "/sys",
        "type": "none",
        "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    }
    assert "gid=5" not in mounts["/dev/pts"]["options"]
    assert "mode=0620" in mounts["/dev/pts"]["options"]
    assert "options" not in mounts["/proc"]

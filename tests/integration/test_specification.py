"""Promises of the runtime specification that belong to no verb and no part of the configuration."""

import json
import os
import shutil

import jsonschema
import pytest
import referencing

from harness import read, wait_for


def test_later_edits_of_the_configuration_do_not_matter(pyrunc, bundle, tmp_path):
    log = tmp_path / "poststop"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo first > {log}"]}
    bundle.config["hooks"] = {"poststop": [hook]}
    name = pyrunc.create(bundle.sh("echo first > /said; sleep 100"))
    hook["args"][2] = f"echo second > {log}"
    bundle.sh("echo second > /said; sleep 100").save()
    pyrunc("start", name)
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/said"), what="the program's word")
    wait_for(lambda: read(f"{bundle.rootfs}/said"), what="the program's word")
    assert read(f"{bundle.rootfs}/said") == "first\n"
    os.unlink(f"{bundle.path}/config.json")
    pyrunc("delete", "--force", name)
    assert log.read_text() == "first\n"


def test_the_program_does_not_run_before_start(pyrunc, bundle):
    name = pyrunc.create(bundle.sh("echo ran > /mark; sleep 100"))
    pid = pyrunc.pid(name)
    assert read(f"/proc/{pid}/comm").startswith("pyrunc:init")
    # It waits for ever: nothing it could do is left but to read one byte.
    wait_for(lambda: read(f"/proc/{pid}/stat").split()[2] == "S", what="a sleeping init")
    assert not os.path.exists(f"{bundle.rootfs}/mark")
    pyrunc("start", name)
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/mark"), what="the program's mark")
    assert pyrunc.pid(name) == pid, "the same process"


def test_what_is_meant_for_other_platforms_is_ignored(pyrunc, bundle):
    bundle.config["windows"] = {"layerFolders": ["C:\\x"]}
    bundle.config["solaris"] = {"milestone": "x"}
    bundle.config["vm"] = {"kernel": {"path": "/k"}}
    bundle.process["commandLine"] = "dir"
    bundle.process["user"]["username"] = "ContainerUser"
    assert pyrunc.run(bundle.args("id", "-u")).stdout == "0\n"


def test_a_console_size_without_a_terminal_is_ignored(pyrunc, bundle):
    bundle.process["consoleSize"] = {"height": 5, "width": 7}
    result = pyrunc.run(bundle.sh("test -t 0 || test -e /dev/console || echo none"))
    assert result.stdout == "none\n"


def test_there_is_no_console_without_a_terminal(pyrunc, bundle):
    assert pyrunc.run(bundle.sh("ls /dev")).stdout.split().count("console") == 0


@pytest.mark.parametrize("absolute", [True, False])
def test_a_cgroups_path_is_the_same_place_each_time(pyrunc, bundle, absolute):
    name = f"{pyrunc.prefix}path"
    bundle.linux["cgroupsPath"] = f"/{name}/inner" if absolute else f"{name}/inner"
    places = []
    for _ in range(2):
        container = pyrunc.create(bundle)
        places.append(pyrunc.record(container)["cgroup_paths"])
        for path in places[-1].values():
            assert path.endswith(f"/{name}/inner")
            assert os.path.isdir(path)
        pyrunc("delete", "--force", container)
        assert not any(os.path.exists(path) for path in places[-1].values())
        for path in places[-1].values():
            # What was above it may be somebody else's.
            if os.path.isdir(os.path.dirname(path)):
                os.rmdir(os.path.dirname(path))
    assert places[0] == places[1]


def test_a_root_path_may_be_absolute(pyrunc, bundle, tmp_path):
    shutil.move(bundle.rootfs, tmp_path / "elsewhere")
    bundle.config["root"]["path"] = str(tmp_path / "elsewhere")
    assert pyrunc.run(bundle.sh("echo here")).stdout == "here\n"


def test_an_id_is_free_again_after_delete(pyrunc, bundle):
    name = pyrunc.create(bundle)
    pyrunc("delete", name)
    pyrunc("create", "--bundle", bundle.save(), name)
    assert pyrunc.status(name) == "created"


def test_a_failed_create_leaves_what_was_there(pyrunc, bundle):
    """Whatever cannot be applied, at whatever step: no container, and the host as before."""
    before = sorted(os.listdir("/sys/fs/cgroup"))
    tries = [
        ("linux.sysctl", {"net.ipv4.nothing": "1"}),
        ("linux.maskedPaths", ["relative"]),
        ("process.capabilities", {"bounding": 5}),
        ("process.rlimits", [{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]),
        ("mounts", [{"destination": "/x", "type": "nothing", "source": "x"}]),
        ("hooks", {"createRuntime": [{"path": "/absent"}]}),
        ("process.cwd", "/bin/busybox"),
        ("process.args", ["/absent"]),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_NONE"}),
    ]
    whole = json.dumps(bundle.config)
    for path, value in tries:
        bundle.config = json.loads(whole)
        *parents, last = path.split(".")
        place = bundle.config
        for parent in parents:
            place = place[parent]
        place[last] = value
        result = pyrunc.create(bundle, code=1)
        assert result.message, path
        assert pyrunc.names() == [], path
    assert sorted(os.listdir("/sys/fs/cgroup")) == before


def satisfies(name, text):
    """The document, which its schema accepts."""
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "oci-spec")
    schemas = {kind: json.loads(read(f"{folder}/{kind}.schema.json")) for kind in ("config", name)}
    registry = referencing.Registry().with_resource(
        "config.schema.json", referencing.Resource.from_contents(schemas["config"])
    )
    document = json.loads(text)
    jsonschema.Draft202012Validator(schemas[name], registry=registry).validate(document)
    return document


def test_documents_satisfy_their_schemas(pyrunc, bundle, tmp_path):
    states = tmp_path / "states"
    states.mkdir()
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {states}/{kind}"]}]
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    bundle.config["annotations"] = {"a": ""}
    name = pyrunc.create(bundle.sh("sleep 100"))
    seen = [satisfies("state", pyrunc("state", name).stdout)["status"]]
    pyrunc("start", name)
    for verb, status in (("pause", "paused"), ("resume", "running")):
        pyrunc(verb, name)
        assert satisfies("state", pyrunc("state", name).stdout)["status"] == status
    pyrunc("kill", name, "KILL")
    pyrunc.stopped(name)
    seen.append(satisfies("state", pyrunc("state", name).stdout)["status"])
    pyrunc("delete", name)
    assert seen == ["created", "stopped"]
    for path in states.iterdir():
        assert satisfies("state", path.read_text())["id"] == name
    assert len(list(states.iterdir())) == 5
    satisfies("features", pyrunc("features").stdout)
    satisfies("config", read(f"{bundle.path}/config.json"))

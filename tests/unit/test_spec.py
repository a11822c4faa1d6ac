"""spec: config.json is read as runc reads it, and refused in its words."""

import copy
import glob
import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc import normal, spec
from pyrunc.errors import Error

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "examples", "config")
FACTS = {"selinux": True, "apparmor": True}
MINIMAL = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"]},
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """An empty bundle with a root filesystem, and the current directory."""
    path = tmp_path.resolve()
    (path / "rootfs").mkdir()
    monkeypatch.chdir(path)
    return path


def load(text):
    """What load() makes of a document."""
    with open("config.json", "w") as file:
        file.write(text if isinstance(text, str) else json.dumps(text))
    return spec.load()


def changed(doc, path, value):
    """A copy of doc with one member set: `linux.resources.pids`; ... deletes it."""
    doc = copy.deepcopy(doc)
    *parents, last = path.split(".")
    box = doc
    for name in parents:
        box = box.setdefault(name, {})
    if value is ...:
        del box[last]
    else:
        box[last] = value
    return doc


def refusal(function, *args):
    with pytest.raises(Error) as caught:
        function(*args)
    return str(caught.value)


# --- load ---


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("process", ..., "process property must not be empty"),
        ("process", None, "process property must not be empty"),
        ("process.cwd", ..., "Cwd property must not be empty"),
        ("process.cwd", "", "Cwd property must not be empty"),
        ("process.cwd", "tmp", "Cwd must be an absolute path"),
        ("process.args", ..., "args must not be empty"),
        ("process.args", [], "args must not be empty"),
    ],
)
def test_load_refuses_in_the_words_of_runc(bundle, path, value, message):
    assert refusal(load, changed(MINIMAL, path, value)) == message


def test_a_missing_file_is_named(bundle):
    assert refusal(spec.load) == "JSON specification file config.json not found"


def test_an_unreadable_file_is_named(bundle):
    os.mkdir("config.json")
    assert refusal(spec.load) == "open config.json: is a directory"


def test_null_is_no_config(bundle):
    assert refusal(load, "null") == "config cannot be null"


def test_a_syntax_error_is_worded_as_in_go(bundle):
    message = "config.json: invalid character ']' looking for beginning of object key string"
    assert refusal(load, "{]") == message


@pytest.mark.parametrize(
    "path, value, message",
    [
        (
            "process.user",
            {"uid": 1.0},
            "process.user.uid: expected an integer from 0 to 4294967295, found 1.0",
        ),
        (
            "process.user",
            {"uid": True},
            "process.user.uid: expected an integer from 0 to 4294967295, found true",
        ),
        (
            "process.user",
            {"gid": 2**32},
            "process.user.gid: expected an integer from 0 to 4294967295, found 4294967296",
        ),
        ("process.args", ["a", 1], "process.args[1]: expected a string, found 1"),
        ("process.terminal", "no", 'process.terminal: expected true or false, found "no"'),
        ("mounts", {}, "mounts: expected an array, found an object"),
        ("annotations", {"a b": 1}, 'annotations["a b"]: expected a string, found 1'),
        ("linux", [], "linux: expected an object, found an array"),
        ("hostname", 5, "hostname: expected a string, found 5"),
        ("hostname", ["x"], "hostname: expected a string, found an array"),
        (
            "hostname",
            {"a": 1},
            "hostname: expected a string, found an object",
        ),
        (
            "process.user",
            {"uid": "x" * 99},
            "process.user.uid: expected an integer from 0 to 4294967295, found "
            '"' + "x" * 59 + "...",
        ),
    ],
)
def test_a_wrong_shape_is_told_by_place_expectation_and_finding(bundle, path, value, message):
    assert refusal(load, changed(MINIMAL, path, value)) == f"config.json: {message}"


def test_a_document_of_another_type_is_refused(bundle):
    assert refusal(load, "[]") == "config.json: config: expected an object, found an array"


def test_a_wrong_shape_is_told_without_jsonschema(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    message = refusal(load, changed(MINIMAL, "process.args", [1]))
    assert message == "config.json: process.args[]: has the wrong type, or is out of range"


def test_a_refusal_that_nothing_explains_is_called_a_bug():
    message = normal.explain(MINIMAL, "config", ".process.cwd")
    assert message.startswith("process.cwd: ")
    assert "this is a bug in pyrunc" in message


def test_a_plain_document_needs_no_normalising(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrunc.normal", None)
    monkeypatch.delattr("pyrunc.normal")
    assert load(MINIMAL) == MINIMAL


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"PROCESS":{"Cwd":"/a"}}', {"process": {"cwd": "/a"}}),
        ('{"proce\u017f\u017f":{"cwd":"/a"}}', {"process": {"cwd": "/a"}}),
        ('{"process":{"cwd":"/a","CWD":"/b"}}', {"process": {"cwd": "/b"}}),
        (
            '{"Process":{"cwd":"/b"},"process":{"user":{"uid":1}}}',
            {"process": {"cwd": "/b", "user": {"uid": 1}}},
        ),
        ('{"hostname":null,"x":1,"y":null}', {}),
        ('{"hostname":"a","Hostname":null}', {}),
        (
            '{"mounts":[null,{"options":[null,"ro"]}]}',
            {"mounts": [{"destination": ""}, {"destination": "", "options": ["", "ro"]}]},
        ),
        ('{"annotations":{"a":null,"A":"b"}}', {"annotations": {"a": "", "A": "b"}}),
        (
            '{"linux":{"resources":{"rdma":{"d":null,"D":{"HcaHandles":1}}}}}',
            {"linux": {"resources": {"rdma": {"d": {}, "D": {"hcaHandles": 1}}}}},
        ),
        (
            '{"linux":{"resources":{"devices":[{"access":"rwm"}]}}}',
            {"linux": {"resources": {"devices": [{"access": "rwm", "allow": False}]}}},
        ),
        ('{"freebsd":{"jail":5,"x":null}}', {"freebsd": {"jail": 5, "x": None}}),
        ('{"hooks":{"PreStart":[{}]}}', {"hooks": {"prestart": [{"path": ""}]}}),
    ],
)
def test_a_document_is_read_as_go_reads_it(text, expected):
    doc = spec._decode(text.encode(), "config.json", "config")
    assert doc.pop("ociVersion") == ""
    for name, value in expected.items():
        if name == "process":
            value = {"cwd": "", **value}
        assert doc.pop(name) == value
    assert not doc


@pytest.mark.parametrize(
    "version, expected",
    [
        ("1.0.2-dev", {}),
        ("1.2.1", {}),
        ("1.3.0", {"limit": 0}),
        ("1.10.0", {"limit": 0}),
        ("2.0.0", {"limit": 0}),
    ],
)
@pytest.mark.usefixtures("bundle")
def test_no_processes_is_no_limit_in_an_old_configuration(version, expected):
    doc = changed({**MINIMAL, "ociVersion": version}, "linux.resources.pids", {"limit": 0})
    assert load(doc)["linux"]["resources"]["pids"] == expected
    doc = changed(doc, "linux.resources.pids", {"limit": 7})
    assert load(doc)["linux"]["resources"]["pids"] == {"limit": 7}


def scramble(value, draw):
    """The same document in the eyes of Go: other case, nulls, unknown members."""
    if isinstance(value, list):
        return [scramble(item, draw) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, item in value.items():
        if draw(st.integers(0, 9)) == 0:
            made[f"x{name}"] = draw(st.sampled_from([None, 1, [None], {"path": None}]))
        change = draw(st.sampled_from([str, str, str.upper, str.swapcase]))
        made[change(name)] = scramble(item, draw)
    return made


FREE = ("annotations", "sysctl", "unified", "rdma", "netDevices", "timeOffsets", "freebsd")


@given(data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
def test_case_and_unknown_members_do_not_matter(data):
    with open(f"{EXAMPLES}/good/everything.json") as file:
        doc = json.load(file)
    for box in (doc, doc["linux"], doc["linux"]["resources"]):
        for name in FREE:
            box.pop(name, None)
    text = json.dumps(scramble(doc, data.draw)).encode()
    assert spec._decode(text, "config.json", "config") == doc


@pytest.mark.parametrize(
    "path", glob.glob(f"{EXAMPLES}/good/*.json") + glob.glob(f"{EXAMPLES}/lenient/*.json")
)
def test_an_example_loads_and_holds_no_null(path):
    with open(path, "rb") as file:
        doc = spec._decode(file.read(), path, "config")
    assert "null" not in json.dumps(doc)


def test_a_process_is_loaded_like_a_config(bundle):
    with open("process.json", "w") as file:
        file.write('{"Cwd":"/","args":["a",null],"user":null}')
    assert spec.load_process("process.json") == {"cwd": "/", "args": ["a", ""]}
    with open("process.json", "w") as file:
        file.write('{"cwd":"/","args":5}')
    message = "process.json: args: expected an array, found 5"
    assert refusal(spec.load_process, "process.json") == message
    message = "open none.json: no such file or directory"
    assert refusal(spec.load_process, "none.json") == message
    with open("process.json", "w") as file:
        file.write("null")
    assert refusal(spec.load_process, "process.json") == "Cwd property must not be empty"


def test_resources_are_loaded_like_a_config():
    assert spec.load_resources(b'{"memory":null,"CPU":{"Shares":5}}', "-") == {"cpu": {"shares": 5}}
    assert spec.load_resources(b"null", "-") == {}
    message = "-: blockIO.weight: expected an integer from 0 to 65535, found 65536"
    assert refusal(spec.load_resources, b'{"blockIO":{"weight":65536}}', "-") == message


# --- validate ---


def test_a_good_config_passes(bundle):
    spec.validate(MINIMAL, FACTS)
    spec.validate(changed(MINIMAL, "linux", ...), FACTS)
    spec.validate({**MINIMAL, "freebsd": {}}, FACTS)


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("root", ..., "root must be specified"),
        ("root.path", "", "invalid rootfs: root.path must not be empty"),
        ("linux.rootfsPropagation", "own", "rootfsPropagation=own is not supported"),
        ("linux.rootfsPropagation", "r", "rootfsPropagation=r is not supported"),
        ("linux.namespaces", [{"type": "net"}], 'namespace "net" does not exist'),
        ("linux.namespaces", [{"type": ""}], 'namespace "" does not exist'),
        (
            "linux.namespaces",
            [{"type": "pid"}, {"type": "pid", "path": "/p"}],
            'malformed spec file: duplicated ns "pid"',
        ),
        (
            "linux.namespaces",
            [{"type": "pid", "path": "p"}],
            'linux.namespaces[0].path "p" is not an absolute path',
        ),
        ("hostname", "h", "unable to set hostname without a private UTS namespace"),
        ("domainname", "d", "unable to set domainname without a private UTS namespace"),
        (
            "linux.uidMappings",
            [{}],
            "user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            "linux.gidMappings",
            [{}],
            "user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            "linux.timeOffsets",
            {"boottime": {}},
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            "linux.netDevices",
            {"eth0": {}},
            "unable to move network devices without a NET namespace",
        ),
        ("linux.maskedPaths", ["/a", "b"], 'linux.maskedPaths[1] "b" is not an absolute path'),
        ("linux.readonlyPaths", [""], 'linux.readonlyPaths[0] "" is not an absolute path'),
        ("linux.devices", [{"type": "x", "path": "/dev/x"}], 'invalid device type "x"'),
        ("linux.devices", [{"type": "", "path": "/dev/x"}], 'invalid device type ""'),
        (
            "linux.devices",
            [{"type": "c", "path": "dev/x"}],
            'linux.devices[0].path "dev/x" is not an absolute path',
        ),
        (
            "linux.devices",
            [{"type": "p", "path": "/a"}, {"type": "c", "path": "/b", "major": 4096, "minor": 1}],
            "linux.devices[1]: no device has the number 4096:1",
        ),
        (
            "linux.devices",
            [{"type": "b", "path": "/b", "major": 1, "minor": 1 << 20}],
            "linux.devices[0]: no device has the number 1:1048576",
        ),
        (
            "linux.devices",
            [{"type": "c", "path": "/b", "major": -1}],
            "linux.devices[0]: no device has the number -1:0",
        ),
        (
            "linux.resources.devices",
            [{"allow": False, "type": "p", "access": "r"}],
            'invalid cgroup device type "p"',
        ),
        (
            "linux.resources.devices",
            [{"allow": False, "access": "r"}, {"allow": True}],
            "device access at 1 field cannot be empty",
        ),
        (
            "linux.resources.devices",
            [{"allow": True, "access": "rx"}],
            'device access at 0 field is invalid: "rx"',
        ),
        (
            "linux.seccomp",
            {"defaultAction": "", "listenerMetadata": "x"},
            "linux.seccomp.listenerMetadata is set without listenerPath",
        ),
        (
            "mounts",
            [{"destination": "/a", "uidMappings": [{}]}],
            "mounts[0] has only one of uidMappings and gidMappings",
        ),
        (
            "hooks",
            {"poststop": [{"path": "true"}]},
            'hooks.poststop[0].path "true" is not an absolute path',
        ),
        (
            "hooks",
            {"prestart": [{"path": "/a"}, {"path": "/a", "timeout": 0}]},
            "hooks.prestart[1].timeout must be greater than zero",
        ),
        (
            "hooks",
            {"createContainer": [{"path": "/a", "timeout": -5}]},
            "hooks.createContainer[0].timeout must be greater than zero",
        ),
    ],
)
def test_validate_refuses(bundle, path, value, message):
    assert refusal(spec.validate, changed(MINIMAL, path, value), FACTS) == message


def test_net_devices_want_a_namespace_that_is_not_theirs(bundle):
    doc = changed(MINIMAL, "linux.netDevices", {"eth0": {}})
    message = "unable to move network devices without a NET namespace"
    assert refusal(spec.validate, doc, FACTS) == message
    doc["linux"]["namespaces"] = [{"type": "network"}]
    spec.validate(doc, FACTS)
    message = "unable to move network devices without a private NET namespace"
    assert refusal(spec.validate, doc, {**FACTS, "same_namespaces": ["network"]}) == message
    doc["linux"]["netDevices"] = {"eth0": {"name": "a/b"}}
    message = 'invalid network device name "a/b" in linux.netDevices'
    assert refusal(spec.validate, doc, FACTS) == message


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_an_id_mapped_mount_has_mappings_from_somewhere(bundle, option):
    mount = {"destination": "/a", "source": "/b", "options": ["bind", option]}
    message = (
        f"mounts[0] has the option {option}, but no mappings, "
        "and the container has no user namespace to take them from"
    )
    doc = changed(MINIMAL, "mounts", [mount])
    assert refusal(spec.validate, doc, FACTS) == message
    mount.update(uidMappings=[], gidMappings=[])
    assert refusal(spec.validate, doc, FACTS) == message
    mapping = [{"containerID": 0, "hostID": 1000, "size": 1}]
    mount.update(uidMappings=mapping, gidMappings=mapping)
    spec.validate(doc, FACTS)


@pytest.mark.parametrize("member", ["maskedPaths", "readonlyPaths"])
def test_paths_are_restricted_in_a_mount_namespace_only(bundle, member):
    doc = changed(MINIMAL, f"linux.{member}", ["/proc/kcore"])
    spec.validate(doc, FACTS)
    doc["linux"]["namespaces"] = []
    message = "unable to restrict sys entries without a private MNT namespace"
    assert refusal(spec.validate, doc, FACTS) == message


@pytest.mark.parametrize(
    "path, value",
    [
        ("linux.rootfsPropagation", ""),
        ("linux.rootfsPropagation", "runbindable"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent"}),
        ("linux.uidMappings", []),
        ("linux.netDevices", {}),
        ("process.terminal", True),
        ("process.execCPUAffinity", {"initial": "0"}),
        ("process.selinuxLabel", "a"),
        ("process.apparmorProfile", "a"),
        ("linux.resources.devices", [{"allow": True, "type": "", "access": "m"}]),
        ("linux.namespaces", [{"type": "mount", "path": ""}]),
        ("root.path", "rootfs/../rootfs//"),
        ("mounts", [{"destination": "a", "options": ["bind"], "uidMappings": []}]),
        ("hooks", {"prestart": [], "poststop": [{"path": "/bin/true", "timeout": 1}]}),
        ("zos", {"namespaces": 5}),
    ],
)
def test_validate_accepts(bundle, path, value):
    spec.validate(changed(MINIMAL, path, value), FACTS)


def test_labels_need_their_module(bundle):
    doc = changed(MINIMAL, "process.selinuxLabel", "u:r:t:s0")
    message = "selinux label is specified in config, but selinux is disabled or not supported"
    assert refusal(spec.validate, doc, {"apparmor": True}) == message
    doc = changed(MINIMAL, "process.apparmorProfile", "docker-default")
    message = "apparmor profile is specified in config, but apparmor is disabled or not supported"
    assert refusal(spec.validate, doc, {"selinux": True}) == message
    doc = changed(MINIMAL, "linux.mountLabel", "u:r:t:s0")
    message = "mount label is specified in config, but selinux is disabled or not supported"
    assert refusal(spec.validate, doc, {"apparmor": True}) == message


def test_private_propagation_needs_pivot_root(bundle):
    for value in ("private", "rprivate"):
        doc = changed(MINIMAL, "linux.rootfsPropagation", value)
        spec.validate(doc, FACTS)
        message = "rootfsPropagation of [r]private is not safe without pivot_root"
        assert refusal(spec.validate, doc, FACTS, True) == message


@pytest.mark.parametrize("name", ["freebsd", "zos", "windows", "solaris", "vm"])
def test_a_config_for_another_platform_is_refused(bundle, name):
    doc = {**changed(MINIMAL, "linux", ...), name: {}}
    message = f"config is not for Linux: it has {name}, but no linux"
    assert refusal(spec.validate, doc, FACTS) == message


# --- rootfs ---


def test_rootfs_is_below_the_bundle_or_absolute(bundle):
    assert spec.rootfs({"root": {"path": "rootfs"}}, str(bundle)) == f"{bundle}/rootfs"
    assert spec.rootfs({"root": {"path": "./rootfs/"}}, str(bundle)) == f"{bundle}/rootfs"
    assert spec.rootfs({"root": {"path": f"/{bundle}/rootfs"}}, "/") == f"{bundle}/rootfs"
    assert spec.rootfs({"root": {"path": "/"}}, str(bundle)) == "/"


def test_rootfs_is_a_directory_and_no_symlink(bundle):
    def answer(path):
        return refusal(spec.rootfs, {"root": {"path": path}}, str(bundle))

    os.symlink("rootfs", "link")
    os.symlink(".", "here")
    open("file", "w").close()
    symlink = "invalid rootfs: not an absolute path, or a symlink"
    missing = f"invalid rootfs: stat {bundle}/none: no such file or directory"
    assert answer("link") == symlink
    assert answer("here/rootfs") == symlink
    assert answer("none") == missing
    assert answer("file") == f"invalid rootfs: {bundle}/file is not a directory"
    assert answer("ro\0otfs").endswith(": invalid argument")

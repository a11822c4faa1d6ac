"""What is said to CRIU, and what of its log is repeated; no criu needed."""

import pytest

from pyrunc import checkpoint, criu, criu_messages, mountpoints
from pyrunc.errors import Error

OPTS = {
    **dict.fromkeys("shell_job tcp_established ext_unix_sk file_locks".split(), False),
    **dict.fromkeys("auto_dedup lazy_pages".split(), False),
    "manage_cgroups_mode": "",
    "empty_ns": None,
}


def test_a_request_has_the_bytes_of_crius_interface():
    """Field numbers and types, as the wire has them."""
    request = criu_messages.Request(type=criu_messages.TYPES["DUMP"])
    request.opts.images_dir_fd = 3
    request.opts.pid = 7
    request.opts.ext_mnt.add(key="a", val="b")
    assert (
        request.SerializeToString()
        == b"\x08\x01\x12\x0d\x08\x03\x10\x07\xba\x01\x06\n\x01a\x12\x01b"
    )


def test_what_we_do_not_know_is_skipped():
    found = criu_messages.Response.FromString(b"\x08\x01\x10\x01\x92\x3f\x01x")
    assert (found.type, found.success) == (criu_messages.TYPES["DUMP"], True)


@pytest.mark.parametrize(
    ("mode", "name"), [("", "SOFT"), ("full", "FULL"), ("strict", "STRICT"), ("ignore", "IGNORE")]
)
def test_cgroup_modes(mode, name):
    request = criu.request("DUMP", {**OPTS, "manage_cgroups_mode": mode}, 5, -1)
    assert criu_messages.ENUMS["criu_cg_mode"][request.opts.manage_cgroups_mode] == name
    assert not request.opts.HasField("work_dir_fd")


def test_logs_have_names():
    assert criu.request("RESTORE", OPTS, 5, 6).opts.log_file == "restore.log"
    assert criu.request("PRE_DUMP", OPTS, 5, 6).opts.log_file == "dump.log"


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"major_number": 3, "minor_number": 17, "sublevel": 1}, 31701),
        ({"major_number": 4, "minor_number": 2}, 40200),
        ({"major_number": 3, "minor_number": 14, "gitid": "v3.14-7"}, 31500),
    ],
)
def test_versions(fields, number):
    found = criu_messages.Response(type=10, success=True)
    for name, value in fields.items():
        setattr(found.version, name, value)
    assert criu.number(found.version) == number


def test_quotations_have_gaps():
    lines = [str(n) for n in range(1, 31)]
    lines[6] = "Error one"
    lines[9] = "Error two"
    lines[29] = "Error three"
    assert criu.quotation(lines) == [
        *("2:2", "3:3", "4:4", "5:5", "6:6", "7:Error one"),
        *("8:8", "9:9", "10:Error two", "..."),
        *("25:25", "26:26", "27:27", "28:28", "29:29", "30:Error three"),
    ]
    assert criu.quotation(["fine"]) == []


def test_page_servers():
    assert checkpoint.page_server("192.0.2.1:80") == ("192.0.2.1", 80)
    for text in ("x", ":1", "x:", "a:b:1"):
        with pytest.raises(Error, match="Use --page-server ADDRESS:PORT"):
            checkpoint.page_server(text)
    with pytest.raises(Error, match="Invalid port number"):
        checkpoint.page_server("x:70000")


# --- mount points ---


def test_mount_points_stay_beneath_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "absolute").symlink_to(outside)
    (root / "relative").symlink_to("../../../outside")
    mountpoints.make(str(root), "/absolute/a", True)
    mountpoints.make(str(root), "/relative/../../b/c", False)
    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "a").is_dir()
    assert (root / "b" / "c").is_file()


def test_destinations_are_resolved_as_the_container_would(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "run").symlink_to("/run")
    assert mountpoints.resolve(str(tmp_path), "/var/run/x/y") == "/run/x/y"
    assert mountpoints.resolve(str(tmp_path), "/../run/.") == "/run"


def test_a_circle_of_links_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Error, match="too many levels of symbolic links"):
        mountpoints.make(str(tmp_path), "/a/x", True)


def test_an_unset_path_means_the_usual_places(tmp_path, monkeypatch):
    program = tmp_path / "criu"
    program.touch(0o755)
    monkeypatch.setattr(criu, "SEARCH", f"/none:{tmp_path}")
    monkeypatch.delenv("PATH")
    assert criu.find() == str(program)
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(Error, match="not found"):
        criu.find()

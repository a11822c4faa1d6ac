"""`mounts add` and `mounts remove`: in a container that runs."""

import json
import os
import subprocess

import pytest

from harness import read, wait_for


@pytest.fixture
def change(pyrunc, tmp_path):
    """change("add", ID, mount...) runs the verb with a file that lists these mounts."""

    def run(what, name, *mounts, **options):
        path = tmp_path / "mounts.json"
        path.write_text(json.dumps(mounts))
        return pyrunc("mounts", what, name, path, **options)

    return run


@pytest.fixture
def data(tmp_path):
    """A directory of the host with a file in it."""
    path = tmp_path / "data"
    path.mkdir()
    (path / "file").write_text("of the host\n")
    os.chmod(path / "file", 0o666)
    return path


def bind(source, destination, *options):
    """An entry of the list."""
    options = list(options) or ["rbind"]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def tmpfs(destination, *options):
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": list(options),
    }


def mounted(pyrunc, name):
    """destination -> options and type of each mount of the container."""
    found = {}
    for line in pyrunc("exec", name, "cat", "/proc/self/mountinfo").stdout.splitlines():
        fields, _, rest = line.partition(" - ")
        found[fields.split()[4]] = (fields.split()[5].split(","), rest.split()[0])
    return found


def test_a_directory_of_the_host_comes_and_goes(pyrunc, bundle, change, data):
    name = pyrunc.up(bundle.sh("sleep 100"))
    change("add", name, bind(data, "/mnt/data"))
    assert pyrunc("exec", name, "cat", "/mnt/data/file").stdout == "of the host\n"
    # The host does not see it there.
    assert os.listdir(f"{bundle.rootfs}/mnt/data") == []
    change("remove", name, bind(data, "/mnt/data"))
    assert pyrunc("exec", name, "ls", "/mnt/data").stdout == ""


def test_a_file_of_the_host(pyrunc, bundle, change, data):
    name = pyrunc.up(bundle.sh("sleep 100"))
    change("add", name, bind(data / "file", "/etc/added", "bind", "ro", "nosuid"))
    assert pyrunc("exec", name, "cat", "/etc/added").stdout == "of the host\n"
    options, _ = mounted(pyrunc, name)["/etc/added"]
    assert {"ro", "nosuid"} <= set(options)


def test_the_running_program_sees_it(pyrunc, bundle, change, data):
    name = pyrunc.up(bundle.sh("until cat /mnt/file > /seen 2> /dev/null; do sleep 0.02; done"))
    change("add", name, bind(data, "/mnt"))
    pyrunc.stopped(name)
    assert read(f"{bundle.rootfs}/seen") == "of the host\n"


def test_file_systems(pyrunc, bundle, change):
    name = pyrunc.up(bundle.sh("sleep 100"))
    change(
        "add",
        name,
        tmpfs("/scratch", "mode=700", "noexec"),
        tmpfs("/scratch/frozen", "ro"),
        {"destination": "/proc2", "type": "proc", "source": "proc"},
    )
    found = mounted(pyrunc, name)
    assert "noexec" in found["/scratch"][0]
    assert found["/scratch/frozen"][1] == "tmpfs"
    assert "ro" in found["/scratch/frozen"][0]
    # Its own processes, not the host's.
    assert "sleep\n" in pyrunc("exec", name, "cat", "/proc2/1/comm").stdout
    change("remove", name, tmpfs("/scratch"), tmpfs("/scratch/frozen"))
    assert not {"/scratch", "/scratch/frozen"} & set(mounted(pyrunc, name))


def test_a_source_that_is_relative_to_the_bundle(pyrunc, bundle, change):
    os.mkdir(f"{bundle.path}/beside")
    name = pyrunc.up(bundle.sh("sleep 100"))
    change("add", name, bind("beside", "/beside"))
    assert "/beside" in mounted(pyrunc, name)


@pytest.mark.parametrize("state", ["created", "paused"])
def test_while_nothing_runs_in_it(pyrunc, bundle, change, data, state):
    name = pyrunc.create(bundle.sh("cat /data/file > /seen"))
    if state == "paused":
        pyrunc("pause", name)
    change("add", name, bind(data, "/data"))
    if state == "paused":
        pyrunc("resume", name)
    pyrunc("start", name)
    pyrunc.stopped(name)
    assert read(f"{bundle.rootfs}/seen") == "of the host\n"


@pytest.fixture
def users(bundle):
    """A bundle with a user namespace."""
    bundle.namespace("user")
    bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    path = bundle.rootfs
    os.chown(path, 100000, 100000)
    while path != "/tmp":
        os.chmod(path, os.stat(path).st_mode | 0o011)
        path = os.path.dirname(path)
    return bundle


def test_a_container_with_users_of_its_own(pyrunc, users, change, data):
    os.chmod(data, 0o700)  # the container's root may not even look
    name = pyrunc.up(users.sh("sleep 100"))
    change("add", name, bind(data, "/data", "bind", "ro"), tmpfs("/scratch"))
    options, _ = mounted(pyrunc, name)["/data"]
    assert "ro" in options
    assert pyrunc("exec", name, "stat", "-c", "%u", "/scratch").stdout == "0\n"
    change("remove", name, bind(data, "/data"), tmpfs("/scratch"))
    assert not {"/data", "/scratch"} & set(mounted(pyrunc, name))


@pytest.mark.parametrize(
    ("place", "options", "why"),
    [
        ("", "bind,ro", "its source is mounted ro by the host"),
        ("", "bind,nosuid,noexec", "its source is mounted nosuid,noexec by the host"),
        ("below", "bind", "the host has mounts below its source"),
    ],
)
def test_what_users_of_the_containers_own_could_undo(
    pyrunc, users, change, data, place, options, why
):
    """The kernel locks what the host has set only in a new mount namespace."""
    (data / "below").mkdir()
    name = pyrunc.up(users.sh("sleep 100"))
    subprocess.run(["mount", "--bind", data, data / place], check=True)
    try:
        subprocess.run(["mount", "-o", f"remount,{options}", data / place], check=True)
        message = change("add", name, bind(data, "/data"), code=1).message
    finally:
        subprocess.run(["umount", data / place], check=True)
    assert message.endswith(f"cannot be added to a container with a user namespace: {why}")
    assert "/data" not in mounted(pyrunc, name)


def test_all_or_nothing(pyrunc, bundle, change, data):
    name = pyrunc.up(bundle.sh("sleep 100"))
    before = mounted(pyrunc, name)
    message = change(
        "add",
        name,
        tmpfs("/one"),
        bind(data, "/two"),
        {"destination": "/three", "type": "nonsense", "source": "x"},
        code=1,
    ).message
    text = 'error mounting "x" to rootfs at "/three": mount src=x, dst=/three'
    assert message.startswith(f"mounts add failed: {text}")
    assert message.endswith(": no such device: this kernel has no file system nonsense")
    assert mounted(pyrunc, name) == before


def test_nothing_is_left_where_a_link_has_led(pyrunc, bundle, change, data):
    os.symlink("run", f"{bundle.rootfs}/link")
    name = pyrunc.up(bundle.sh("sleep 100"))
    before = mounted(pyrunc, name)
    bad = {"destination": "/bad", "type": "nonsense", "source": "x"}
    change("add", name, tmpfs("/link/with blank"), bind(data, "/link/with blank/in"), bad, code=1)
    assert mounted(pyrunc, name) == before
    assert os.path.isdir(f"{bundle.rootfs}/run/with blank")


def test_what_was_there_stays_when_the_new_one_fails(pyrunc, bundle, change, data):
    name = pyrunc.up(bundle.sh("sleep 100"))
    change("add", name, bind(data, "/data"))
    change("add", name, bind(data / "file", "/data"), code=1)
    assert pyrunc("exec", name, "cat", "/data/file").stdout == "of the host\n"


def test_the_image_leads_nowhere_but_into_the_container(pyrunc, bundle, change, data, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(str(outside), f"{bundle.rootfs}/away")
    os.symlink("../../../../../..", f"{bundle.rootfs}/up")
    name = pyrunc.up(bundle.sh("sleep 100"))
    change("add", name, bind(data, "/away"), bind(data, "/up/upper"))
    found = mounted(pyrunc, name)
    assert str(outside) in found
    assert "/upper" in found
    assert os.listdir(outside) == []


def test_a_link_of_the_image_is_no_way_to_a_mask(pyrunc, bundle, change):
    mask = next(path for path in bundle.linux["maskedPaths"] if os.path.exists(path))
    name = pyrunc.up(bundle.sh(f"ln -s {mask} /innocent && sleep 100"))
    wait_for(lambda: os.path.lexists(f"{bundle.rootfs}/innocent"), what="link")
    message = change("remove", name, tmpfs("/innocent"), code=1).message
    text = f'error unmounting "/innocent": a symbolic link leads to "{mask}"'
    assert message == f"mounts remove failed: {text}"


@pytest.mark.parametrize(
    ("mount", "why"),
    [
        (tmpfs("/"), "a mount on / cannot be added"),
        (tmpfs("/proc"), '/proc" cannot be mounted because it is not of type proc'),
        ({"destination": "/proc", "type": "proc", "source": "proc"}, "a mount on /proc cannot"),
        (tmpfs("/proc/sys"), '/proc/sys" cannot be mounted because it is inside /proc'),
        ({"destination": "/cg", "type": "cgroup", "source": "cgroup"}, "a mount of type cgroup"),
        (bind("/", "/x", "bind", "idmap"), "an ID-mapped mount cannot be added"),
        (bind("/", "/x", "bind", "remount"), "a remount cannot be added"),
        (tmpfs("/tmp", "tmpcopyup"), "a mount with tmpcopyup cannot be added"),
        (
            bind("/none/such", "/x"),
            "mounts[0]: open_tree /none/such: no such file or directory: /none is missing",
        ),
    ],
)
def test_what_cannot_be_added(pyrunc, bundle, change, mount, why):
    name = pyrunc.up(bundle.sh("sleep 100"))
    before = mounted(pyrunc, name)
    assert why in change("add", name, mount, code=1).message
    assert mounted(pyrunc, name) == before


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("/", "/ cannot be removed: no container can do without it"),
        ("/proc", "/proc cannot be removed: no container can do without it"),
        ("/sys/firmware", "/sys/firmware cannot be removed: the configuration masks it, or"),
        ("/proc/irq", "/proc/irq cannot be removed: the configuration masks it, or"),
        ("/proc/self", "/proc/self cannot be removed: it is inside /proc"),
        ("/bin", 'error unmounting "/bin": it is not a mountpoint'),
        ("/none", 'error unmounting "/none": no such file or directory'),
    ],
)
def test_what_cannot_be_removed(pyrunc, bundle, change, destination, why):
    name = pyrunc.up(bundle.sh("sleep 100"))
    assert why in change("remove", name, tmpfs(destination), code=1).message


def test_a_mask_stays_however_it_is_spelt(pyrunc, bundle, change):
    bundle.linux["maskedPaths"] = ["/etc/"]
    name = pyrunc.up(bundle.sh("sleep 100"))
    message = change("remove", name, tmpfs("/etc"), code=1).message
    assert "/etc cannot be removed: the configuration masks it" in message


def test_a_container_in_the_mount_namespace_of_the_host(pyrunc, bundle, change):
    bundle.namespace("mount", False).config["mounts"] = []
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    name = pyrunc.create(bundle.sh("sleep 100"))
    message = change("add", name, tmpfs("/x"), code=1).message
    assert message == "mounts add failed: the container has no mount namespace of its own"


def test_a_stopped_container(pyrunc, bundle, change):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    for what in ("add", "remove"):
        message = change(what, name, tmpfs("/x"), code=1).message
        assert message == f"mounts {what} failed: container not running"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"destination": "/x"}', "not a list of mounts"),
        ('[{"destination": 1}]', "mounts[0].destination"),
        ("[", ""),
    ],
)
def test_a_file_that_is_no_list_of_mounts(pyrunc, tmp_path, text, why):
    path = tmp_path / "mounts.json"
    path.write_text(text)
    message = pyrunc("mounts", "add", "none", path, code=1).message
    assert message.startswith(f"{path}: ")
    assert why in message


def test_neither_add_nor_remove(pyrunc, tmp_path):
    result = pyrunc("mounts", "change", "none", tmp_path, code=1)
    assert result.message == "mounts: change is neither add nor remove"


def test_a_bind_that_came_later_cannot_be_dumped(pyrunc, bundle, change, data, criu, tmp_path):
    # CRIU cannot follow files of the host.
    name = pyrunc.up(bundle.sh("exec > /out 2>&1; touch /ready; sleep 100"))
    wait_for(lambda: os.path.exists(f"{bundle.rootfs}/ready"), what="files of its own")
    change("add", name, bind(data, "/data"))
    dump = ("checkpoint", "--image-path", tmp_path / "images", name)
    assert "criu failed" in pyrunc(*dump, env=criu, code=1).message
    assert pyrunc.status(name) == "running"
    change("remove", name, bind(data, "/data"))
    pyrunc(*dump, env=criu)

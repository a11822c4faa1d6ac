"""Flags of the host's mounts, which a user namespace may not take away."""

import os

import pytest

FIRST = 100000


@pytest.fixture
def source(pyrunc, bundle, tmp_path):
    """source(flags): a directory on a mount with these flags; the bundle has a user namespace."""
    mapping = [{"containerID": 0, "hostID": FIRST, "size": 65536}]
    bundle.namespace("user")
    bundle.linux.update(uidMappings=mapping, gidMappings=mapping)
    os.mkdir(f"{bundle.rootfs}/data")
    path = bundle.path
    while path not in ("/tmp", "/"):
        os.chmod(path, os.stat(path).st_mode | 0o011)
        path = os.path.dirname(path)

    def make(flags):
        folder = tmp_path / "source"
        folder.mkdir()
        script = tmp_path / "with-source"
        script.write_text(
            "#!/bin/sh\nexec unshare -m --propagation private sh -c '"
            f'mount -t tmpfs -o {flags} none {folder} && exec "$@"\' sh {pyrunc.command} "$@"\n'
        )
        script.chmod(0o755)
        pyrunc.command = str(script)
        return folder

    return make


FLAGS = {"ro", "nosuid", "nodev", "noexec", "noatime", "relatime"}


@pytest.mark.parametrize(
    ("has", "options", "gets"),
    [
        ("nosuid,nodev", [], {"nosuid", "nodev", "relatime"}),
        ("nosuid,nodev", ["noexec"], {"nosuid", "nodev", "noexec", "relatime"}),
        ("ro,nodev", ["nosuid"], {"ro", "nosuid", "nodev", "relatime"}),
        ("noatime", ["ro"], {"ro", "noatime"}),
        ("noatime", ["noatime", "nodev"], {"nodev", "noatime"}),
        ("nosuid", ["rro"], {"ro", "nosuid", "relatime"}),
    ],
)
def test_what_the_host_set_stays(pyrunc, bundle, source, has, options, gets):
    bundle.mount("/data", source(has), "rbind", *options)
    assert set(pyrunc.probe(bundle)["mounts"]["/data"]["options"]) & FLAGS == gets


@pytest.mark.parametrize(
    ("has", "options", "text"),
    [
        ("nosuid,nodev", ["suid"], "cannot clear locked flags MS_NOSUID: operation not permitted"),
        ("ro", ["rw"], "cannot clear locked flags MS_RDONLY: operation not permitted"),
        ("nodev,noexec", ["exec", "dev"], "cannot clear locked flags MS_NODEV|MS_NOEXEC: "),
        ("noatime", ["atime"], "cannot clear locked flags MS_NOATIME: operation not permitted"),
        ("noatime", ["strictatime"], "cannot change locked atime flags MS_NOATIME to "),
        ("nosuid", ["rsuid"], "recursive attributes on bind-mount: operation not permitted"),
    ],
)
def test_what_would_undo_it_is_refused(pyrunc, bundle, source, has, options, text):
    bundle.mount("/data", source(has), "rbind", *options)
    assert text in pyrunc.run(bundle, code=1).message
    assert pyrunc.names() == []

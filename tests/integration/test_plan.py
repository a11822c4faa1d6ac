"""plan: it prints what `create` has init do."""

import os
import re
import socket

import pytest

from harness import read

DEBUG = re.compile(r'level=debug msg="?(.*?)"?$', re.MULTILINE)


def steps(text):
    """The lines of a plan, without the environment, which --debug keeps to itself."""
    return [" ".join(re.sub(r" env=\S+", "", line).split()) for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["plain", "terminal", "joined", "users"])
def test_it_is_what_create_does(pyrunc, bundle, tmp_path, kind):
    bundle.process["env"] = ["PATH=/bin"]
    if kind == "terminal":
        bundle.process["terminal"] = True
    if kind == "joined":
        bundle.namespace("ipc", "/proc/self/ns/ipc")
    if kind == "users":
        maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        bundle.namespace("user").linux.update(uidMappings=maps, gidMappings=maps)
        bundle.linux["devices"] = [{"path": "/dev/other", "type": "c", "major": 1, "minor": 5}]
        os.chmod(tmp_path, 0o755)
    printed = steps(pyrunc("plan", "--bundle", bundle.save()).stdout)
    log, name, options = tmp_path / "log", pyrunc.id(), []
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "terminal":
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            options = ["--console-socket", tmp_path / "socket"]
        options += ["--bundle", bundle.path]
        pyrunc("--debug", "--log", log, "create", *options, name, code=None)
    done = steps("\n".join(DEBUG.findall(read(log))).replace('\\"', '"'))
    wanted = [re.sub(r"\bID\b", name, line) for line in printed]
    begin = done.index(wanted[0])
    assert done[begin : begin + len(wanted)] == wanted
    assert wanted[-1].startswith("exec ")

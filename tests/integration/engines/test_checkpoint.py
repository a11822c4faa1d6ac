"""Engines put containers into files and bring them back, through `checkpoint` and `restore`."""

import itertools
import os

import pytest
from sandbox import IMAGE

from harness import wait_for

# Whoever starts anew draws another name.
COUNT = (
    "name=$(cat /proc/sys/kernel/random/uuid); i=0; "
    "while :; do i=$((i+1)); echo $name $i > /new; mv /new /count; sleep 0.05; done"
)


@pytest.fixture
def with_criu(criu):
    """Give an engine's sandbox the criu that works on this machine."""

    def give(engine):
        path = os.path.join(criu["PATH"].partition(":")[0], "criu")
        engine.sandbox.write("/usr/local/bin/criu", f'#!/bin/sh\nexec "{path}" "$@"\n')
        engine.sandbox("chmod", "755", "/usr/local/bin/criu")
        if engine.sandbox("criu", "check", code=None).code:
            pytest.skip("criu does not work in the sandbox")
        return engine

    return give


class Count:
    """How far a container has counted.  exec: how its engine runs a program in it."""

    __slots__ = ("at", "exec", "name")

    def __init__(self, *exec):
        self.exec = exec
        self.name, self.at = "", 0
        self.goes_on()

    def goes_on(self, *exec):
        """Wait for a higher number from the same program; exec: where that is now."""
        engine, *args = exec or self.exec
        before = self.at
        wait_for(lambda: self._look(engine, args) and self.at > before, what="more")

    def _look(self, engine, args):
        args = [next(word) if isinstance(word, itertools.count) else word for word in args]
        words = engine(*args, "cat", "/count", code=None).stdout.split()
        if words:
            assert self.name in ("", words[0]), "it has started anew"
            self.name, self.at = words[0], int(words[1])
        return words


def test_podman_checkpoints_and_restores(podman, with_criu):
    with_criu(podman)
    name = podman("run", "--detach", IMAGE, "sh", "-c", COUNT).stdout.strip()
    count = Count(podman, "exec", name)
    podman("container", "checkpoint", name)
    status = ("inspect", "--format", "{{.State.Status}} {{.State.Checkpointed}}", name)
    assert podman(*status).stdout.split()[1] == "true"
    podman("container", "restore", "--keep", name)
    count.goes_on()
    folder = podman("inspect", "--format", "{{.StaticDir}}", name).stdout.strip()
    assert "restore.log" in podman.sandbox.names(folder) + podman.sandbox.names(f"{folder}/..")
    podman("stop", "--time=0", name)


def test_podman_imports_what_it_exported_under_another_name(podman, with_criu):
    """And the first container goes on, too."""
    with_criu(podman)
    podman("run", "--detach", "--name", "one", IMAGE, "sh", "-c", COUNT)
    one = Count(podman, "exec", "one")
    podman("container", "checkpoint", "--leave-running", "--export", "/run/one.tar", "one")
    podman("container", "restore", "--import", "/run/one.tar", "--name", "two")
    one.goes_on(podman, "exec", "two")
    one.goes_on()


def test_ctr_checkpoints_a_task(ctr, with_criu):
    with_criu(ctr)
    ctr("run", "--detach", IMAGE, "frozen", "sleep", "1000")
    ctr("tasks", "checkpoint", "--exit", "--image-path", "/run/frozen-image", "frozen")
    assert "inventory.img" in ctr.sandbox.names("/run/frozen-image")


def test_ctr_restores_a_container(ctr, with_criu):
    with_criu(ctr)
    ctr("run", "--detach", IMAGE, "one", "sh", "-c", COUNT)
    count = Count(ctr, "tasks", "exec", "--exec-id", itertools.count(), "one")
    image = "localhost/checkpoint:one"
    ctr("containers", "checkpoint", "--rw", "--image", "--task", "one", image)
    ctr("tasks", "delete", "--force", "one")
    ctr("containers", "delete", "one")
    ctr("containers", "restore", "--rw", "--live", "one", image)
    count.goes_on()


def test_docker_starts_a_container_from_a_checkpoint(with_criu, experimental):
    docker = with_criu(experimental)
    docker("run", "--detach", "--name", "one", IMAGE, "sh", "-c", COUNT)
    count = Count(docker, "exec", "one")
    docker("checkpoint", "create", "one", "first")
    assert docker("inspect", "--format", "{{.State.Status}}", "one").stdout == "exited\n"
    docker("start", "--checkpoint", "first", "one")
    count.goes_on()

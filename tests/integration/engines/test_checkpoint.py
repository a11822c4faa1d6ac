"""Engines put containers into files and bring them back, through `checkpoint` and `restore`."""

import os

import pytest
from sandbox import IMAGE

from harness import wait_for

COUNT = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done"


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


def test_podman_checkpoints_and_restores(podman, with_criu):
    with_criu(podman)
    name = podman("run", "--detach", IMAGE, "sh", "-c", COUNT).stdout.strip()

    def count():
        return int(podman("exec", name, "cat", "/count", code=None).stdout or 0)

    wait_for(count, what="a count")
    podman("container", "checkpoint", name)
    status = ("inspect", "--format", "{{.State.Status}} {{.State.Checkpointed}}", name)
    assert podman(*status).stdout.split()[1] == "true"
    podman("container", "restore", name)
    before = count()
    assert before > 1
    wait_for(lambda: count() > before, what="more")
    podman("stop", "--time=0", name)


def test_ctr_checkpoints_a_task(ctr, with_criu, tmp_path):
    with_criu(ctr)
    ctr("run", "--detach", IMAGE, "frozen", "sleep", "1000")
    ctr("tasks", "checkpoint", "--exit", "--image-path", "/run/frozen-image", "frozen")
    assert "inventory.img" in ctr.sandbox.names("/run/frozen-image")

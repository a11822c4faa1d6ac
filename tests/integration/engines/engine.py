"""An engine in its sandbox, and what it and its containers leave on a host.

see, up, state  containers, as Docker and Podman make and show them
"""

import os
import re

import pytest
from sandbox import IMAGE

from harness import cgroup_dirs, wait_for

PREFIX = f"pt{os.getpid()}"  # of the cgroups
USERS = f"u{PREFIX}"  # of those that a user may divide
PAUSE = "localhost/pause:latest"
EVENTS = "/run/libpod/events/events.log"
# Podman mounts this while it runs, and leaves it to the next one when two run at once.
STORAGE = "/var/lib/containers/storage/overlay"


def directories(path):
    return [entry.name for entry in os.scandir(path) if entry.is_dir()]


def see(engine, *options, script, code=0):
    """What a shell in a container of its own prints."""
    return engine("run", "--rm", *options, IMAGE, "sh", "-c", script, code=code).stdout


def up(engine, *options, command=("sleep", "1000")):
    """Run a container in the background; its id."""
    return engine("run", "--detach", *options, IMAGE, *command).stdout.strip()


def state(engine, name, path="State.Status"):
    return engine("inspect", "--format", f"{{{{.{path}}}}}", name).stdout.strip()


class Engine:
    """An engine in its sandbox.  Calling it runs one command of its command line."""

    __slots__ = ("_base", "before", "sandbox", "states")

    def __init__(self, sandbox, states, *before):
        self.sandbox = sandbox
        self.states = states
        self.before = before
        self._base = None

    def __call__(self, *args, **options):
        return self.sandbox(*self.before, *args, **options)

    def terminal(self, *args, **options):
        return self.sandbox.terminal(*self.before, *args, **options)

    def present(self):
        """What an engine and its containers leave on a host, as lines."""
        sandbox = self.sandbox
        return {
            *(f"process {line}" for line in sandbox.processes().values()),
            *(f"mount {path}" for path in sandbox.mounts() if path != STORAGE),
            *(f"state {name}" for name in sandbox.names(self.states)),
            *(f"cgroup {path}" for path in self.cgroups()),
        }

    def known(self):
        """The ids of Podman's containers and pods, out of its log of events."""
        return set(re.findall(r'"ID":"(\w{64})"', self.sandbox.read(EVENTS)))

    def cgroups(self):
        """Those beneath our own, and those of Podman's containers."""
        ours = [f"{path}/{name}" for path in cgroup_dirs(PREFIX) for name in directories(path)]
        known = self.known()
        return ours + [path for path in cgroup_dirs("libpod-") if path[-64:] in known]

    def settle(self):
        """Remember what is there without containers."""
        self._base = self.present()

    def check(self):
        """Everything that came after settle() must go."""
        try:
            wait_for(lambda: self.present() <= self._base, 5)
        except AssertionError:
            pytest.fail("left: " + "\n".join(sorted(self.present() - self._base)), pytrace=False)

"""Compares what engines need for a container with each runtime: `podman run --rm`, `ctr run --rm`.

The engines live in the sandbox of the tests: nothing of theirs is shared with the machine's, and
nothing stays.  Wall time only, of the engine's command, from its start to its end.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, "..", "tests", "integration")
sys.path[:0] = [TESTS, os.path.join(TESTS, "engines")]

from sandbox import IMAGE, Sandbox, image, need, settings  # noqa: E402

from harness import cgroup_dirs, wait_for  # noqa: E402

UNIFIED = "/sys/fs/cgroup/unified"
# No limits that a machine with few rights refuses, no journal, no systemd.
NAMESPACE = f"bench{os.getpid()}"  # containerd's, which names the cgroups
PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
ROWS = {
    "podman run --rm": "podman --runtime {runtime} run --rm --network none {image} true",
    "ctr run --rm": "ctr -n {namespace} run --rm --runc-binary {runtime} {image} box{number} true",
}


def rootfs(directory):
    """A root filesystem of busybox."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        os.makedirs(f"{directory}/{name}")
    shutil.copy(shutil.which("busybox"), f"{directory}/bin/busybox")
    for name in ("sh", "true"):
        os.symlink("busybox", f"{directory}/bin/{name}")
    return directory


def engines(directory, pyrunc):
    """A sandbox with containerd and podman, and an image in both."""
    sandbox = Sandbox(directory, pyrunc)
    try:
        if os.path.ismount(UNIFIED):
            sandbox("umount", UNIFIED)  # Debian's crun refuses a host with both versions
        for path in ("/etc/containerd/config.toml", "/etc/containers/containers.conf"):
            sandbox.write(path, settings()[path])
        sandbox.write("/etc/containers/containers.conf.d/bench.conf", PODMAN)
        sandbox.daemon("containerd")
        wait_for(lambda: sandbox("ctr", "version", code=None).code == 0, what="containerd")
        box = image(f"{directory}/box.tar", IMAGE, rootfs(f"{directory}/rootfs"))
        sandbox("ctr", "--namespace", NAMESPACE, "images", "import", box)
        sandbox("podman", "load", "--quiet", "--input", box)
    except BaseException:
        sandbox.stop()
        raise
    return sandbox


def forget():
    """Remove the cgroups that the engines made for all of their containers."""
    for path in cgroup_dirs(NAMESPACE):
        os.rmdir(path)
    for path in cgroup_dirs("libpod_parent"):
        for name in (f"{path}/conmon", path):
            with contextlib.suppress(OSError):  # another Podman uses it
                os.rmdir(name)


def attempt(sandbox, line, **words):
    """Run one command: (milliseconds, why it failed)."""
    argv = sandbox.argv(*line.format(image=IMAGE, namespace=NAMESPACE, **words).split())
    null = subprocess.DEVNULL
    begin = time.monotonic()
    done = subprocess.run(
        argv, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True, check=False
    )
    took = (time.monotonic() - begin) * 1e3
    return took, (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else ""


def compare(runtimes, rounds, warm_up):
    """({row: {runtime: [ms]}}, {(row, runtime): why there is none}), turn by turn."""
    names = list(runtimes)
    samples = {row: {name: [] for name in names} for row in ROWS}
    if missing := need("unshare", "nsenter", "ip", "tini", "containerd", "ctr", "podman", "conmon"):
        return samples, {(row, name): missing for row in ROWS for name in names}
    reasons = {}
    with tempfile.TemporaryDirectory() as directory:
        sandbox = engines(directory, next(iter(runtimes.values())))
        try:
            for number in range(rounds + warm_up):
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    for row in [row for row in ROWS if (row, name) not in reasons]:
                        words = {"number": number, "runtime": runtimes[name]}
                        took, why = attempt(sandbox, ROWS[row], **words)
                        if why:
                            reasons[row, name] = why
                            samples[row][name] = []
                        elif number >= warm_up:
                            samples[row][name].append(took)
        finally:
            sandbox.stop()
            forget()
    return samples, reasons

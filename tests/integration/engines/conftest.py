"""One private instance of every engine per session, and the check that a test left nothing."""

import contextlib
import json
import os

import pytest
import user
from engine import PAUSE, PREFIX, USERS, Engine, directories
from kubelet import definition
from sandbox import IMAGE, REFERENCE, Sandbox, image, need, settings

from harness import APPLETS, cgroup_dirs, wait_for

PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "localhost/pause:latest"
"""


@pytest.fixture
def v1_files(cgroup_mode):
    """For a test that reads limits where cgroup v1 has them."""
    if cgroup_mode == "v2":
        pytest.skip("needs the files of cgroup v1")


@pytest.fixture(scope="session")
def archive(binaries, tmp_path_factory):
    """An image of busybox and the probe, as a docker-archive."""
    directory = tmp_path_factory.mktemp("image")
    rootfs = directory / "rootfs"
    for name in ("bin", "etc", "tmp", "root", "proc", "dev", "sys", "run", "var"):
        (rootfs / name).mkdir(parents=True)
    for path in binaries:
        os.link(path, rootfs / "bin" / os.path.basename(path))
    for name in APPLETS:
        (rootfs / "bin" / name).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    return image(directory / "box.tar", IMAGE, rootfs)


@pytest.fixture(scope="session")
def make_sandbox(command, tmp_path_factory):
    """Makes a sandbox for an engine that needs these programs."""
    with contextlib.ExitStack() as stack:

        def make(*programs):
            if os.geteuid() != 0:
                pytest.skip("needs root")
            if missing := need("unshare", "nsenter", "ip", "tini", *programs):
                pytest.skip(missing)
            sandbox = Sandbox(tmp_path_factory.mktemp(programs[0]), command)
            stack.callback(sandbox.stop)
            return sandbox

        yield make
    for path in reversed(cgroup_dirs(PREFIX) + cgroup_dirs(USERS)):
        os.rmdir(path)


@pytest.fixture(scope="session")
def proto(tmp_path_factory):
    """A directory with the definition of the CRI, for a kubelet.Client."""
    for module in ("grpc", "grpc_tools"):
        pytest.importorskip(module, reason=f"{module} is not installed (make test)")
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("not installed: containernetworking-plugins (scripts/packages.sh test)")
    directory = str(tmp_path_factory.mktemp("cri"))
    if reason := definition(directory):
        pytest.skip(reason)
    return directory


@pytest.fixture(scope="session")
def containerd_daemon(make_sandbox, archive):
    """`ctr` on a containerd that reads the configuration in README.md."""
    sandbox = make_sandbox("containerd", "ctr")
    path = "/etc/containerd/config.toml"
    sandbox.write(path, settings()[path])
    sandbox.daemon("containerd")
    wait_for(lambda: sandbox("ctr", "version", code=None).code == 0, what="containerd")
    # The namespace names the cgroups.
    engine = Engine(sandbox, f"/run/containerd/runc/{PREFIX}", "ctr", "--namespace", PREFIX)
    engine("images", "import", "--base-name", "localhost/box", archive)
    engine.settle()
    return engine


@pytest.fixture
def ctr(containerd_daemon):
    yield containerd_daemon
    engine = containerd_daemon
    for name in engine("tasks", "list", "--quiet").stdout.split():
        engine("tasks", "delete", "--force", name, code=None)
    for name in engine("containers", "list", "--quiet").stdout.split():
        engine("containers", "delete", name, code=None)
    engine.check()


@pytest.fixture(scope="session")
def pause_archive(archive):
    """An image for what keeps the namespaces of Podman's pods."""
    folder = os.path.dirname(archive)
    return image(f"{folder}/pause.tar", PAUSE, f"{folder}/rootfs", Cmd=["sleep", "1000000"])


def start_podman(sandbox, archives, states, *before, directory="/etc"):
    """`podman` with the configuration in README.md, which goes below that directory."""
    path = "/etc/containers/containers.conf"
    sandbox.write(f"{directory}/containers/containers.conf", settings()[path])
    # What this needs is not about pyrunc: no systemd, no journal, and few limits may be raised.
    sandbox.write(f"{path}.d/tests.conf", PODMAN)
    engine = Engine(sandbox, states, *before, "podman")
    for archive in archives:
        sandbox("install", "-m", "644", archive, "/run/archive")
        engine("load", "--quiet", "--input", "/run/archive")
    engine("run", "--rm", IMAGE, "true")  # the first one makes what stays, such as /run/netns
    engine.settle()
    return engine


def clean_podman(engine):
    """Remove every container, and see that nothing else is left."""
    engine("pod", "rm", "--all", "--force", "--time=0", code=None)
    engine("rm", "--all", "--force", "--time=0", code=None)
    engine.check()


@pytest.fixture(scope="session")
def podman_store(make_sandbox, archive, pause_archive):
    sandbox = make_sandbox("podman", "conmon")
    # buildah keeps the caches of builds in TMPDIR.
    before = ("env", "TMPDIR=/var/lib/containers")
    engine = start_podman(sandbox, (archive, pause_archive), "/run/pyrunc", *before)
    yield engine
    # Podman forgets those of its pods that have no controller, and never removes its own.
    known = engine.known()
    for parent in cgroup_dirs("libpod_parent"):
        pods = [name for name in directories(parent) if name in known]
        for name in (*pods, "conmon", "."):
            with contextlib.suppress(OSError):  # none, or somebody else's Podman
                os.rmdir(os.path.normpath(f"{parent}/{name}"))


@pytest.fixture
def podman(podman_store):
    yield podman_store
    clean_podman(podman_store)


def start_rootless(sandbox, archives, *before):
    """Podman of a user, with a configuration of his own."""
    user.prepare(sandbox)
    states, directory = f"{user.RUNTIME}/pyrunc", f"{user.HOME}/.config"
    before = (*before, *user.AS_USER)
    engine = start_podman(sandbox, archives, states, *before, directory=directory)
    yield engine
    engine("system", "migrate")  # ends the process that keeps the user's namespaces


ROOTLESS = ("podman", "conmon", "newuidmap", "slirp4netns", "setpriv")


@pytest.fixture(scope="session")
def rootless_store(make_sandbox, archive, pause_archive):
    yield from start_rootless(make_sandbox(*ROOTLESS), (archive, pause_archive))


@pytest.fixture
def rootless(rootless_store):
    yield rootless_store
    clean_podman(rootless_store)


@pytest.fixture(scope="session")
def delegated_store(make_sandbox, archive):
    """Podman of a user who has cgroups of v2."""
    sandbox = make_sandbox(*ROOTLESS)
    if "/sys/fs/cgroup/unified" in sandbox.mounts():
        sandbox("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
    yield from start_rootless(sandbox, (archive,), *user.in_cgroup(USERS))


@pytest.fixture
def delegated(cgroup_mode, request):
    if cgroup_mode == "v1":
        pytest.skip("needs cgroup2")
    engine = request.getfixturevalue("delegated_store")
    yield engine
    clean_podman(engine)


def start_docker(make_sandbox, archive, **changes):
    """`docker` on a dockerd that reads the configuration in README.md, with changes to it."""
    sandbox = make_sandbox("dockerd", "docker", "containerd", "iptables")
    path = "/etc/docker/daemon.json"
    config = {**json.loads(settings()[path]), "cgroup-parent": f"/{PREFIX}-docker", **changes}
    config["runtimes"]["reference"] = {"path": REFERENCE}
    sandbox.write(path, json.dumps(config))
    for kind in "ug":
        sandbox.write(f"/etc/sub{kind}id", "daemon:100000:65536\n")
    sandbox("ln", "-sf", "pyrunc", "/usr/local/bin/runc")  # what BuildKit runs
    # -500, the default, takes CAP_SYS_RESOURCE.
    sandbox.daemon("dockerd", "--oom-score-adjust=0", "--userland-proxy=false")
    engine = Engine(sandbox, "/run/docker/runtime-runc/moby", "docker")
    wait_for(lambda: engine("version", code=None).code == 0, what="dockerd")
    engine("load", "--quiet", "--input", archive)
    # /run/docker/netns/default stays
    engine("run", "--rm", "--net=host", "--userns=host", IMAGE, "true")
    engine.settle()
    return engine


def clean_docker(engine):
    """Remove every container, and see that nothing else is left."""
    if names := engine("ps", "--all", "--quiet").stdout.split():
        engine("rm", "--force", "--volumes", *names, code=None)
    engine.check()


@pytest.fixture(scope="session")
def docker_daemon(make_sandbox, archive):
    return start_docker(make_sandbox, archive)


@pytest.fixture
def docker(docker_daemon):
    yield docker_daemon
    clean_docker(docker_daemon)


@pytest.fixture(scope="session")
def remapped_daemon(make_sandbox, archive):
    """A dockerd that maps the root of its containers to nobody of the host."""
    return start_docker(make_sandbox, archive, **{"userns-remap": "daemon"})


@pytest.fixture
def remapped(remapped_daemon):
    yield remapped_daemon
    clean_docker(remapped_daemon)


@pytest.fixture
def experimental(make_sandbox, archive):
    """A dockerd that knows checkpoints."""
    engine = start_docker(make_sandbox, archive, experimental=True)
    yield engine
    clean_docker(engine)

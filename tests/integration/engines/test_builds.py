"""Images that are built: each step is a container of Podman, of buildah, or of Docker."""

import os

import pytest
from engine import PREFIX, Engine
from sandbox import BINARY, IMAGE, need

from harness import cgroup_dirs

STEPS = f"""
FROM {IMAGE}
ENV NAME=value
WORKDIR /work
RUN id -u >root; pwd >>root; echo $NAME >>root; mkdir -m 777 /open
USER 1000:2000
RUN id -u >/open/user; id -g >>/open/user
CMD cat root /open/user
"""
BUILT = ["0", "/work", "value", "1000", "2000"]
CONTEXT = "/run/context"


@pytest.fixture(params=["podman", "rootless"])
def podman_of(request):
    """Podman of root, and of a user."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def tools(podman_of):
    """{name: program} of what shares Podman's images; the images made in a test are removed."""
    if missing := need("buildah"):
        pytest.skip(missing)
    sandbox = podman_of.sandbox
    buildah = Engine(sandbox, podman_of.states, *podman_of.before[:-1], "buildah")
    yield {"podman": podman_of, "buildah": buildah}
    buildah("rm", "--all")  # it keeps the container of a step that failed
    podman_of("rmi", "--force", "made", code=None)


def build(tool, recipe, *options, code=0):
    tool.sandbox.write(f"{CONTEXT}/Containerfile", recipe)
    return tool("build", "--tag=made", "--layers=false", *options, CONTEXT, code=code)


def said(done):
    """What the steps of a build wrote."""
    lines = done.stdout.splitlines()
    return [line for line in lines[: lines.index("COMMIT made")] if not line.startswith("STEP ")]


# --- podman build and buildah ---


@pytest.mark.parametrize("program", ["podman", "buildah"])
def test_an_image_is_built(tools, program):
    done = build(tools[program], STEPS)
    assert tools["podman"]("run", "--rm", "made").stdout.split() == BUILT
    warnings = [line for line in done.stderr.splitlines() if "level=warning" in line]
    assert len(warnings) == 1, "one for the step of root, who was to have ambient capabilities"
    assert "can't raise ambient capabilities [CAP_CHOWN CAP_DAC_OVERRIDE " in warnings[0]


def test_a_step_that_fails(tools):
    recipe = f"FROM {IMAGE}\nRUN echo told; exit 3\n"
    for tool in tools.values():
        done = build(tool, recipe, code=3)
        assert "told\n" in done.stdout
        assert "while running runtime: exit status 3" in done.stderr


def test_a_step_without_its_program(tools):
    recipe = f'FROM {IMAGE}\nRUN ["/nosuch"]\n'
    done = build(tools["buildah"], recipe, "--isolation=oci", code=1)
    assert f"from {BINARY} creating container for [/nosuch]" in done.stderr
    assert r"exec: \"/nosuch\": stat /nosuch: no such file or directory" in done.stderr


def test_volumes_and_caches_of_a_build(tools):
    recipe = f"""
    FROM {IMAGE}
    RUN --mount=type=cache,target=/cache echo kept >/cache/file; touch /volume/x || echo refused
    RUN --mount=type=cache,target=/cache cat /cache/file
    RUN --mount=type=tmpfs,target=/memory touch /memory/x; grep -c ' /memory tmpfs ' /proc/mounts
    VOLUME /own
    RUN touch /own/x; ls /own
    """
    done = build(tools["podman"], recipe, f"--volume={CONTEXT}:/volume:ro")
    assert said(done) == ["refused", "kept", "1", "x"]


def test_options_of_a_build(tools):
    options = ["--security-opt=seccomp=unconfined", "--cap-add=CAP_NET_ADMIN", "--network=none"]
    options += ["--ulimit=nofile=100:200", "--shm-size=1m"]
    recipe = f"""
    FROM {IMAGE}
    RUN grep Seccomp: /proc/self/status; grep CapEff /proc/self/status; ls /proc/sys/net/ipv4/conf
    RUN ulimit -n; grep -o size=1024k /proc/mounts
    """
    status = " ".join(said(build(tools["podman"], recipe, *options))).split()
    assert status[:2] == ["Seccomp:", "0"]
    assert int(status[3], 16) & 1 << 12
    assert status[4:] == ["all", "default", "lo", "100", "size=1024k"]


def test_buildah_run(tools):
    buildah, podman = tools["buildah"], tools["podman"]
    name = buildah("from", IMAGE).stdout.strip()
    run = (f"--runtime={BINARY}", "run")
    buildah(*run, name, "sh", "-c", "echo kept >/made; mkdir -m 777 /open")
    buildah(*run, "--user=1000:2000", name, "sh", "-c", "id -u >/open/user; exit 7", code=7)
    shown = buildah.terminal(*run, "--terminal", name, "readlink", "/proc/self/fd/0")
    assert "/dev/pts/0" in shown
    done = buildah(*run, name, "nosuch", code=1)
    assert r"exec: \"nosuch\": executable file not found in $PATH" in done.stderr
    options = (f"--volume={CONTEXT}:/volume:ro", "--hostname=box", "--workingdir=/open")
    script = "hostname; pwd; touch /volume/x || cat user"
    assert buildah(*run, *options, name, "sh", "-c", script).stdout.split() == [
        "box",
        "/open",
        "1000",
    ]
    buildah("commit", "--quiet", name, "made")
    assert podman("run", "--rm", "made", "cat", "/made").stdout == "kept\n"


# --- docker build ---


def test_docker_builds(docker):
    docker("build", "--tag=made", "-", stdin=STEPS)
    assert docker("run", "--rm", "made").stdout.split() == BUILT
    docker("rmi", "made")


def test_docker_builds_with_limits_and_without_a_network(docker):
    options = ("--network=none", "--ulimit=nofile=100:200", "--shm-size=1m", "--memory=32m")
    recipe = f"""
    FROM {IMAGE}
    ARG NAME
    RUN ls /sys/class/net; ulimit -n; grep -o size=1024k /proc/mounts; echo $NAME
    """
    done = docker("build", *options, "--build-arg=NAME=value", "--quiet=false", "-", stdin=recipe)
    assert "\nlo\n100\nsize=1024k\nvalue\n" in done.stdout


def test_docker_tells_of_a_step_that_fails(docker):
    done = docker("build", "-", stdin=f"FROM {IMAGE}\nRUN echo told; exit 3\n", code=3)
    assert "told" in done.stdout
    assert "returned a non-zero code: 3" in done.stderr
    done = docker("build", "-", stdin=f'FROM {IMAGE}\nRUN ["/nosuch"]\n', code=1)
    assert 'exec: "/nosuch": stat /nosuch: no such file or directory' in done.stderr


def test_buildkit_builds(docker):
    """It takes `runc` from PATH: each step is a `run` in the foreground."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    try:
        docker("build", "--tag=made", "-", stdin=STEPS, env=environment)
        assert docker("run", "--rm", "made").stdout.split() == BUILT
        docker("rmi", "made")
        recipe = f"FROM {IMAGE}\nRUN echo told; exit 3\n"
        done = docker("build", "--progress=plain", "-", stdin=recipe, env=environment, code=1)
        assert "told" in done.stderr
        assert "exit code: 3" in done.stderr
    finally:
        # Steps have their cgroups in here; nobody removes it.
        for path in cgroup_dirs("buildkit"):
            if f"/{PREFIX}-docker/" in path:
                os.rmdir(path)

"""deploy/install.py on a node with containerd: what it installs runs pods, and goes again."""

import os
import shutil
import subprocess
import tomllib

import pytest
from kubelet import CONFIG, connect
from sandbox import KUBERNETES, TOP, settings

from harness import APPLETS, wait_for

BASE = f"version = 2\n{CONFIG}"
PATH = "/etc/containerd/config.toml"
INSTALL = f"{TOP}/deploy/install.py"
# The service manager's part: it starts containerd with all rights, and again when it is asked to.
MANAGER = """
mkfifo /run/ask /run/told
trap 'kill $pid; exit' TERM
start() {
    containerd >>/run/containerd.log 2>&1 &
    pid=$!
    until ctr version >/dev/null 2>&1; do
        kill -0 $pid 2>/dev/null || return 1
        sleep 0.05
    done
}
start
while :; do
    read -r _ </run/ask
    kill $pid
    wait $pid
    start
    echo $? >/run/told
done
"""
RESTART = "sh -c 'echo >/run/ask; read -r status </run/told; exit $status'"
# A root filesystem with busybox, and of the host only what its kernel shows.
FOREIGN = """
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir -p bin opt/pyrunc proc sys dev run tmp bundle/rootfs/bin
cp "$(command -v busybox)" bin/busybox
for name in $3; do ln -s busybox bin/$name; done
cp -R bin/. bundle/rootfs/bin/
cp -R "$2" opt/pyrunc/
for name in proc sys dev; do mount --rbind /$name $name; done
exec chroot . sh -ec '
    pyrunc=$(echo /opt/pyrunc/*/bin/pyrunc)
    cd /bundle
    $pyrunc spec
    sed -i "s/\\"terminal\\": true/\\"terminal\\": false/; s/\\"sh\\"/\\"hostname\\"/" config.json
    $pyrunc run "$0"
    sed -i "s/\\"noNewPrivileges\\": true/\\"noNewPrivileges\\": 7/" config.json
    $pyrunc run "$0" || true
' "$4"
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A directory with the release that the image of the DaemonSet has."""
    if shutil.which("patchelf") is None:
        pytest.skip("patchelf is missing (package patchelf)")
    directory = str(tmp_path_factory.mktemp("tree"))
    subprocess.run([f"{TOP}/deploy/tree.sh", directory], check=True, stdout=subprocess.DEVNULL)
    return directory


class Node:
    """A sandbox with a containerd that knows nothing of pyrunc, and the pod of the DaemonSet."""

    def __init__(self, sandbox, tree):
        self.sandbox = sandbox
        self.tree = tree
        sandbox.write(PATH, BASE)
        sandbox.daemon("sh", "-c", MANAGER)

    def __call__(self, verb, code=0, **environment):
        """Run the installer as a pod runs it: root, but without any capability."""
        known = {"TREE": self.tree, "CONTAINERD_RESTART": RESTART, "PATH": os.environ["PATH"]}
        pod = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
        argv = (*pod, "python3", "-I", INSTALL, verb)
        return self.sandbox(*argv, code=code, env={**known, **environment})

    def daemon(self):
        lines = self.sandbox.processes().items()
        return next((pid for pid, line in lines if line == "containerd"), None)


@pytest.fixture(scope="module")
def node(make_sandbox, tree):
    node = Node(make_sandbox("containerd", "ctr", "setpriv"), tree)
    wait_for(node.daemon, what="containerd")
    return node


@pytest.fixture(scope="module")
def kubelet(node, archive, proto):
    node("install")
    with connect(node.sandbox, archive, proto) as client:
        yield client


@pytest.fixture
def cri(kubelet):
    yield kubelet
    kubelet.remove_all()
    kubelet.engine.check()


def test_containerd_takes_what_the_document_shows(node, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(settings(KUBERNETES)[PATH])
    config = tomllib.loads(node.sandbox("containerd", "--config", path, "config", "dump").stdout)
    known = config["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert set(known) == {"runc", "pyrunc"}
    assert known["pyrunc"]["options"]["BinaryName"] == "/usr/local/bin/pyrunc"
    assert known["pyrunc"]["options"]["SystemdCgroup"] is True


def test_the_release_needs_nothing_of_its_host(tree, tmp_path):
    (release,) = os.listdir(tree)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-ec", FOREIGN, "sh"]
        + [tmp_path, f"{tree}/{release}", " ".join(APPLETS), f"pt{os.getpid()}-foreign"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "runc\n", "the host name that `spec` writes"
    assert "expected true or false, found 7" in done.stderr, "jsonschema explains it"


def test_pods_run_on_what_was_installed(cri, node):
    id = cri.up(cri.pod())
    assert cri.exec(id, "echo", "hello") == (0, "hello\n", "")
    assert id in node.sandbox.names("/run/containerd/pyrunc/k8s.io")
    node("check")


def test_installing_again_does_not_restart_containerd(node):
    node("install")
    before = node.daemon(), node.sandbox.read(PATH)
    assert node("install").stderr == ""
    assert (node.daemon(), node.sandbox.read(PATH)) == before


def test_the_probe_sees_a_configuration_without_the_handler(node):
    node("install")
    node.sandbox.write(PATH, BASE)
    assert "configuration has changed" in node("check", code=1).stderr
    node("install")
    node("check")


def test_a_configuration_that_containerd_refuses_is_put_back(node):
    node.sandbox.write(PATH, BASE)
    told = node("install", code=1, CONTAINERD_RESTART="false").stderr
    assert "does not start with the handler" in told
    assert node.sandbox.read(PATH) == BASE


def test_a_restart_that_did_not_come_about_is_made_up_for(node):
    node("install")
    before = node.daemon()
    node.sandbox.write(PATH, BASE)
    node("install", code=-9, CONTAINERD_RESTART="sh -c 'kill -KILL $PPID'")
    assert node.daemon() == before
    node("install")
    assert node.daemon() != before


def test_a_refused_configuration_does_not_stay_after_an_interruption(node):
    node.sandbox.write(PATH, BASE)
    node("install", code=-9, CONTAINERD_RESTART="sh -c 'kill -KILL $PPID'")
    assert node.sandbox.read(PATH) != BASE
    node("install", code=1, CONTAINERD_RESTART="false")
    assert node.sandbox.read(PATH) == BASE
    node("install")
    node("check")


def test_a_file_of_somebody_else_is_no_release(node):
    node("install")
    node.sandbox.write("/opt/pyrunc/README", "what is this?\n")
    node("remove")
    assert node.sandbox.names("/opt/pyrunc") == []
    node("install")


def test_an_upgrade_keeps_one_release_for_commands_that_run(node, tree, tmp_path):
    (first,) = os.listdir(tree)
    node("install")
    for name in ("2.0-second", "3.0-third"):
        (tmp_path / name / name / "bin").mkdir(parents=True)
        (tmp_path / name / name / "bin" / "pyrunc").touch()
        node("install", TREE=tmp_path / name)
    assert node.sandbox.names("/opt/pyrunc") == ["2.0-second", "3.0-third", "bin"]
    node("install")
    assert node.sandbox.names("/opt/pyrunc") == [first, "3.0-third", "bin"]
    node("check")


def test_an_interrupted_copy_is_made_again(node):
    node("install")
    node.sandbox("sh", "-c", "cd /opt/pyrunc && rm -r bin && mv 0* .new && rm -r .new/lib")
    node("install")
    node("check")
    assert ".new" not in node.sandbox.names("/opt/pyrunc")


def test_the_files_stay_while_containers_need_them(cri, node):
    node("install")
    cri.up(cri.pod())
    assert "2 containers need it" in node("remove").stderr
    assert node.sandbox.read(PATH) == BASE
    cri.wait()
    cri.remove_all()
    node("remove")
    assert node.sandbox.names("/opt/pyrunc") == []
    node("install")
    cri.wait()


def test_the_pod_waits_for_its_end(node):
    """An update ends the pod, too: without the word of the API server everything stays."""
    node("install")
    pod = node.sandbox.daemon(
        *("env", f"TREE={node.tree}", "KUBERNETES_SERVICE_HOST=127.0.0.1"),
        *("KUBERNETES_SERVICE_PORT=1", "python3", "-I", INSTALL, "run"),
    )
    wait_for(lambda: "installed" in node.sandbox.log("env"), what="installation")
    node.sandbox.end(pod)
    assert pod.returncode == 0
    node("check")

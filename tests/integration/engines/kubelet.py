"""The kubelet's part: calls of the CRI, whose definition comes as a Debian package.

definition    get it, out of the sources of this machine's apt
connect       a Client of the containerd in a sandbox
Client        a process in an engine's sandbox that calls; see cri.py
"""

import base64
import contextlib
import glob
import json
import os
import re
import subprocess
import sys

from engine import PAUSE, PREFIX, Engine
from sandbox import IMAGE, image, need

from harness import read, wait_for

PACKAGE = "golang-k8s-cri-api-dev"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOCKET = "/run/containerd/containerd.sock"
LOGS = "/run/logs"
PLUGIN = 'plugins."io.containerd.grpc.v1.cri"'
# What a sandbox needs: an image of ours, no network of the world's, and few rights.
CONFIG = f"""
[{PLUGIN}]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
[{PLUGIN}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/run/cni"
"""
NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.77.0/24"}]]},
        }
    ],
}


def definition(directory):
    """Get api.proto into a directory; the reason if that is not possible."""
    if missing := need("apt-get", "dpkg-deb"):
        return missing
    show = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"]
    rows = subprocess.run(show, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")
    uris = {row.split()[0] for row in rows if re.search(r"\bdebian/? [a-z]+$", row)}
    if not uris or not os.path.exists(KEYRING):
        return f"no Debian among the apt sources of this machine, which has {PACKAGE}"
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        os.makedirs(f"{directory}/{name}")
    with open(f"{directory}/sources.list", "w") as file:
        file.write(f"deb [signed-by={KEYRING}] {min(uris)} sid main\n")
    options = [
        f"Dir::Etc::sourcelist={directory}/sources.list",
        f"Dir::Etc::sourceparts={directory}/parts",
        f"Dir::State::lists={directory}/lists",
        f"Dir::Cache={directory}/cache",
        "Acquire::Check-Valid-Until=false",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        "APT::Sandbox::User=root",
    ]
    apt = ["apt-get", "-q", *(f"--option={option}" for option in options)]
    for command in (
        [*apt, "update"],
        [*apt, "download", PACKAGE],
        ["sh", "-c", f"dpkg-deb --extract {PACKAGE}_*.deb ."],
    ):
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        if done.returncode:
            return f"{PACKAGE} cannot be had: {done.stdout.strip()}"
    (source,) = glob.glob(f"{directory}/usr/**/runtime/v1/api.proto", recursive=True)
    os.replace(source, f"{directory}/api.proto")
    return ""


@contextlib.contextmanager
def connect(sandbox, archive, proto):
    """A Client of the containerd in a sandbox, which has CONFIG, with images and a network."""
    sandbox.write("/run/cni/pods.conflist", json.dumps(NETWORK))
    engine = Engine(sandbox, "/run/containerd/pyrunc/k8s.io", "ctr", "--namespace", "k8s.io")
    wait_for(lambda: engine("version", code=None).code == 0, what="containerd")
    folder = os.path.dirname(archive)
    pause = image(f"{folder}/pause-cri.tar", PAUSE, f"{folder}/rootfs", Cmd=["sleep", "1000000"])
    for path in (archive, pause):
        engine("images", "import", path)
    client = Client(engine, proto)
    try:
        client.wait()
        wait_for(lambda: len(client("ListImages")["images"]) == 2, what="both images")
        client.up(client.pod(network="POD"), "true")  # makes what stays: a bridge
        client.remove_all()
        wait_for(lambda: not sandbox.names(engine.states), what="no state")
        engine.settle()
        yield client
    finally:
        client.close()


class Client:
    """The kubelet: calls of the CRI, and the pods it made."""

    def __init__(self, engine, proto):
        program = os.path.join(os.path.dirname(__file__), "cri.py")
        argv = (sys.executable, program, proto, SOCKET)
        self.engine = engine
        self.log = f"{engine.sandbox.directory}/cri.log"
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                engine.sandbox.argv(*argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, read(self.log)
        return json.loads(line)

    def fails(self, method, **given):
        """A call that must fail; (code, message)."""
        told = self._ask({"call": method, "with": given})
        assert "error" in told, told
        return told["code"], told["error"]

    def __call__(self, method, **given):
        told = self._ask({"call": method, "with": given})
        assert "answer" in told, told
        return told["answer"]

    def wait(self):
        """Until containerd answers, which it does only once it knows its containers again."""
        wait_for(lambda: "answer" in self._ask({"call": "Version", "with": {}}), what="containerd")

    def stream(self, url, **more):
        """Talk to a container's stdio."""
        return self._ask({"stream": url, **more})["answer"]

    # --- pods ---

    def pod(self, name="pod", network="NODE", pid="CONTAINER", **more):
        """Run a pod; (id, its configuration)."""
        options = {"network": network, "pid": pid}
        config = {
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "log_directory": LOGS,
            "linux": {
                "cgroup_parent": f"/{PREFIX}-pods",
                "security_context": {"namespace_options": options},
            },
            **more,
        }
        return self("RunPodSandbox", config=config, runtime_handler="pyrunc")[
            "pod_sandbox_id"
        ], config

    def container(self, pod, *command, name="box", attempt=0, resources=(), security=(), **more):
        """Create a container of a pod; its id."""
        id, config = pod
        options = config["linux"]["security_context"]["namespace_options"]
        linux = {
            "resources": dict(resources),
            "security_context": {"namespace_options": options, **dict(security)},
        }
        given = {
            "metadata": {"name": name, "attempt": attempt},
            "image": {"image": IMAGE},
            "command": list(command),
            "log_path": f"{name}.{attempt}",
            "linux": linux,
            **more,
        }
        made = self("CreateContainer", pod_sandbox_id=id, config=given, sandbox_config=config)
        return made["container_id"]

    def up(self, pod, *command, **more):
        """Create and start one; its id."""
        id = self.container(pod, *(command or ("sleep", "1000")), **more)
        self("StartContainer", container_id=id)
        return id

    def status(self, id):
        return self("ContainerStatus", container_id=id)["status"]

    def exited(self, id):
        """Its status, once it has ended."""
        wait_for(lambda: self.status(id)["state"] == "CONTAINER_EXITED", 20, "end")
        return self.status(id)

    def exec(self, id, *command, timeout=0):
        """(exit code, stdout, stderr) of a process in a container."""
        done = self("ExecSync", container_id=id, cmd=list(command), timeout=timeout)
        out, err = (_decoded(done[name]) for name in ("stdout", "stderr"))
        return done["exit_code"], out, err

    def logged(self, name="box", attempt=0):
        """[(stream, line)] of a container's log."""
        lines = self.engine.sandbox.read(f"{LOGS}/{name}.{attempt}").splitlines()
        return [tuple(line.split(" ", 3)[1::2]) for line in lines]

    def remove_all(self):
        for pod in self("ListPodSandbox")["items"]:
            self("StopPodSandbox", pod_sandbox_id=pod["id"])
            self("RemovePodSandbox", pod_sandbox_id=pod["id"])


def _decoded(text):
    return base64.b64decode(text).decode()  # JSON has no bytes

"""What deploy/ gives to Kubernetes, and what its installer writes for containerd."""

import http.server
import importlib.util
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import tomllib

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
V2 = 'plugins."io.containerd.grpc.v1.cri"'
V3 = 'plugins."io.containerd.cri.v1.runtime"'
DROP_IN = "/etc/containerd/conf.d/pyrunc.toml"
IMPORTS = 'imports = ["/etc/containerd/conf.d/*.toml"]\n'


def read(path):
    with open(f"{ROOT}/{path}") as file:
        return file.read()


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("install", f"{ROOT}/deploy/install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def manifests():
    """{kind: document} of kubernetes.yaml."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (make test)")
    return {each["kind"]: each for each in yaml.safe_load_all(read("deploy/kubernetes.yaml"))}


def handler(text):
    """The table of the handler that a configuration has."""
    config = tomllib.loads(text)
    plugin = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}[config["version"]]
    return config["plugins"][plugin]["containerd"]["runtimes"]["pyrunc"]


def blocks(path, word):
    """The indented blocks of a document that have a word in them."""
    found = re.findall(r"(?<=\n\n)(?:    .*\n|\n(?=    ))+", read(path))
    return [re.sub(r"^    ", "", block, flags=re.M) for block in found if word in block]


# --- manifests ---


@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_the_manifests_are_what_kubernetes_takes(manifests, version):
    validator = pytest.importorskip("kubernetes_validate", reason="not installed (make test)")
    for document in manifests.values():
        validator.validate(document, version, strict=True)


def test_what_the_document_shows_is_what_kubernetes_takes(manifests):
    validator = pytest.importorskip("kubernetes_validate", reason="not installed (make test)")
    import yaml

    shown = [yaml.safe_load(block) for block in blocks("docs/kubernetes.md", "apiVersion:")]
    assert [each["kind"] for each in shown] == ["RuntimeClass", "Pod"]
    for document in shown:
        validator.validate(document, "1.37", strict=True)
    assert shown[0] == manifests["RuntimeClass"]
    assert shown[1]["spec"]["runtimeClassName"] == manifests["RuntimeClass"]["metadata"]["name"]


def test_pods_of_the_class_go_where_the_installer_goes(manifests):
    wanted = manifests["RuntimeClass"]["scheduling"]["nodeSelector"]
    pod = manifests["DaemonSet"]["spec"]["template"]["spec"]
    assert wanted.items() <= pod["nodeSelector"].items()
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_the_installer_has_no_capability(manifests):
    pod = manifests["DaemonSet"]["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostIPC"} & set(pod)
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert "privileged" not in security


def test_the_installer_sees_what_it_needs_where_the_node_has_it(manifests, install):
    pod = manifests["DaemonSet"]["spec"]["template"]["spec"]
    places = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    (container,) = pod["containers"]
    assert places == {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    needed = (install.OPT, install.CONFIG, install.DROP_IN, install.CONTAINERS, "/run/systemd")
    for path in needed:
        assert any(f"{path}/".startswith(f"{place}/") for place in places.values()), path


def test_the_installer_may_ask_for_its_own_daemonset_only(manifests):
    (rule,) = manifests["Role"]["rules"]
    names = [manifests["DaemonSet"]["metadata"]["name"]]
    assert rule == {
        "apiGroups": ["apps"],
        "resources": ["daemonsets"],
        "resourceNames": names,
        "verbs": ["get"],
    }
    account = manifests["ServiceAccount"]["metadata"]
    assert manifests["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", **account}]
    pod = manifests["DaemonSet"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["name"]


# --- containerd's configuration ---


def test_the_installer_writes_what_the_document_shows(install):
    shown = blocks("docs/kubernetes.md", "BinaryName =")
    assert len(shown) == 2
    for text in shown:
        version = tomllib.loads(text)["version"]
        made = handler(install.wanted(f"version = {version}\n", systemd="true")[install.CONFIG])
        assert made["options"].pop("BinaryName") == install.COMMAND
        table = handler(text)
        assert table["options"].pop("BinaryName") == "/usr/local/bin/pyrunc"
        assert made == table


@pytest.mark.parametrize(
    "text", [None, "version = 2\n", "version = 2", f"version = 3\n[{V3}]\nx = 1\n"]
)
def test_a_handler_at_the_end_of_the_configuration(install, text):
    files = install.wanted(text)
    assert files[install.CONFIG].startswith(text or "version = 2\n")
    assert handler(files[install.CONFIG])["options"]["BinaryName"] == install.COMMAND
    assert files[install.DROP_IN] is None


def test_a_second_time_changes_nothing(install):
    once = install.wanted("version = 2\n[plugins]\n")
    assert install.wanted(once[install.CONFIG]) == once


def test_version_3_with_imports_gets_a_file_of_its_own(install):
    text = f"version = 3\n{IMPORTS}"
    files = install.wanted(text)
    assert files[install.CONFIG] == text
    assert handler(files[DROP_IN])["options"]["BinaryName"] == install.COMMAND


def test_imports_of_version_2_would_replace_everything_else(install):
    files = install.wanted(f"version = 2\n{IMPORTS}")
    assert files[DROP_IN] is None
    assert handler(files[install.CONFIG])


def test_imports_of_other_files_are_no_place(install):
    files = install.wanted('version = 3\nimports = ["/etc/containerd/other/*.toml"]\n')
    assert files[DROP_IN] is None


def test_runc_is_not_forgotten(install):
    def names(text):
        config = tomllib.loads(install.wanted(text)[install.CONFIG])
        return set(install.runtimes(config))

    assert names("version = 2\n") == {"runc", "pyrunc"}
    mine = f'[{V2}.containerd.runtimes.runc]\nruntime_type = "mine"\n'
    assert names(f"version = 2\n{mine}") == {"runc", "pyrunc"}
    assert names("version = 3\n") == {"pyrunc"}


def test_the_cgroup_driver_of_runc_is_ours(install):
    text = f"version = 2\n[{V2}.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
    assert handler(install.wanted(text)[install.CONFIG])["options"]["SystemdCgroup"] is True
    other = install.wanted(text, systemd="false")[install.CONFIG]
    assert handler(other)["options"]["SystemdCgroup"] is False


def test_a_handler_of_the_administrator_stays(install):
    text = f'version = 2\n[{V2}.containerd.runtimes.pyrunc]\nruntime_type = "mine"\n'
    assert install.wanted(text) == {install.CONFIG: text, DROP_IN: None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is of version 1, not 2 or 3"),
        ('version = 1\ndisabled_plugins = ["cri"]\n', "is of version 1, not 2 or 3"),
        ("version = 2\n[plugins\n", "Expected ']'"),
        ("version = 2\n# pyrunc: begin\n[mine]\n", "has lost the line '# pyrunc: end'"),
        (f"version = 2\n{V2} = {{ containerd = {{ }} }}\n", "Cannot declare"),
    ],
)
def test_a_configuration_without_a_place_is_refused(install, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        install.wanted(text)


@pytest.mark.parametrize("text", ["version = 2\n", f"version = 3\n{IMPORTS}"])
def test_removal_gives_back_what_was_there(install, text):
    made = install.wanted(text)[install.CONFIG]
    assert install.unwanted(made) == {install.CONFIG: text, DROP_IN: None}


def test_what_came_after_our_part_stays(install):
    made = install.wanted("version = 2\n")[install.CONFIG]
    assert install.unwanted(f"{made}[later]\n")[install.CONFIG] == "version = 2\n[later]\n"


# --- why the pod ends ---


class Answer(http.server.BaseHTTPRequestHandler):
    """The API server's: a status and a document."""

    status, document = 200, {}

    def do_GET(self):
        asked = (self.path, self.headers["Authorization"])
        known = ("/apis/apps/v1/namespaces/here/daemonsets/pyrunc", "Bearer secret")
        self.send_response(self.status if asked == known else 400)
        self.end_headers()
        self.wfile.write(json.dumps(self.document).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(install, tmp_path, monkeypatch):
    """An API server that the installer finds as in a pod; it tells what Answer says."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing (package openssl)")
    key, certificate = tmp_path / "key", tmp_path / "ca.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", key, "-out", certificate],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    (tmp_path / "namespace").write_text("here")
    (tmp_path / "token").write_text("secret")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        monkeypatch.setattr(install, "ACCOUNT", str(tmp_path))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "metadata", "deleted"),
    [
        (404, {}, True),
        (200, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
        (200, {}, False),
        (401, {}, False),
        (500, {}, False),
    ],
)
@pytest.mark.usefixtures("server")
def test_only_a_deleted_daemonset_takes_its_files_along(
    install, monkeypatch, status, metadata, deleted
):
    monkeypatch.setattr(Answer, "status", status)
    monkeypatch.setattr(Answer, "document", {"metadata": metadata})
    assert install.deleted() is deleted


@pytest.mark.usefixtures("server")
def test_without_an_answer_everything_stays(install, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert install.deleted() is False

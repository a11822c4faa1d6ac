"""SELinux for real: labels of programs, mounts and keys, with a policy that the kernel enforces."""

import json
import os
import shutil
import socket
import subprocess

import pytest

from harness import read, wait_for

SELINUX = "/sys/fs/selinux"
POLICY = os.path.join(os.path.dirname(__file__), "..", "selinux.cil")
PROGRAM = "system_u:system_r:container_t:s0:c1,c2"
OTHER = "system_u:system_r:container_t:s0:c0"
HOST = "system_u:system_r:host_t:s0"
FILES = "system_u:object_r:container_file_t:s0:c1,c2"
HOST_FILES = "system_u:object_r:host_t:s0"
ABSENT = "system_u:system_r:absent_t:s0"
CURRENT = "tr -d '\\0' </proc/self/attr/current"


@pytest.fixture(scope="module", autouse=True)
def policy(tmp_path_factory):
    """The policy is loaded and enforced while these tests run; the machine must have none."""
    if not os.path.isdir(SELINUX) or not shutil.which("secilc"):
        pytest.skip("needs SELinux: make test-vm LSM=selinux")
    if read("/proc/self/attr/current").rstrip("\0\n") != "kernel":
        pytest.skip("this machine has a policy of its own")
    binary = tmp_path_factory.mktemp("policy") / "policy"
    argv = ["secilc", "-c", "31", "-o", binary, "-f", "/dev/null", POLICY]
    subprocess.run(argv, check=True)
    if not os.path.exists(f"{SELINUX}/load"):
        subprocess.run(["mount", "-t", "selinuxfs", "none", SELINUX], check=True)
    with open(f"{SELINUX}/load", "wb", buffering=0) as file:
        file.write(binary.read_bytes())
    with open(f"{SELINUX}/enforce", "w") as file:
        file.write("1")
    yield
    with open(f"{SELINUX}/enforce", "w") as file:
        file.write("0")


def label(path):
    """The label of a file, as the host sees it."""
    return os.getxattr(path, "security.selinux", follow_symlinks=False).decode().rstrip("\0")


def relabel(path, text):
    os.setxattr(path, "security.selinux", text.encode(), follow_symlinks=False)


def attribute(pid, name="current"):
    return read(f"/proc/{pid}/attr/{name}").rstrip("\0\n")


@pytest.fixture
def confined(bundle):
    """The bundle with a program of container_t and files of its own, all but one."""
    bundle.process["selinuxLabel"] = PROGRAM
    bundle.linux["mountLabel"] = FILES
    for folder, directories, names in os.walk(bundle.rootfs):
        for name in (".", *directories, *names):
            relabel(os.path.join(folder, name), FILES)
    relabel(bundle.write("secret", "text\n"), HOST_FILES)
    return bundle


# --- processes ---


@pytest.mark.parametrize("nnp", [True, False])
def test_the_program_is_confined(pyrunc, confined, nnp):
    confined.process["noNewPrivileges"] = nnp
    confined.sh(f"{CURRENT}; cat /secret || echo ' refused'")
    assert pyrunc.run(confined).stdout == f"{PROGRAM} refused\n"


def test_without_a_label_it_has_the_callers(pyrunc, confined):
    del confined.process["selinuxLabel"]
    confined.sh(f"{CURRENT}; cat /secret")
    assert pyrunc.run(confined).stdout == f"{HOST}text\n"


def test_the_waiting_init_is_not_confined_yet(pyrunc, confined):
    name = pyrunc.create(confined.args("sleep", "1000"))
    pid = pyrunc.pid(name)
    assert attribute(pid) == HOST
    pyrunc("start", name)
    wait_for(lambda: attribute(pid) == PROGRAM, what="confined program")


def test_nothing_is_kept_for_what_the_program_makes(pyrunc, confined):
    name = pyrunc.up(confined.args("sleep", "1000"))
    kept = ("exec", "fscreate", "keycreate", "sockcreate")
    assert [attribute(pyrunc.pid(name), file) for file in kept] == [""] * 4


@pytest.mark.parametrize("nnp", [True, False])
def test_an_exec_has_the_containers(pyrunc, confined, nnp):
    confined.process["noNewPrivileges"] = nnp
    name = pyrunc.up(confined.args("sleep", "1000"))
    script = f"{CURRENT}; cat /secret || echo ' refused'"
    assert pyrunc("exec", name, "sh", "-c", script).stdout == f"{PROGRAM} refused\n"


@pytest.mark.parametrize("own", [True, False])
def test_an_exec_has_its_own(pyrunc, confined, own):
    if not own:
        del confined.process["selinuxLabel"]
    name = pyrunc.up(confined.args("sleep", "1000"))
    done = pyrunc("exec", "--process-label", OTHER, name, "sh", "-c", CURRENT)
    assert done.stdout == OTHER
    assert attribute(pyrunc.pid(name)) == (PROGRAM if own else HOST)


def test_the_label_of_a_process_file(pyrunc, confined, tmp_path):
    name = pyrunc.up(confined.args("sleep", "1000"))
    process = {**confined.process, "args": ["sh", "-c", CURRENT], "selinuxLabel": OTHER}
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert pyrunc("exec", "--process", tmp_path / "process.json", name).stdout == OTHER


def test_a_program_that_is_another_user(pyrunc, confined):
    confined.process["user"] = {"uid": 1000, "gid": 1000}
    confined.process["capabilities"] = {}
    assert pyrunc.run(confined.sh(CURRENT)).stdout == PROGRAM


def test_attributes_on_a_masked_proc(pyrunc, confined):
    """The label is set through a procfs that the container's mounts cannot hide."""
    confined.linux["readonlyPaths"] = ["/proc/self", "/proc/thread-self", "/proc"]
    assert pyrunc.run(confined.sh(CURRENT)).stdout == PROGRAM


@pytest.mark.parametrize("own", [True, False])
def test_the_session_keyring_has_the_programs_label(pyrunc, confined, own):
    if not own:
        del confined.process["selinuxLabel"]
    assert pyrunc.probe(confined)["keyring_label"] == (PROGRAM if own else HOST)


def test_an_exec_finds_the_containers_keyring(pyrunc, confined):
    name = pyrunc.up(confined.args("sleep", "1000"))
    done = pyrunc("exec", "--process-label", OTHER, name, "probe")
    assert json.loads(done.stdout)["keyring_label"] == PROGRAM


# --- mounts ---


def test_mounts_that_take_a_context_have_it(pyrunc, confined):
    confined.mount("/mnt/a", "tmpfs", "size=1m", kind="tmpfs")
    confined.mount("/mnt/b", "tmpfs", "tmpcopyup", kind="tmpfs")
    mounts = pyrunc.probe(confined)["mounts"]
    context = f'context="{FILES}"'
    labelled = {where for where, mount in mounts.items() if context in ",".join(mount["super"])}
    assert labelled >= {"/dev", "/dev/pts", "/dev/shm", "/mnt/a", "/mnt/b"}
    assert not labelled & {"/", "/proc", "/sys", "/dev/mqueue", "/sys/fs/cgroup"}


@pytest.mark.parametrize("path", ["dev", "dev/null", "dev/pts", "dev/shm", "dev/mqueue"])
def test_what_is_in_a_mount_has_its_label(pyrunc, confined, path):
    name = pyrunc.up(confined.args("sleep", "1000"))
    assert label(f"/proc/{pyrunc.pid(name)}/root/{path}") == FILES


def test_a_masked_directory_has_the_label_of_the_mounts(pyrunc, confined):
    confined.linux["maskedPaths"] = ["/sys/firmware", "/sys/kernel", "/proc/keys"]
    name = pyrunc.up(confined.args("sleep", "1000"))
    root = f"/proc/{pyrunc.pid(name)}/root"
    assert [label(f"{root}{path}") for path in confined.linux["maskedPaths"]] == [FILES] * 3


def test_the_program_may_use_what_was_mounted_for_it(pyrunc, confined):
    confined.linux["maskedPaths"] = ["/sys/firmware"]
    confined.sh("ls /dev/mqueue /sys/firmware && echo x >/dev/shm/x && cat /dev/shm/x")
    assert pyrunc.run(confined).stdout.endswith("x\n")


def test_copied_files_have_the_label_of_the_mount(pyrunc, confined):
    relabel(confined.write("data/file", "text\n"), HOST_FILES)
    confined.mount("/data", "tmpfs", "tmpcopyup", kind="tmpfs")
    assert pyrunc.run(confined.args("cat", "/data/file")).stdout == "text\n"


def test_copied_files_without_one_have_that_of_new_ones(pyrunc, confined):
    del confined.linux["mountLabel"]
    confined.write("data/file", "text\n")
    confined.mount("/data", "tmpfs", "tmpcopyup", kind="tmpfs")
    name = pyrunc.up(confined.args("sleep", "1000"))
    assert label(f"/proc/{pyrunc.pid(name)}/root/data/file") == HOST_FILES


def test_without_a_mount_label_nothing_has_one(pyrunc, confined):
    del confined.linux["mountLabel"]
    mounts = pyrunc.probe(confined)["mounts"]
    assert "context=" not in json.dumps(mounts)


def test_in_a_user_namespace(pyrunc, confined):
    confined.namespace("user")
    mapping = [{"containerID": 0, "hostID": 0, "size": 65536}]
    confined.linux.update(uidMappings=mapping, gidMappings=mapping)
    name = pyrunc.up(confined.args("sleep", "1000"))
    pid = pyrunc.pid(name)
    assert attribute(pid) == PROGRAM
    paths = ("dev", "dev/pts", "dev/shm", "dev/mqueue", "sys/firmware")
    assert {label(f"/proc/{pid}/root/{path}") for path in paths} == {FILES}


# --- what is the host's stays so ---


def test_files_of_ours_have_the_hosts_label(pyrunc, confined, tmp_path):
    pyrunc.up(confined.args("sleep", "1000"), "--pid-file", tmp_path / "pid")
    found = {label(tmp_path / "pid")}
    for folder, _, names in os.walk(pyrunc.root):
        found |= {label(os.path.join(folder, name)) for name in (".", *names)}
    assert found == {HOST_FILES}


def test_hooks_are_the_hosts(pyrunc, confined, tmp_path):
    script = f"cat /proc/self/attr/current >>{tmp_path}/labels"
    hook = [{"path": "/bin/sh", "args": ["sh", "-c", script]}]
    names = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    confined.config["hooks"] = dict.fromkeys(names, hook)
    name = pyrunc.up(confined.args("sleep", "1000"))
    pyrunc("delete", "--force", name)
    assert (tmp_path / "labels").read_text() == f"{HOST}\0" * 5


# --- as runc does it ---


def test_labels_are_those_that_runc_gives(pyrunc, runc, confined, tmp_path):
    """Of every mount, the terminal, other devices, and a hook in the container."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/tty")
    listener.listen()
    confined.process["terminal"] = True
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"{CURRENT} >/tmp/hook"]}
    confined.config["hooks"] = {"startContainer": [hook]}
    confined.mount("/mnt", "tmpfs", "size=1m", kind="tmpfs")
    found = []
    for runtime in (runc, pyrunc):
        confined.linux["cgroupsPath"] = f"/{runtime.prefix}c"
        options = ("--console-socket", f"{tmp_path}/tty")
        name = runtime.up(confined.args("sleep", "1000"), *options)
        pid = runtime.pid(name)
        rows = [line.split() for line in read(f"/proc/{pid}/mountinfo").splitlines()]
        paths = [row[4] for row in rows] + ["/dev/zero", "/dev/ptmx", "/dev/fd", "/dev/pts/ptmx"]
        labels = {path: label(f"/proc/{pid}/root{path}") for path in paths}
        found.append((labels, read(f"{confined.rootfs}/tmp/hook")))
        runtime("delete", "--force", name)
    listener.close()
    assert "/dev/console" in found[0][0]
    assert found[0] == found[1]


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_an_unknown_label_of_a_process(pyrunc, runc, confined, verb):
    """runc's words behind ours; the file has two names."""
    messages = []
    for runtime in (runc, pyrunc):
        confined.linux["cgroupsPath"] = f"/{runtime.prefix}c"
        if verb == "create":
            confined.process["selinuxLabel"] = ABSENT
            result = runtime.create(confined, code=1)
        else:
            name = runtime.up(confined.args("sleep", "1000"))
            result = runtime("exec", "--process-label", ABSENT, name, "true", code=255)
            runtime("delete", "--force", name)
        messages.append(result.message)
    words = f'unable to set the SELinux key label "{ABSENT}": '
    assert words in messages[1]
    text = messages[0].replace("/proc/self/attr", "/proc/thread-self/attr")
    assert messages[1].replace(words, "") == text


def test_an_unknown_label_of_a_process_without_a_keyring(pyrunc, runc, confined):
    """For runc the container is not being set up any more."""
    confined.process["selinuxLabel"] = ABSENT
    text = runc.create(confined, "--no-new-keyring", code=1).message
    message = pyrunc.create(confined, "--no-new-keyring", code=1).message
    assert message.replace("error during container init: ", "") == text


def test_an_unknown_label_of_mounts(pyrunc, confined):
    confined.linux["mountLabel"] = ABSENT
    message = pyrunc.create(confined, code=1).message
    assert 'error mounting "tmpfs" to rootfs at "/dev": ' in message
    assert message.endswith(f'context="{ABSENT}": invalid argument')


def test_an_unknown_label_of_a_message_queue(pyrunc, confined):
    confined.linux["mountLabel"] = ABSENT
    confined.config["mounts"] = [row for row in confined.mounts if row["type"] == "mqueue"]
    text = f"setxattr(label={ABSENT}) /dev/mqueue: invalid argument"
    message = pyrunc.create(confined, code=1).message
    assert message.endswith(f'error mounting "mqueue" to rootfs at "/dev/mqueue": {text}')

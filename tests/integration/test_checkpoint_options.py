"""The options of `checkpoint` and `restore` at work, and what a container may consist of.

What needs a kernel or a CRIU that not everybody has asks for it first.
"""

import fcntl
import os
import socket
import subprocess

import pytest

from counting import COUNT, count, goes_on, restore, up
from harness import read, wait_for


@pytest.fixture
def port():
    """A TCP port that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def helper(criu):
    """Starts a server of criu's, which ends by itself when its work is done."""
    started = []

    def start(verb, *args, **options):
        started.append(subprocess.Popen(["criu", verb, *map(str, args)], env=criu, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def network():
    """Makes a network namespace with a loopback interface that is up; its path."""
    script = "ip link set lo up && exec sleep 1000"
    holders = []

    def make():
        holders.append(subprocess.Popen(["unshare", "--net", "sh", "-c", script]))
        pid = holders[-1].pid
        wait_for(lambda: read(f"/proc/{pid}/comm") == "sleep\n")
        return f"/proc/{pid}/ns/net"

    yield make
    for holder in holders:
        holder.kill()
        holder.wait()


def pages(*folders):
    """(name, 512-byte blocks on disk) of every image of memory."""
    found = [(folder, name) for folder in folders for name in sorted(os.listdir(folder))]
    return [
        (name, os.stat(folder / name).st_blocks)
        for folder, name in found
        if name.startswith("pages-")
    ]


# --- memory ---


def test_pre_dumps_make_a_chain(pyrunc, bundle, counting, criu, tmp_path):
    """The dump has what changed since; --auto-dedup takes that out of the earlier ones."""
    one, two, three = (tmp_path / name for name in "123")
    options = ("checkpoint", "--pre-dump", "--image-path")
    done = pyrunc(*options, one, counting, env=criu, code=None)
    if "missing features: [MemTrack]" in done.message:
        pytest.skip("this kernel does not track memory")
    assert (done.code, pyrunc.status(counting)) == (0, "running")
    goes_on(bundle, count(bundle))
    pyrunc(*options, two, "--parent-path", "../1", counting, env=criu)
    assert pyrunc.status(counting) == "running"
    goes_on(bundle, count(bundle))
    whole = pages(one, two)
    last = ("--image-path", three, "--parent-path", "../2", "--auto-dedup")
    pyrunc("checkpoint", *last, counting, env=criu)
    assert sum(size for _, size in pages(three)) < sum(size for _, size in whole)
    assert pages(one, two) != whole
    before = count(bundle)
    restore(pyrunc, bundle, three, env=criu)
    goes_on(bundle, before)


def test_lazy_pages_follow_the_container(pyrunc, bundle, counting, criu, tmp_path, port, helper):
    version = subprocess.run(["criu", "--version"], env=criu, check=True, capture_output=True)
    if b"Version: 4.2" in version.stdout:
        pytest.skip("the lazy pages of this criu do not work: splice: -1: Bad file descriptor")
    images = tmp_path / "images"
    ready, told = os.pipe()
    place = ("--image-path", images, "--page-server", f"127.0.0.1:{port}")
    args = ("checkpoint", *place, "--lazy-pages", "--status-fd", told, counting)
    dump = pyrunc.popen(*args, env=criu, pass_fds=[told])
    os.close(told)
    with open(ready, "rb") as status:
        assert status.read(1) == b"\0"
    before = count(bundle)
    address = ("--page-server", "--address", "127.0.0.1", "--port", port)
    server = helper("lazy-pages", *address, "--images-dir", images, "--work-dir", tmp_path)
    wait_for(lambda: os.path.exists(tmp_path / "lazy-pages.socket"), what="socket")
    name = restore(pyrunc, bundle, images, "--lazy-pages", "--work-path", tmp_path, env=criu)
    goes_on(bundle, before)
    assert (dump.wait(30), server.wait(30)) == (0, 0)
    assert pyrunc.names() == [name]


def test_a_page_server_gets_the_memory(pyrunc, bundle, counting, criu, tmp_path, port, helper):
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    elsewhere.mkdir()
    ready, told = os.pipe()
    address = ("--address", "127.0.0.1", "--port", port, "--status-fd", told)
    server = helper("page-server", "--images-dir", elsewhere, *address, pass_fds=[told])
    os.close(told)
    with open(ready, "rb") as status:
        assert status.read(1) == b"\0"
    place = ("--image-path", images, "--page-server", f"127.0.0.1:{port}")
    pyrunc("checkpoint", *place, counting, env=criu)
    assert server.wait(30) == 0
    assert not pages(images)
    for name in os.listdir(elsewhere):
        os.rename(elsewhere / name, images / name)
    before = count(bundle)
    restore(pyrunc, bundle, images, env=criu)
    goes_on(bundle, before)


def test_auto_dedup_takes_restored_pages_out_of_the_images(
    pyrunc, bundle, counting, criu, tmp_path
):
    pyrunc("checkpoint", "--image-path", tmp_path, counting, env=criu)
    before = pages(tmp_path)
    restore(pyrunc, bundle, tmp_path, "--auto-dedup", env=criu)
    assert pages(tmp_path) < before


# --- what CRIU does only when told to ---


def refused(pyrunc, name, criu, images, hint):
    done = pyrunc("checkpoint", "--image-path", images, name, env=criu, code=1)
    assert done.message.startswith("criu failed: type ")
    assert hint in done.stderr
    assert pyrunc.status(name) == "running"


def is_locked(path):
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_file_locks(pyrunc, bundle, criu, tmp_path):
    name = up(pyrunc, bundle, script=COUNT.replace("i=0", "probe lock /tmp/lock & i=0"))
    path = f"{bundle.rootfs}/tmp/lock"
    wait_for(lambda: os.path.exists(path) and is_locked(path), what="lock")
    refused(pyrunc, name, criu, tmp_path / "1", "file-locks")
    pyrunc("checkpoint", "--file-locks", "--image-path", tmp_path / "2", name, env=criu)
    assert not is_locked(path)
    restore(pyrunc, bundle, tmp_path / "2", "--file-locks", env=criu)
    assert is_locked(path)


def test_tcp_established(pyrunc, bundle, criu, tmp_path, network):
    """Both ends of a connection are in the container: no line is lost, and none comes twice.

    It comes back in another network: in the first one CRIU leaves packets dropped.
    """
    server = "while sleep 1000; do :; done | nc -l -p 99 > /tmp/received & "
    wait = "until cat /proc/net/tcp* | grep -q :0063; do sleep 0.01; done; "
    talk = "i=0; while :; do i=$((i+1)); echo $i; echo $i > /tmp/count; sleep 0.05; done"
    bundle.namespace("network", network())
    script = f"exec > /tmp/out 2>&1; {server}{wait}{talk} | nc 127.0.0.1 99"
    name = up(pyrunc, bundle, script=script)
    refused(pyrunc, name, criu, tmp_path / "1", "tcp-established")
    pyrunc("checkpoint", "--tcp-established", "--image-path", tmp_path / "2", name, env=criu)
    before = count(bundle)
    bundle.namespace("network", network())
    restore(pyrunc, bundle, tmp_path / "2", "--tcp-established", env=criu)

    def received():
        return read(f"{bundle.rootfs}/tmp/received").split("\n")[:-1]

    wait_for(lambda: len(received()) > before + 2, what="more lines")
    rows = received()
    assert rows == [str(number + 1) for number in range(len(rows))]


def test_ext_unix_sk(pyrunc, bundle, criu, tmp_path):
    """The other end of a socket is the host's, and there again when it is restored."""
    folder = tmp_path / "sockets"
    folder.mkdir()
    bundle.mount(str(folder), folder).namespace("network", False)
    bundle.sh(COUNT.replace("exec", "exec 9>&1").replace("echo", "echo $i >&9; echo")).save()
    name = pyrunc.id()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(folder / "log"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
            theirs.connect(str(folder / "log"))
            argv = pyrunc.argv("run", "-d", "--bundle", bundle.path, name)
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=theirs, check=True)
        goes_on(bundle, 0)
        refused(pyrunc, name, criu, tmp_path / "1", "ext-unix-sk")
        pyrunc("checkpoint", "--ext-unix-sk", "--image-path", tmp_path / "2", name, env=criu)
        before = count(bundle)
        restore(pyrunc, bundle, tmp_path / "2", "--ext-unix-sk", env=criu)
        wait_for(lambda: int(ours.recv(100)) > before, what="higher number")


# --- where it comes back ---


@pytest.mark.parametrize("mode", ["soft", "full", "ignore"])
def test_in_each_cgroups_mode_it_is_in_its_new_cgroup(
    pyrunc, bundle, counting, criu, tmp_path, mode
):
    option = ("--manage-cgroups-mode", mode)
    pyrunc("checkpoint", *option, "--image-path", tmp_path, counting, env=criu)
    name = restore(pyrunc, bundle, tmp_path, *option, env=criu)
    record = pyrunc.record(name)
    for path in record["cgroup_paths"].values():
        assert str(record["init_process_pid"]) in read(f"{path}/cgroup.procs").split()


def test_on_cgroup_v2(v2, bundle, criu, tmp_path, cgroup_mode):
    # On a hybrid host it is at the top of v1's hierarchies, and CRIU would see to all of them.
    option = () if cgroup_mode == "v2" else ("--manage-cgroups-mode", "ignore")
    name = up(v2, bundle)
    v2("checkpoint", *option, "--image-path", tmp_path / "images", name, env=criu)
    before = count(bundle)
    name = restore(v2, bundle, tmp_path / "images", *option, env=criu)
    goes_on(bundle, before)
    v2("pause", name)
    assert v2.status(name) == "paused"


def test_exec_joins_the_time_namespace_that_criu_makes(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("checkpoint", "--image-path", tmp_path, counting, env=criu)
    name = restore(pyrunc, bundle, tmp_path, env=criu)
    script = "readlink /proc/1/ns/time; readlink /proc/self/ns/time"
    first, own = pyrunc("exec", name, "sh", "-c", script).stdout.split()
    assert first == own


def test_hooks_fill_the_network(pyrunc, bundle, criu, tmp_path):
    """One of its own comes back empty."""
    # CRIU takes no open file of another size than it was, and this one comes back twice.
    name = up(pyrunc, bundle, script="exec > /tmp/out 2>&1; echo 1 > /tmp/count; exec sleep 1000")
    wait_for(lambda: read(f"/proc/{pyrunc.pid(name)}/comm") == "sleep\n", what="sleep")
    find = """sed 's/.*"pid":\\([0-9]*\\).*/\\1/'"""
    script = f"nsenter --net=/proc/$({find})/ns/net ip link set lo up"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    pyrunc("checkpoint", "--image-path", tmp_path, name, env=criu)
    for hooks in ([], [hook]):
        bundle.config["hooks"] = {"createRuntime": hooks}
        name = restore(pyrunc, bundle, tmp_path, env=criu)
        links = pyrunc("exec", name, "ip", "link").stdout
        assert ("UP" in links, links.count("link/")) == (bool(hooks), 1)
        pyrunc("delete", "--force", name)


def test_it_may_be_dumped_again(pyrunc, bundle, counting, criu, tmp_path):
    pyrunc("checkpoint", "--image-path", tmp_path / "1", counting, env=criu)
    name = restore(pyrunc, bundle, tmp_path / "1", env=criu)
    pyrunc("checkpoint", "--image-path", tmp_path / "2", name, env=criu)
    before = count(bundle)
    restore(pyrunc, bundle, tmp_path / "2", env=criu)
    goes_on(bundle, before)


def test_pid_namespaces_of_others_have_the_same_pids(pyrunc, bundle, criu, tmp_path):
    """Free they are once somebody has reaped who had them."""
    script = "while sleep 0.1; do :; done"
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    with subprocess.Popen(command) as holder:
        children = f"/proc/{holder.pid}/task/{holder.pid}/children"
        wait_for(lambda: read(children), what="first process")
        bundle.namespace("pid", f"/proc/{holder.pid}/ns/pid_for_children")
        name = up(pyrunc, bundle)
        pid = pyrunc.pid(name)
        pyrunc("checkpoint", "--image-path", tmp_path, name, env=criu)
        before = count(bundle)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="end")
        name = restore(pyrunc, bundle, tmp_path, env=criu)
        goes_on(bundle, before)
        pyrunc("delete", "--force", name)
        holder.kill()


def test_one_new_pipe_takes_the_places_of_two_descriptors(pyrunc, bundle, criu, tmp_path):
    """stdout and stderr were one pipe, and are one again."""
    script = "i=0; while :; do i=$((i+1)); echo $i; echo $i >&2; sleep 0.05; done"
    name, images = pyrunc.id(), tmp_path / "images"
    place = ("--bundle", bundle.sh(script).save())

    def piped(*args):
        out, theirs = os.pipe()
        argv = pyrunc.argv(*args)
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=criu, check=False
        )
        os.close(theirs)
        assert done.returncode == 0
        return open(out)

    with piped("run", "--detach", *place, name) as out:
        assert [out.readline() for _ in range(2)] == ["1\n", "1\n"]
        pyrunc("checkpoint", "--image-path", images, name, env=criu)
        before = [1, 1, *map(int, out.read().split())]
    with piped("restore", "--detach", *place, "--image-path", images, name) as out:
        after = [int(out.readline()) for _ in range(4)]
        pyrunc("delete", "--force", name)
    rows = before + after
    assert rows == [number // 2 + 1 for number in range(len(rows))]


def test_in_the_foreground_with_a_terminal(pyrunc, bundle, criu, tmp_path, listener):
    """What is typed at ours arrives in the container's, which is another one than before."""
    bundle.process["terminal"] = True
    bundle.sh("while read line; do echo got $line; done")
    name = pyrunc.up(bundle, "--console-socket", listener.getsockname())
    pyrunc("checkpoint", "--image-path", tmp_path / "images", name, env=criu)
    master, slave = os.openpty()
    try:
        args = ("restore", "--bundle", bundle.save(), "--image-path", tmp_path / "images", name)
        child = pyrunc.popen(*args, stdin=slave, stdout=slave, stderr=slave, env=criu)
        os.write(master, b"line\n")
        seen = b""
        while b"got line" not in seen:
            seen += os.read(master, 1000)
        os.write(master, b"\4")
        assert child.wait(20) == 0
    finally:
        os.close(slave)
        os.close(master)
    assert name not in pyrunc.names()


def test_a_file_that_has_lost_its_name(pyrunc, bundle, criu, tmp_path):
    """CRIU gives it another one meanwhile, if it may; a hard link of it is still there."""
    script = "exec 3> /tmp/a; ln /tmp/a /tmp/b; rm /tmp/a; "
    name = up(pyrunc, bundle, script=script + COUNT.replace("echo $i >", "echo $i >&3; echo $i >"))
    images = ("--image-path", tmp_path / "images")
    failed = pyrunc("checkpoint", *images, name, env=criu, code=1)
    assert "Use link-remap option" in failed.stderr
    goes_on(bundle, count(bundle))
    pyrunc("checkpoint", "--link-remap", *images, name, env=criu)
    before = count(bundle)
    restore(pyrunc, bundle, tmp_path / "images", env=criu)
    goes_on(bundle, before)
    assert read(f"{bundle.rootfs}/tmp/b").split()[before:] != []

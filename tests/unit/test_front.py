"""The front binary: it starts Python, does a verb itself exactly as Python would, or declines."""

import fcntl
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

import pyrunc
from pyrunc import container, jsonio, processes, procfs
from pyrunc.commands import SPEC_VERSION
from pyrunc.errors import Error

CSRC = os.path.join(os.path.dirname(__file__), "..", "..", "csrc")
DECLINED = 252


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    """An installation: bin/pyrunc, and the package where it looks for it."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: make build")
    directory = tmp_path_factory.mktemp("prefix")
    spec = importlib.util.spec_from_file_location("csrc_build", f"{CSRC}/build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.build_front(str(directory / "bin" / "pyrunc"))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (directory / "lib" / version / "site-packages").mkdir(parents=True)
    package = os.path.dirname(os.path.abspath(pyrunc.__file__))
    (directory / "lib" / version / "site-packages" / "pyrunc").symlink_to(package)
    (directory / "bin" / version).symlink_to(os.path.realpath(sys.executable))
    return directory


@pytest.fixture
def front(prefix, tmp_path):
    """Runs the front with --root ROOT: front(*argv, side="native") -> CompletedProcess."""

    def run(*argv, side="native", globals=("--root", str(tmp_path / "root")), **options):
        env = options.pop("env", {}) | ({"PYRUNC_FRONT": side} if side else {})
        command = [str(prefix / "bin" / "pyrunc"), *globals, *argv]
        options = {"stdin": subprocess.DEVNULL, "timeout": 30} | options
        return subprocess.run(command, env=env, capture_output=True, check=False, **options)

    return run


@pytest.fixture
def process():
    """Starts processes that look like a waiting init (memfd=True) or a running program."""
    pids = []

    def start(memfd=False):
        path = "/bin/sleep"
        if memfd:
            fd = os.memfd_create("pyrunc-init", 0)
            with open(path, "rb") as file:
                os.write(fd, file.read())
            path = f"/proc/self/fd/{fd}"
        pid = os.posix_spawn(path, ["sleep", "600"], {})
        pids.append(pid)
        if memfd:
            os.close(fd)
        return pid

    yield start
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def make(tmp_path, pid, name="c", start=None, fifo=False, **changes):
    """A container whose process is pid."""
    root = str(tmp_path / "root")
    record = {
        "id": name,
        "init_process_pid": pid,
        "init_process_start": procfs.start_time(pid) if start is None else start,
        "created": "2026-01-01T00:00:00.5Z",
        "config": {
            "rootfs": "/b/rootfs",
            "namespaces": [{"type": "NEWPID", "path": ""}],
            "labels": ["org.a=1", "bundle=/b"],
        },
        "cgroup_paths": {},
        "namespace_paths": {"NEWPID": f"/proc/{pid}/ns/pid"},
        "external_descriptors": ["pipe:[1]", "/dev/null", ""],
        "intel_rdt_path": "",
        "pyrunc": {"version": 1, "simple": True, "bundle": "/b", "hooks": {}},
    } | changes
    os.close(container.claim(root, name))
    if fifo:
        os.mkfifo(f"{root}/{name}/exec.fifo")
    container.write_record(root, name, record)
    return record


def rewrite(tmp_path, change, name="c"):
    """Let change(text) -> text loose on the file."""
    path = tmp_path / "root" / name / "state.json"
    path.write_bytes(change(path.read_bytes()))


# --- starting Python ---


def test_python_gets_argv_as_it_is(front):
    done = front("frobnicate", side=None, globals=())
    assert done.returncode == 3
    assert b"No help topic for 'frobnicate'" in done.stderr


def test_python_sees_the_name_it_was_called_by(prefix, tmp_path):
    (tmp_path / "runc").symlink_to(prefix / "bin" / "pyrunc")
    command = [str(tmp_path / "runc"), "state"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert f'{tmp_path}/runc: \\"state\\" requires exactly 1 argument(s)' in done.stderr


@pytest.mark.parametrize("side", ["native", "python"])
def test_nothing_is_needed_from_the_caller(front, process, tmp_path, side):
    make(tmp_path, process())
    gone = tmp_path / "gone"
    gone.mkdir()

    def enter():
        os.chdir(gone)
        os.rmdir(gone)
        os.umask(0o777)

    assert front("state", "c", side=side, preexec_fn=enter).returncode == 0


def test_variables_for_python_mean_nothing(front, process, tmp_path):
    make(tmp_path, process())
    env = {"PYTHONHOME": "/nonexistent", "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/x"}
    (tmp_path / "os.py").write_text("raise SystemExit(99)")
    assert front("state", "c", side="python", env=env, cwd=tmp_path).returncode == 0


def test_closed_stdio_does_not_reach_the_lock(front, process, tmp_path):
    make(tmp_path, process())

    def close():
        for fd in range(3):
            os.close(fd)

    assert front("kill", "c", "0", preexec_fn=close).returncode == 0


def test_a_missing_package_is_named(prefix, tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy(prefix / "bin" / "pyrunc", tmp_path / "bin" / "pyrunc")
    command = [str(tmp_path / "bin" / "pyrunc"), "list"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"was not found below {tmp_path}" in done.stderr


# --- what it takes, and what it leaves to Python ---


@pytest.mark.parametrize(
    "line",
    [
        "state c",
        "--log {log} --log-format json state c",
        "-log={log} --log-format=text --systemd-cgroup state c",
        "kill c 0",
        "kill c",
        "kill c SIGcont",
        "kill --all c 0",
        "kill c -a 0",
        "kill c 0 -all",
    ],
)
def test_canonical_lines_are_taken(front, process, tmp_path, line):
    make(tmp_path, process())
    words = line.format(log=tmp_path / "log").split()
    done = front(*words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "log").exists() == ("{log}" in line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--version",
        "--debug state c",
        "--rootless=true state c",
        "--systemd-cgroup=true state c",
        "--log-format xml state c",
        "--log /nonexistent/log state c",
        "--root= state c",
        "--root / state c",
        "--root // state c",
        "--root relative state c",
        "--root /tmp/../tmp state c",
        "--root",
        "state",
        "state --help",
        "state -- c",
        "state c d",
        "state c --force",
        "state ../c",
        "state .",
        "state a/b",
        "state " + "x" * 256,
        "state nobody",
        "kill c 65",
        "kill c -9",
        "kill c 0x9",
        "kill c FOO",
        "kill c RTMIN",
        "kill c 9 9",
        "delete -f=true c",
        "delete c",
        "start c",
        "list",
        "ps c",
        "ps --format table c",
        "ps --format json",
        "ps --format json nobody",
        "ps --format json c -ef",
        "ps c --format json",
        "ps --format json c",
        "pause c",
        "pause",
        "resume c",
        "pause --force c",
        "statex c",
    ],
)
def test_other_lines_are_left_to_python(front, process, tmp_path, line):
    pid = process()
    make(tmp_path, pid)
    before = sorted(os.listdir(tmp_path / "root" / "c"))
    done = front(*line.split())
    assert (done.returncode, done.stdout, done.stderr) == (DECLINED, b"", b"")
    assert sorted(os.listdir(tmp_path / "root" / "c")) == before
    assert procfs.state_letter(pid) in ("R", "S")


def test_paths_in_the_environment_are_left_to_python(front, process, tmp_path):
    make(tmp_path, process(memfd=True), fifo=True)
    assert front("start", "c", env={"NOTIFY_SOCKET": "/x"}).returncode == DECLINED


CHANGES = {
    "not simple": lambda text: text.replace(b'"simple":true', b'"simple":false'),
    "driver twice": lambda text: text.replace(
        b'"simple":true', b'"simple":true,"driver":"cgroupfs","driver":"systemd"'
    ),
    "driver is no string": lambda text: text.replace(
        b'"simple":true', b'"simple":true,"driver":null'
    ),
    "simple is no boolean": lambda text: text.replace(b'"simple":true', b'"simple":"true"'),
    "another id": lambda text: text.replace(b'"id":"c"', b'"id":"d"'),
    "a blank": lambda text: text.replace(b'"id":', b'"id": '),
    "a member twice": lambda text: b'{"id":"c",' + text[1:],
    "a config member twice": lambda text: text.replace(b'"rootfs"', b'"rootfs":"/x","rootfs"', 1),
    "no labels": lambda text: text.replace(b'"labels"', b'"lapels"'),
    "no pid": lambda text: text.replace(b"init_process_pid", b"init_process_pad"),
    "a pid of 0": lambda text: text.replace(b'_pid":', b'_pid":0,"x":'),
    "a negative start": lambda text: text.replace(b'_start":', b'_start":-'),
    "more after it": lambda text: text + b" ",
    "half of it": lambda text: text[: len(text) // 2],
    "nothing": lambda text: b"",
    "no UTF-8": lambda text: text.replace(b"/b/rootfs", b"/b/\xff"),
    "a lone surrogate": lambda text: text.replace(b"/b/rootfs", b"/b/\xed\xa0\x80"),
    "an overlong character": lambda text: text.replace(b"/b/rootfs", b"/b/\xc0\xaf"),
    "an escape nobody writes": lambda text: text.replace(b"/b/rootfs", b"\\/b\\u0041"),
    "a raw <": lambda text: text.replace(b"/b/rootfs", b"/b/<"),
    "a NUL": lambda text: text.replace(b"/b/rootfs", b"/b/\0"),
    "too deep": lambda text: text.replace(b'"config":{', b'"config":{"x":' + b"[" * 99 + b"]" * 99),
    "a relative cgroup": lambda text: text.replace(b'_paths":{}', b'_paths":{"":"x"}', 1),
    "an escape in a cgroup": lambda text: text.replace(b'_paths":{}', b'_paths":{"":"/\\t"}', 1),
    "a cgroup twice": lambda text: text.replace(b'_paths":{}', b'_paths":{"":"/x","":"/y"}', 1),
}

# Which only `state` looks at.
LABELS = {
    "a label without value": lambda text: text.replace(b"org.a=1", b"org.a"),
    "two bundles": lambda text: text.replace(b"org.a=1", b"bundle=/x"),
    "an escape in a key": lambda text: text.replace(b"org.a=1", b"or\\tg=1"),
}


@pytest.mark.parametrize("change", LABELS)
def test_labels_that_are_not_plain_are_left_to_python(front, process, tmp_path, change):
    make(tmp_path, process())
    rewrite(tmp_path, LABELS[change])
    assert front("kill", "c", "0").returncode == 0
    assert front("state", "c").returncode == DECLINED


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("verb", ["state", "kill", "delete --force"])
def test_records_that_are_not_plain_are_left_to_python(front, process, tmp_path, change, verb):
    pid = process()
    make(tmp_path, pid)
    before = (tmp_path / "root" / "c" / "state.json").read_bytes()
    rewrite(tmp_path, CHANGES[change])
    assert (tmp_path / "root" / "c" / "state.json").read_bytes() != before
    done = front(*verb.split(), "c")
    assert (done.returncode, done.stdout) == (DECLINED, b"")
    assert procfs.state_letter(pid) in ("R", "S")


def test_a_record_behind_a_link_is_left_to_python(front, process, tmp_path):
    make(tmp_path, process())
    os.rename(tmp_path / "root" / "c" / "state.json", tmp_path / "elsewhere")
    (tmp_path / "root" / "c" / "state.json").symlink_to(tmp_path / "elsewhere")
    assert front("state", "c").returncode == DECLINED


@pytest.mark.parametrize(
    ("paths", "file", "taken"),
    [
        ("freezer", ("freezer.state", "THAWED\n"), True),
        ("freezer", ("freezer.state", "FROZEN\n"), False),
        ("freezer", ("freezer.state", "FREEZING\n"), False),
        ("freezer", ("freezer.state", ""), False),
        ("freezer", ("other", ""), True),
        ("", ("cgroup.freeze", "0\n"), True),
        ("", ("cgroup.freeze", "1\n"), False),
        ("", ("other", ""), True),
        (" freezer", ("cgroup.freeze", "1\n"), True),  # a hybrid host freezes through v1
    ],
)
def test_only_a_thawed_container_is_taken(front, tmp_path, paths, file, taken):
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    (cgroup / file[0]).write_text(file[1])
    make(tmp_path, os.getpid(), cgroup_paths=dict.fromkeys(paths.split(" "), str(cgroup)))
    assert front("state", "c").returncode == (0 if taken else DECLINED)


@pytest.mark.parametrize(
    "argv",
    [
        "--cgroup-manager=disabled state c",
        "--cgroup-manager cgroupfs state c",
        "--log-level=error state c",
        "--log=journald:web state c",
        "--log=syslog:web state c",
        "--log file:/dev/null state c",
        "kill --regex c 0",
        "kill -ar c 0",
        "delete -fr c",
        "delete --regex c",
        "-V",
        "ps -fjson c",
    ],
)
def test_what_only_crun_has_is_left_to_python(front, process, tmp_path, argv):
    make(tmp_path, process())
    words = argv.split()
    assert front(*words, cwd=tmp_path).returncode == DECLINED
    assert os.listdir(tmp_path) == ["root"]  # no file of the name of a log


# --- state ---


def both(front, *argv):
    """The two sides' answers, which have to be one."""
    native, python = (front(*argv, side=side) for side in ("native", "python"))
    assert (native.returncode, native.stdout, native.stderr) == (
        python.returncode,
        python.stdout,
        python.stderr,
    )
    return native


def test_state_of_each_status(front, process, tmp_path):
    make(tmp_path, process(), "running")
    make(tmp_path, process(memfd=True), "created", fifo=True)
    make(tmp_path, process(memfd=True), "released")
    make(tmp_path, process(), "started", fifo=True)
    make(tmp_path, process(), "reused", start=1)
    make(tmp_path, 4194305, "gone", start=1)
    expected = {
        "running": "running",
        "created": "created",
        "released": "running",
        "started": "running",
        "reused": "stopped",
        "gone": "stopped",
    }
    for name, status in expected.items():
        state = json.loads(both(front, "state", name).stdout)
        assert state["status"] == status
        assert (state["pid"] == 0) == (status == "stopped")


def test_a_zombie_has_stopped(front, tmp_path):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    make(tmp_path, pid)
    try:
        assert b'"status": "stopped"' in both(front, "state", "c").stdout
    finally:
        os.waitpid(pid, 0)


def test_state_is_that_of_python_whatever_the_annotations(front, tmp_path):
    """Fuzz: random labels and members, compared with what Python prints."""
    source = random.Random(7)
    letters = "ab=.\"\\/<>&\n\t\r\b\f\x01\x1f\x7fäß€\u2028\u2029\ufffd😀\x80 {}[]:,'"

    def word(alphabet=letters):
        return "".join(source.choices(alphabet, k=source.randrange(8)))

    def value(depth=0):
        kinds = [word(), source.randrange(-(10**9), 10**18), True, None, 0, -0.5, 1e300, 1e-7]
        if depth < 4:
            kinds += [[value(depth + 1) for _ in range(source.randrange(4))]]
            kinds += [{word(): value(depth + 1) for _ in range(source.randrange(4))}]
        return source.choice(kinds)

    taken = 0
    for number in range(150):
        name = f"c{number}"
        keys = {word("abcäß€😀.:/ ") for _ in range(source.randrange(6))} - {"bundle"}
        config = {
            "rootfs": word(),
            "junk": value(),
            "labels": [f"{key}={word()}" for key in keys] + [f"bundle={word()}"],
            "mounts": [value(), value()],
        }
        record = make(tmp_path, os.getpid(), name, config=config, more=value())
        done = front("state", name)
        expected = jsonio.dumps(container.state(str(tmp_path / "root"), record), "  ").encode()
        assert (done.returncode, done.stdout) == (0, expected), record
        taken += 1
    assert taken == 150


def test_a_damaged_record_is_left_to_python_or_read_as_python_reads_it(front, tmp_path):
    """Fuzz: one byte of a real record changed, dropped or doubled."""
    source = random.Random(11)
    root = str(tmp_path / "root")
    make(
        tmp_path, os.getpid(), config={"rootfs": "/ä", "labels": ["a=\n<", "bundle=/"], "n": [1.5]}
    )
    path = tmp_path / "root" / "c" / "state.json"
    good = path.read_bytes()
    taken = 0
    for _ in range(400):
        at = source.randrange(len(good))
        byte = bytes([source.choice(b'"{}[],:\\0123456789abctrue \xc3\xff\x00.-+eE/')])
        bad = source.choice(
            [
                good[:at] + good[at + 1 :],
                good[:at] + byte + good[at + 1 :],
                good[:at] + byte + good[at:],
            ]
        )
        path.write_bytes(bad)
        done = front("state", "c")
        if done.returncode == DECLINED:
            continue
        taken += 1
        try:
            expected = jsonio.dumps(container.state(root, container.load(root, "c")), "  ")
        except (Error, KeyError, AttributeError, TypeError) as err:
            expected = repr(err)
        assert (done.returncode, done.stdout) == (0, expected.encode()), bad
    assert taken > 20  # a letter in a path, say


def test_state_to_a_reader_that_went_away_ends(front, process, tmp_path, prefix):
    make(tmp_path, process())
    read, write = os.pipe()
    os.close(read)
    command = [str(prefix / "bin" / "pyrunc"), "--root", str(tmp_path / "root"), "state", "c"]
    done = subprocess.run(command, env={}, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


# --- kill, start, delete ---


def test_kill_signals_the_process(front, tmp_path):
    for word, number in (("", 15), ("9", 9), ("SIGINT", 2), ("usr1", 10)):
        pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
        make(tmp_path, pid, f"c{number}")
        assert front("kill", f"c{number}", *word.split()).returncode == 0
        assert os.waitpid(pid, 0)[1] == number


def test_kill_spares_a_stranger_with_the_same_pid(front, process, tmp_path):
    pid = process()
    make(tmp_path, pid, start=procfs.start_time(pid) + 1)
    assert front("kill", "c", "9").returncode == DECLINED
    done = front("kill", "c", "9", side=None)
    assert (done.returncode, b"container not running" in done.stderr) == (1, True)
    assert procfs.state_letter(pid) in ("R", "S")


@pytest.mark.parametrize("side", ["native", "python"])
def test_start_writes_one_byte_and_removes_the_fifo(front, process, tmp_path, side):
    make(tmp_path, process(memfd=True), fifo=True)
    fifo = os.open(tmp_path / "root" / "c" / "exec.fifo", os.O_RDWR | os.O_NONBLOCK)
    try:
        done = front("start", "c", side=side)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert os.read(fifo, 16) == b"0"
        assert os.listdir(tmp_path / "root" / "c") == ["state.json"]
    finally:
        os.close(fifo)


def test_start_of_a_dead_init_is_left_to_python(front, process, tmp_path):
    make(tmp_path, process(memfd=True), fifo=True)  # nobody reads the fifo
    assert front("start", "c").returncode == DECLINED
    assert b"container process is already dead" in front("start", "c", side=None).stderr


@pytest.mark.parametrize("argv", [["start"], ["delete", "--force"]])
def test_a_locked_container_is_left_to_python(front, process, tmp_path, argv):
    make(tmp_path, process(memfd=True), fifo=True)
    fd = os.open(tmp_path / "root" / "c", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        assert front(*argv, "c").returncode == DECLINED
        assert front("state", "c").returncode == 0
        assert front("kill", "c", "0").returncode == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("side", ["native", "python"])
@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_delete_removes_process_cgroup_and_directory(front, process, tmp_path, side, status):
    for name in ("memory", "unified"):
        (tmp_path / name / "c").mkdir(parents=True)
    paths = {"memory": str(tmp_path / "memory" / "c"), "": str(tmp_path / "unified" / "c")}
    pid = 4194305 if status == "stopped" else process(memfd=status == "created")
    make(tmp_path, pid, start=1 if status == "stopped" else None, cgroup_paths=paths)
    if status == "created":
        os.mkfifo(tmp_path / "root" / "c" / "exec.fifo")
    force = ["--force"] if status == "running" else []
    done = front("delete", *force, "c", side=side)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert os.listdir(tmp_path / "root") == []
    assert os.listdir(tmp_path / "memory") == os.listdir(tmp_path / "unified") == []
    assert procfs.state_letter(pid) in ("", "Z")


def test_delete_half_done_is_finished_by_python(front, tmp_path):
    (tmp_path / "cgroup" / "child").mkdir(parents=True)
    make(tmp_path, 4194305, start=1, cgroup_paths={"": str(tmp_path / "cgroup")})
    began = time.monotonic()
    assert front("delete", "c").returncode == DECLINED
    assert time.monotonic() - began < 1
    assert front("delete", "c", side=None).returncode == 0
    assert not (tmp_path / "cgroup").exists()
    assert os.listdir(tmp_path / "root") == []


def test_delete_of_a_systemd_unit_is_left_to_python(front, tmp_path):
    own = {"version": 1, "simple": True, "bundle": "/b", "driver": "systemd", "hooks": {}}
    make(tmp_path, 4194304, start=1, pyrunc=own)
    assert front("state", "c").returncode == 0  # nothing but delete minds
    assert front("delete", "c").returncode == DECLINED
    rewrite(tmp_path, lambda text: text.replace(b'"systemd"', b'"cgroupfs"'))
    assert front("delete", "c").returncode == 0


def test_delete_of_a_directory_with_more_in_it_is_left_to_python(front, tmp_path):
    make(tmp_path, 4194305, start=1)
    (tmp_path / "root" / "c" / "notify").mkdir()
    assert front("delete", "c").returncode == DECLINED
    assert front("delete", "c", side=None).returncode == 0
    assert os.listdir(tmp_path / "root") == []


# --- one truth in two languages ---


# --- ps, pause, resume ---


@pytest.fixture
def cgroup(tmp_path):
    """A directory that stands for a cgroup: cgroup(file=content) writes files."""
    path = tmp_path / "cgroup"
    path.mkdir()

    def write(**files):
        for name, content in files.items():
            (path / name.replace("_", ".", 1)).write_text(content)
        return path

    return write


@pytest.mark.parametrize("controllers", ["devices", "devices ", "", "memory devices"])
@pytest.mark.parametrize(
    ("procs", "taken"),
    [
        ("7\n", True),
        ("30\n4\n4\n12\n", True),
        ("".join(f"{n}\n" for n in range(1000, 4000)), True),
        ("".join(f"{n}\n" for n in range(1000, 9000)), False),
        ("", False),
        ("7", False),
        ("7 8\n", False),
    ],
)
def test_ps(front, tmp_path, cgroup, controllers, procs, taken):
    path = cgroup(cgroup_procs=procs)
    make(tmp_path, os.getpid(), cgroup_paths=dict.fromkeys(controllers.split(" "), str(path)))
    for line in ("ps --format json c", "ps -f=json c", "ps --format table -f json c"):
        if taken:
            assert both(front, *line.split()).stdout.startswith(b"[")
        else:
            assert front(*line.split()).returncode == DECLINED


def test_ps_with_more_below_or_nothing_there_is_left_to_python(front, tmp_path, cgroup):
    path = cgroup(cgroup_procs="7\n")
    make(tmp_path, os.getpid(), cgroup_paths={"devices": str(path), "": "/nonexistent"})
    assert front("ps", "--format", "json", "c").returncode == 0
    (path / "below").mkdir()
    assert front("ps", "--format", "json", "c").returncode == DECLINED
    make(tmp_path, os.getpid(), "d", cgroup_paths={"": "/nonexistent", "memory": str(path)})
    assert front("ps", "--format", "json", "d").returncode == DECLINED


@pytest.mark.parametrize("side", ["native", "python"])
def test_pause_and_resume_on_v2(front, process, tmp_path, cgroup, side):
    path = cgroup(cgroup_freeze="0\n", cgroup_events="populated 1\nfrozen 1\n")
    make(tmp_path, process(), cgroup_paths={"": str(path)})
    assert front("pause", "c", side=side).returncode == 0
    assert (path / "cgroup.freeze").read_text() == "1\n"
    assert front("resume", "c", side=side).returncode == 0
    assert (path / "cgroup.freeze").read_text() == "0\n"


@pytest.mark.parametrize("side", ["native", "python"])
def test_resume_on_v1(front, tmp_path, cgroup, side):
    path = cgroup(freezer_state="FROZEN\n", freezer_self_freezing="1\n", cgroup_freeze="0\n")
    make(tmp_path, 4194305, start=1, cgroup_paths={"freezer": str(path), "": str(path)})
    assert front("resume", "c", side=side).returncode == 0
    assert (path / "freezer.state").read_text() == "THAWED\n"


@pytest.mark.parametrize(
    "files",
    [
        {"freezer_state": "FROZEN\n", "freezer_self_freezing": "0\n"},  # by one above it
        {"freezer_state": "FREEZING\n", "freezer_self_freezing": "1\n"},
        {"freezer_state": "THAWED\n", "freezer_self_freezing": "0\n"},
        {},
    ],
)
def test_resume_of_what_is_not_surely_paused_is_left_to_python(front, tmp_path, cgroup, files):
    path = cgroup(cgroup_freeze="1\n", **files)
    make(tmp_path, os.getpid(), cgroup_paths={"freezer": str(path), "": str(path)})
    assert front("resume", "c").returncode == DECLINED


def test_a_freeze_that_takes_long_is_undone_and_left_to_python(front, process, tmp_path, cgroup):
    path = cgroup(cgroup_freeze="0\n", cgroup_events="populated 1\nfrozen 0\n")
    make(tmp_path, process(), cgroup_paths={"": str(path)})
    assert front("pause", "c").returncode == DECLINED
    assert (path / "cgroup.freeze").read_text() == "0\n"
    path = cgroup(freezer_state="THAWED\n")  # an ordinary file never says FROZEN and a line end
    make(tmp_path, process(), "d", cgroup_paths={"freezer": str(path)})
    (path / "freezer.state").write_text("THAWED\n\n")
    assert front("pause", "d").returncode == DECLINED


@pytest.mark.parametrize("status", ["stopped", "locked", "paused"])
def test_pause_of_any_other_container_is_left_to_python(front, process, tmp_path, cgroup, status):
    path = cgroup(cgroup_freeze="1\n" if status == "paused" else "0\n", cgroup_events="frozen 1\n")
    start = 1 if status == "stopped" else None
    make(tmp_path, process(), start=start, cgroup_paths={"": str(path)})
    fd = os.open(tmp_path / "root" / "c", os.O_RDONLY)
    if status == "locked":
        fcntl.flock(fd, fcntl.LOCK_EX)
    assert front("pause", "c").returncode == DECLINED
    os.close(fd)
    assert (path / "cgroup.freeze").read_text() == ("1\n" if status == "paused" else "0\n")


def test_pause_shares_the_lock(front, process, tmp_path, cgroup):
    path = cgroup(cgroup_freeze="0\n", cgroup_events="frozen 1\n")
    make(tmp_path, process(), cgroup_paths={"": str(path)})
    fd = os.open(tmp_path / "root" / "c", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert front("pause", "c").returncode == 0
    os.close(fd)


def test_constants_agree():
    with open(f"{CSRC}/front_verbs.c") as file:
        source = " ".join(file.read().split())
    assert f'#define SPEC_VERSION "{SPEC_VERSION}"' in source
    assert f'#define INIT_EXE "{container.INIT_EXE}"' in source
    assert f"#define PATIENCE_MS {processes.PATIENCE * 1000:.0f}" in source

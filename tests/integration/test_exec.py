"""exec: another process in a container, told apart from the first one only by what it runs."""

import json
import os
import signal
import stat
import subprocess
import time

import prctl
import pytest

from harness import PATIENCE, alive, processes_in, read, wait_for

START = "exec failed: unable to start container process: "
STOPPED = "exec failed: cannot exec in a stopped container"
KILL, BIND, AUDIT, CHOWN, SYSLOG = 1 << 5, 1 << 10, 1 << 29, 1 << 0, 1 << 34


@pytest.fixture
def up(pyrunc, bundle):
    """The id of a running container that does nothing."""
    return pyrunc.up(bundle.args("sleep", "1000"))


def probe(pyrunc, name, *options, **run):
    """What a process of an exec sees (probe.c)."""
    return json.loads(pyrunc("exec", *options, name, "probe", **run).stdout)


def process_file(pyrunc, bundle, **changes):
    """A file with the bundle's process object, changed; None removes a member."""
    process = {**bundle.process, **changes}
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        json.dump({key: value for key, value in process.items() if value is not None}, file)
    return path


def caps(seen, kind):
    return int(seen[f"Cap{kind}"], 16)


# --- exit status and streams ---


@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 255])
def test_the_exit_code_is_the_programs(pyrunc, up, code):
    result = pyrunc("exec", up, "sh", "-c", f"exit {code}", code=code)
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.parametrize("number", [1, 9, 15])
def test_a_death_by_signal_is_128_and_its_number(pyrunc, up, number):
    pyrunc("exec", up, "sh", "-c", f"kill -{number} $$", code=128 + number)


def test_streams_stay_apart(pyrunc, up):
    result = pyrunc("exec", up, "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_stdin_reaches_the_program_and_so_does_its_end(pyrunc, up):
    assert pyrunc("exec", up, "wc", "-c", stdin="x" * 300000).stdout.strip() == "300000"


def test_a_directory_as_stdin_is_nothing_to_read(pyrunc, up, tmp_path):
    """Python refuses to start with one, in words of its own."""
    fd = os.open(tmp_path, os.O_RDONLY)
    process = pyrunc.popen("exec", up, "wc", "-c", stdin=fd, stdout=subprocess.PIPE)
    os.close(fd)
    assert process.communicate(timeout=20)[0].strip() == b"0"
    assert process.returncode == 0


def test_huge_output_arrives_whole(pyrunc, up):
    assert pyrunc("exec", up, "seq", "1", "200000").stdout.split()[-1] == "200000"


def test_arguments_are_passed_as_they_are(pyrunc, up):
    words = ["--tty", "-d", "", "a b", "$HOME", "--", "\u00e4"]
    result = pyrunc("exec", up, "printf", "[%s]\n", *words)
    assert result.stdout == "".join(f"[{word}]\n" for word in words)


@pytest.mark.parametrize("number", [1, 2, 10, 15, 18, 20, 34, 64])
def test_signals_are_forwarded(pyrunc, up, number):
    script = f"trap 'echo got; exit 7' {number}; echo set; while :; do sleep 0.05; done"
    with pyrunc.popen(
        "exec", up, "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"set\n"
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == b"got\n"
    assert process.returncode == 7


# --- where it is ---


def test_namespaces_are_the_containers(pyrunc, up):
    pid = pyrunc.pid(up)
    theirs = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in os.listdir(f"/proc/{pid}/ns")}
    assert probe(pyrunc, up)["ns"] == theirs


def test_it_is_a_session_leader_in_the_containers_pid_namespace(pyrunc, up):
    seen = probe(pyrunc, up)
    assert seen["pid"] == seen["sid"] == seen["pgid"] != 1
    assert seen["ppid"] == 0, "its parent is outside"


def test_cgroups_are_the_containers(pyrunc, bundle):
    name = pyrunc.up(bundle.namespace("cgroup", False).args("sleep", "1000"))
    theirs = read(f"/proc/{pyrunc.pid(name)}/cgroup").splitlines()
    assert probe(pyrunc, name)["cgroup"] == theirs


def test_cgroup_namespace(pyrunc, bundle):
    name = pyrunc.up(bundle.namespace("cgroup").args("sleep", "1000"))
    assert {line.rpartition(":")[2] for line in probe(pyrunc, name)["cgroup"]} == {"/"}


@pytest.mark.parametrize("kinds", [["mount"], ["pid"], ["network"], ["ipc", "uts"], ["all"]])
def test_what_the_container_shares_with_the_host_is_shared(pyrunc, bundle, kinds):
    if kinds == ["all"]:
        kinds = [row["type"] for row in bundle.linux["namespaces"]]
    for kind in kinds:
        bundle.namespace(kind, False)
    if "mount" in kinds:
        bundle.config["mounts"] = []
        bundle.linux.pop("maskedPaths")
        bundle.linux.pop("readonlyPaths")
    if "uts" in kinds:
        bundle.config.pop("hostname")
    if "mount" in kinds:
        os.mknod(f"{bundle.rootfs}/dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    name = pyrunc.up(bundle.args("sleep", "1000"))
    pid = pyrunc.pid(name)
    path = f"{pyrunc.directory}/pid"
    pyrunc("exec", "-d", "--pid-file", path, name, "sh", "-c", "cat /etc/passwd; sleep 1000")
    wait_for(pyrunc.output, what="output")
    assert pyrunc.output().startswith("root:x:0:0:root:/root:/bin/sh\n"), "another root"
    child = int(read(path))
    for kind in os.listdir("/proc/self/ns"):
        assert os.readlink(f"/proc/{child}/ns/{kind}") == os.readlink(f"/proc/{pid}/ns/{kind}")
    assert os.readlink(f"/proc/{child}/root") == os.readlink(f"/proc/{pid}/root")
    pyrunc("delete", "--force", name)


def test_a_container_that_joined_anothers_namespaces(pyrunc, make_bundle):
    first = pyrunc.up(make_bundle().args("sleep", "1000"))
    second = make_bundle().args("sleep", "1000")
    for kind, file in (("network", "net"), ("ipc", "ipc"), ("pid", "pid")):
        second.namespace(kind, f"/proc/{pyrunc.pid(first)}/ns/{file}")
    name = pyrunc.up(second)
    seen = probe(pyrunc, name)["ns"]
    for file in ("net", "ipc", "pid"):
        assert seen[file] == os.readlink(f"/proc/{pyrunc.pid(first)}/ns/{file}")
    assert seen["mnt"] == os.readlink(f"/proc/{pyrunc.pid(name)}/ns/mnt")


# --- who it is ---


def test_without_flags_it_is_as_the_bundle_says(pyrunc, bundle):
    bundle.process.update(
        user={"uid": 1000, "gid": 1001, "additionalGids": [5, 6]},
        env=["PATH=/bin", "A=1"],
        cwd="/tmp",
        oomScoreAdj=500,
        noNewPrivileges=True,
    )
    name = pyrunc.up(bundle.args("sleep", "1000"))
    seen = probe(pyrunc, name)
    assert (seen["uid"], seen["gid"], sorted(seen["groups"])) == (1000, 1001, [5, 6])
    assert seen["env"] == ["PATH=/bin", "A=1", "HOME=/home/user"]
    assert seen["cwd"] == "/tmp"
    assert seen["oom_score_adj"] == ["500"]
    assert seen["NoNewPrivs"] == "1"


def test_user_and_groups(pyrunc, up):
    seen = probe(pyrunc, up, "--user", "1000:1001", "-g", "7", "--additional-gids=8")
    assert (seen["uid"], seen["euid"], seen["gid"], seen["egid"]) == (1000, 1000, 1001, 1001)
    assert sorted(seen["groups"]) == [7, 8]
    assert "HOME=/home/user" in seen["env"]


def test_the_group_of_a_user_is_the_bundles(pyrunc, bundle):
    bundle.process["user"] = {"uid": 5, "gid": 55}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    seen = probe(pyrunc, name, "-u", "1000")
    assert (seen["uid"], seen["gid"]) == (1000, 55)


def test_callers_groups_are_dropped(pyrunc, up):
    assert probe(pyrunc, up, extra_groups=[7, 8])["groups"] == []


def test_environment_is_appended_and_the_last_value_wins(pyrunc, bundle):
    bundle.process["env"] = ["PATH=/bin", "A=1", "HOME=/h"]
    name = pyrunc.up(bundle.args("sleep", "1000"))
    seen = probe(pyrunc, name, "-e", "B=2", "--env", "A=3,4", env={**os.environ, "LEAK": "1"})
    assert seen["env"] == ["PATH=/bin", "HOME=/h", "B=2", "A=3,4"]


def test_working_directory(pyrunc, up):
    assert probe(pyrunc, up, "--cwd", "/tmp")["cwd"] == "/tmp"


def test_missing_working_directory_is_an_error_and_not_made(pyrunc, bundle, up):
    result = pyrunc("exec", "--cwd", "/new", up, "true", code=255)
    assert result.message == (
        f'{START}chdir to cwd ("/new") set in config.json failed: no such file or directory'
    )
    assert not os.path.exists(f"{bundle.rootfs}/new")


def test_capabilities_are_the_configured_ones(pyrunc, up):
    seen = probe(pyrunc, up)
    assert caps(seen, "Bnd") == caps(seen, "Eff") == KILL | BIND | AUDIT
    assert caps(seen, "Inh") == caps(seen, "Amb") == 0


def test_added_capability_is_not_inheritable(pyrunc, up):
    # CVE-2022-29162
    seen = probe(pyrunc, up, "--cap", "CAP_CHOWN", "-c", "CAP_SYSLOG")
    added = KILL | BIND | AUDIT | CHOWN | SYSLOG
    assert caps(seen, "Bnd") == caps(seen, "Eff") == caps(seen, "Prm") == added
    assert caps(seen, "Inh") == caps(seen, "Amb") == 0


def test_added_capability_is_ambient_where_it_is_inheritable(pyrunc, bundle):
    bundle.process["capabilities"]["inheritable"] = ["CAP_KILL"]
    name = pyrunc.up(bundle.args("sleep", "1000"))
    result = pyrunc("exec", "-u", "1000", "-c", "CAP_CHOWN", "-c", "CAP_KILL", name, "probe")
    assert result.stderr == ""
    seen = json.loads(result.stdout)
    assert caps(seen, "Inh") == caps(seen, "Amb") == caps(seen, "Eff") == KILL


def test_no_new_privileges(pyrunc, bundle):
    bundle.process["noNewPrivileges"] = False
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert probe(pyrunc, name)["NoNewPrivs"] == "0"
    assert probe(pyrunc, name, "--no-new-privs")["NoNewPrivs"] == "1"
    assert probe(pyrunc, name, "--no-new-privs=false")["NoNewPrivs"] == "0"


def test_limits_are_the_containers(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    name = pyrunc.up(bundle.args("sleep", "1000"))
    file = process_file(pyrunc, bundle, rlimits=None, args=["probe"])
    for seen in (
        probe(pyrunc, name),
        json.loads(pyrunc("exec", "-p", file, name).stdout),
    ):
        assert seen["rlimits"]["RLIMIT_NOFILE"] == [100, 200]


def test_limits_of_its_own(pyrunc, bundle, up):
    rlimits = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    file = process_file(pyrunc, bundle, rlimits=rlimits, args=["probe"])
    assert json.loads(pyrunc("exec", "-p", file, up).stdout)["rlimits"]["RLIMIT_CORE"] == [0, 0]


def test_very_low_descriptor_limit(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 20}]
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert probe(pyrunc, name)["rlimits"]["RLIMIT_NOFILE"] == [20, 20]


def test_umask_is_the_containers(pyrunc, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    assert probe(pyrunc, name, umask=0o077)["umask"] == 0o022
    bundle.process["user"]["umask"] = 0o027
    name = pyrunc.up(bundle)
    assert probe(pyrunc, name, umask=0o077)["umask"] == 0o027


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("user", ["0", "1000"])
def test_the_containers_filter_applies(pyrunc, bundle, no_new_privileges, user):
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.process["noNewPrivileges"] = no_new_privileges
    name = pyrunc.up(bundle.args("sleep", "1000"))
    bundle.linux["seccomp"]["syscalls"] = []
    bundle.save()  # the filter is the one it was created with
    result = pyrunc("exec", "-u", user, name, "mkdir", "/tmp/x", code=1)
    assert "Operation not permitted" in result.stderr
    assert probe(pyrunc, name)["Seccomp"] == "2"


def test_session_keyring_is_the_containers(pyrunc, bundle):
    bundle.linux["maskedPaths"] = []
    name = pyrunc.create(bundle.sh("cat /proc/keys; sleep 1000"))
    output = f"{pyrunc.directory}/container"
    os.rename(f"{pyrunc.directory}/stdout", output)
    pyrunc("start", name)
    ours = pyrunc("exec", name, "cat", "/proc/keys").stdout

    def serials(text):
        return [line.split()[0] for line in text.splitlines() if f"_ses.{name}" in line]

    theirs = wait_for(lambda: serials(read(output)), what="keys of the container")
    assert serials(ours) == theirs


def test_affinity_of_the_caller_is_not_inherited(pyrunc, up):
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    argv = pyrunc.argv("exec", up, "nproc")
    command = ["taskset", "-c", str(min(cpus)), *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(cpus)


def test_signals_are_default_and_unblocked(pyrunc, up):
    script = 'trap "" HUP INT PIPE USR1; exec "$@"'
    argv = pyrunc.argv("exec", up, "probe")
    done = subprocess.run(["sh", "-c", script, "-", *argv], capture_output=True, check=True)
    assert b'"SigIgn":"0000000000000000"' in done.stdout
    assert b'"SigBlk":"0000000000000000"' in done.stdout


@pytest.mark.parametrize("detached", [False, True])
def test_descriptors_are_stdio_only(pyrunc, up, detached):
    options = ["-d"] if detached else []
    with open("/etc/passwd") as file:
        os.set_inheritable(file.fileno(), True)
        pyrunc("exec", *options, up, "probe", close_fds=False)
    wait_for(lambda: pyrunc.output().endswith("}\n"), what="output")
    assert sorted(json.loads(pyrunc.output())["fds"]) == ["0", "1", "2"]


@pytest.mark.parametrize("fd", [3, 7, 8, 9, 10])
def test_working_directory_through_a_leaked_descriptor(pyrunc, up, fd):
    # CVE-2024-21626: a descriptor of a host directory as the way out.
    argv = pyrunc.argv("exec", "--cwd", f"/proc/self/fd/{fd}", up, "ls", "-a")
    command = ["bash", "-c", f'exec {fd}</usr; exec "$@"', "-", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (255, "")


def test_null_on_stdio_stays_roots(pyrunc, up):
    null = subprocess.DEVNULL
    argv = pyrunc.argv("exec", "-d", "-u", "1000", up, "true")
    subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=True)
    assert os.stat("/dev/null").st_uid == 0


def test_stdio_belongs_to_the_user(pyrunc, up):
    pyrunc("exec", "-u", "1000", up, "sh", "-c", "echo again > /proc/self/fd/1")


# --- --process ---


def test_process_file(pyrunc, bundle, up):
    file = process_file(
        pyrunc,
        bundle,
        args=["probe", "x"],
        env=["PATH=/bin", "HOME=/h"],
        cwd="/tmp",
        user={"uid": 1000, "gid": 1001, "additionalGids": [7]},
        noNewPrivileges=False,
        oomScoreAdj=77,
    )
    seen = json.loads(pyrunc("exec", "--process", file, up).stdout)
    assert seen["args"] == ["probe", "x"]
    assert seen["env"] == ["PATH=/bin", "HOME=/h"]
    assert (seen["cwd"], seen["uid"], seen["gid"], seen["groups"]) == ("/tmp", 1000, 1001, [7])
    assert (seen["NoNewPrivs"], seen["oom_score_adj"]) == ("0", ["77"])


def test_process_file_without_capabilities_gets_the_containers(pyrunc, bundle, up):
    file = process_file(pyrunc, bundle, args=["probe"], capabilities=None)
    seen = json.loads(pyrunc("exec", "--process", file, up).stdout)
    assert caps(seen, "Bnd") == KILL | BIND | AUDIT


def test_flags_about_the_process_are_ignored_beside_a_file(pyrunc, bundle, up):
    file = process_file(pyrunc, bundle, args=["probe"], env=["PATH=/bin", "HOME=/"])
    flags = "--cwd /tmp -e A=1 --user 1000 -g 5 --cap CAP_CHOWN --tty --no-new-privs=false".split()
    seen = json.loads(pyrunc("exec", *flags, "-p", file, up, "ignored", "words").stdout)
    assert (seen["cwd"], seen["env"], seen["uid"]) == ("/", ["PATH=/bin", "HOME=/"], 0)
    assert (seen["groups"], caps(seen, "Bnd")) == ([], KILL | BIND | AUDIT)
    assert (seen["args"], seen["NoNewPrivs"]) == (["probe"], "1")


def test_process_file_is_read_as_go_reads_json(pyrunc, up):
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        file.write(
            '{"Args":["printf","%s","x"],"CWD":"/","env":["PATH=/bin"],"user":null} trailing'
        )
    assert pyrunc("exec", "-p", path, up).stdout == "x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"args":["true"]}', "Cwd property must not be empty"),
        ('{"args":["true"],"cwd":"tmp"}', "Cwd must be an absolute path"),
        ('{"cwd":"/"}', "args must not be empty"),
        ('{"cwd":"/","args":"true"}', "args"),
        ("{", "process.json"),
    ],
)
def test_bad_process_file(pyrunc, up, content, message):
    path = f"{pyrunc.directory}/process.json"
    with open(path, "w") as file:
        file.write(content)
    result = pyrunc("exec", "-p", path, up, code=255)
    assert result.message.startswith("exec failed: ")
    assert message in result.message


def test_no_process_file(pyrunc, up):
    message = pyrunc("exec", "-p", "/absent", up, code=255).message
    assert message == "exec failed: open /absent: no such file or directory"


def test_the_bundle_is_read_again_each_time(pyrunc, bundle, up):
    bundle.process["env"].append("LATER=1")
    bundle.process["cwd"] = "/tmp"
    bundle.save()
    seen = probe(pyrunc, up)
    assert "LATER=1" in seen["env"]
    assert seen["cwd"] == "/tmp"


def test_without_the_bundle_only_a_process_file_works(pyrunc, bundle, up):
    file = process_file(pyrunc, bundle, args=["true"])
    os.unlink(f"{bundle.path}/config.json")
    message = pyrunc("exec", up, "true", code=255).message
    assert message == "exec failed: JSON specification file config.json not found"
    pyrunc("exec", "-p", file, up)


# --- what cannot be run ---


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["absent"], 'exec: "absent": executable file not found in $PATH'),
        (["/absent"], 'exec: "/absent": stat /absent: no such file or directory'),
        (["/etc"], 'exec: "/etc": is a directory: permission denied'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied: it has no x bit'),
        (
            ["/etc/passwd/x"],
            'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory: '
            "/etc/passwd is no directory",
        ),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_a_program_that_cannot_be_run(pyrunc, up, args, text, detached):
    options = ["-d"] if detached else []
    result = pyrunc("exec", *options, up, *args, code=255)
    assert result.message == START + text
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "#!/no/shell\n",
            "exec /tool: no such file or directory: its interpreter /no/shell is missing",
        ),
        ("not a program", "exec /tool: exec format error: it is a text without a #! line"),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_a_failing_execve_is_one_line_and_no_pid_file(pyrunc, bundle, up, content, text, detached):
    bundle.write("tool", content, 0o755)
    path = f"{pyrunc.directory}/pid"
    options = ["-d"] if detached else []
    result = pyrunc("exec", *options, "--pid-file", path, up, "/tool", code=255)
    assert result.message == START + text
    assert result.stderr.count("\n") == 1
    assert not os.path.exists(path)


def test_an_error_is_one_line_in_the_log_and_the_same_on_stderr(pyrunc, up):
    log = f"{pyrunc.directory}/log.json"
    argv = [pyrunc.command, "--root", pyrunc.root, "--log", log, "--log-format", "json"]
    done = subprocess.run([*argv, "exec", up, "absent"], capture_output=True, check=False)
    assert done.returncode == 255
    entry = json.loads(read(log))
    assert entry["level"] == "error"
    assert done.stderr.decode() == entry["msg"] + "\n"
    assert entry["msg"].startswith("exec failed: ")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-e", "X"], "invalid environment variable: missing '='"),
        (["-e", "=x"], "invalid environment variable: name cannot be empty"),
    ],
)
def test_bad_environment(pyrunc, up, flags, text):
    assert pyrunc("exec", *flags, up, "true", code=255).message == START + text


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--user", "1-"], 'bad uid: strconv.Atoi: parsing "1-": invalid syntax'),
        (["--user", "0:1-"], 'bad gid: strconv.Atoi: parsing "1-": invalid syntax'),
        (["-g", "-1"], "additional-gids must be a positive number -1"),
        (["--cwd", "x"], "Cwd must be an absolute path"),
        (
            ["--process-label", "l"],
            "selinux label is specified in config, but selinux is disabled or not supported",
        ),
        (
            ["--apparmor", "p"],
            "apparmor profile is specified in config, but apparmor is disabled or not supported",
        ),
    ],
)
def test_bad_value(pyrunc, up, flags, text):
    if os.path.exists("/sys/kernel/security/apparmor") or os.path.exists("/sys/fs/selinux/enforce"):
        pytest.skip("labels are supported here")
    message = pyrunc("exec", *flags, up, "true", code=255).message
    assert message in (f"exec failed: {text}", START + text)


def test_no_command(pyrunc, up):
    assert pyrunc("exec", up, code=255).message == "exec failed: exec args cannot be empty"


def test_usage_errors_are_1(pyrunc, up):
    assert "requires a minimum of 1 argument(s)" in pyrunc("exec", code=1).message
    message = pyrunc("exec", "--nonsense", up, "true", code=1).message
    assert message == "flag provided but not defined: -nonsense"
    message = pyrunc("exec", "-g", "x", up, "true", code=1).message
    assert message == 'invalid value "x" for flag -g: parse error'


def test_unknown_capability_is_a_warning(pyrunc, up):
    result = pyrunc("exec", "--cap", "CAP_NONSENSE", up, "true")
    assert "ignoring unknown or unavailable capabilities: [CAP_NONSENSE]" in result.stderr


# --- the container's state ---


def test_unknown_container(pyrunc):
    message = pyrunc("exec", pyrunc.id(), "true", code=255).message
    assert message == "exec failed: container does not exist"


def test_created_container_stays_created(pyrunc, bundle):
    name = pyrunc.create(bundle.args("sleep", "1000"))
    assert pyrunc("exec", name, "echo", "x").stdout == "x\n"
    assert pyrunc.status(name) == "created"
    pyrunc("start", name)
    assert pyrunc.status(name) == "running"


def test_stopped_container(pyrunc, bundle):
    name = pyrunc.up(bundle.args("true"))
    pyrunc.stopped(name)
    assert pyrunc("exec", name, "true", code=255).message == STOPPED


def test_paused_container(pyrunc, up):
    pyrunc("pause", up)
    message = pyrunc("exec", up, "true", code=255).message
    assert message == (
        "exec failed: cannot exec in a paused container (use --ignore-paused to override)"
    )


@pytest.mark.parametrize("detached", [False, True])
def test_ignore_paused_waits_for_the_resume(pyrunc, up, detached):
    pyrunc("pause", up)
    options = ["-d"] if detached else []
    process = pyrunc.popen(
        "exec",
        *options,
        "--ignore-paused",
        up,
        "echo",
        "done",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    wait_for(lambda: len(processes_in(pyrunc.prefix)) == 2, what="process in the cgroup")
    assert process.poll() is None
    pyrunc("resume", up)
    assert process.communicate(timeout=20)[0] == b"done\n"
    assert process.returncode == 0


def test_a_pause_during_exec_does_not_lock_resume_and_delete_out(pyrunc, up):
    pyrunc("pause", up)
    process = pyrunc.popen("exec", "--ignore-paused", up, "true", stderr=subprocess.DEVNULL)
    wait_for(lambda: len(processes_in(pyrunc.prefix)) == 2, what="process in the cgroup")
    pyrunc("delete", "--force", up, timeout=15)
    process.wait(20)


def test_a_killed_exec_in_a_paused_container_leaves_no_process(pyrunc, up):
    pyrunc("pause", up)
    process = pyrunc.popen("exec", "--ignore-paused", up, "sleep", "1000")
    wait_for(lambda: len(processes_in(pyrunc.prefix)) == 2, what="process in the cgroup")
    process.kill()
    process.wait()
    pyrunc("resume", up)
    wait_for(lambda: len(processes_in(pyrunc.prefix)) == 1, what="end of init")


# --- detached ---


def test_detached_prints_nothing_and_returns_at_once(pyrunc, up):
    result = pyrunc("exec", "--detach", up, "sleep", "1000", timeout=5)
    assert (result.stdout, result.stderr) == ("", "")
    assert len(processes_in(pyrunc.prefix)) == 2


def test_pid_file_is_the_bare_number_of_the_host(pyrunc, up):
    path = f"{pyrunc.directory}/pid"
    with open(path, "w"):
        pass  # CRI-O makes it, empty
    pyrunc("exec", "-d", "--pid-file", path, up, "sleep", "1000")
    pid = int(read(path))
    assert read(path) == str(pid)
    assert pid in processes_in(pyrunc.prefix)
    assert read(f"/proc/{pid}/cmdline") == "sleep\0" + "1000\0"
    os.kill(pid, signal.SIGKILL)


def test_pid_file_of_a_process_that_has_ended_already(pyrunc, up):
    path = f"{pyrunc.directory}/pid"
    pyrunc("exec", "-d", "--pid-file", path, up, "true")
    assert int(read(path)) > 0


def test_pid_file_is_there_while_the_foreground_waits(pyrunc, up):
    path = f"{pyrunc.directory}/pid"
    process = pyrunc.popen("exec", "--pid-file", path, up, "cat", stdin=subprocess.PIPE)
    pid = int(wait_for(lambda: os.path.exists(path) and read(path), what="pid file"))
    assert read(f"/proc/{pid}/comm") == "cat\n"
    process.stdin.close()
    assert process.wait(20) == 0


def test_relative_pid_file_and_process_file_are_of_the_callers_directory(pyrunc, bundle, up):
    process_file(pyrunc, bundle, args=["true"])
    options = ["-d", "--pid-file", "here"]
    pyrunc("exec", *options, up, "true", cwd=pyrunc.directory)
    os.unlink(f"{pyrunc.directory}/here")
    pyrunc("exec", *options, "-p", "process.json", up, cwd=pyrunc.directory)
    assert os.path.exists(f"{pyrunc.directory}/here")


@pytest.mark.parametrize("detached", [False, True])
def test_without_its_pid_file_there_is_no_process(pyrunc, up, detached):
    options = ["-d"] if detached else []
    path = f"{pyrunc.directory}/absent/pid"
    result = pyrunc("exec", *options, "--pid-file", path, up, "sleep", "1000", code=255)
    assert result.message.startswith(f"exec failed: open {pyrunc.directory}/absent/.pid: no such")
    assert len(processes_in(pyrunc.prefix)) == 1


def test_its_parent_becomes_the_callers_subreaper(pyrunc, up):
    prctl.set_child_subreaper(True)
    try:
        path = f"{pyrunc.directory}/pid"
        before = set(read(f"/proc/self/task/{os.getpid()}/children").split())
        pyrunc("exec", "-d", "--pid-file", path, up, "sh", "-c", "sleep 0.1; exit 3")
        pid = read(path)
        after = set(read(f"/proc/self/task/{os.getpid()}/children").split())
        assert after - before == {pid}, "no helper is left, and the process is ours"
        assert os.WEXITSTATUS(os.waitpid(int(pid), 0)[1]) == 3
    finally:
        prctl.set_child_subreaper(False)


def test_the_callers_pipe_ends_with_the_process(pyrunc, up):
    argv = pyrunc.argv("exec", "-d", up, "sh", "-c", "echo x; exec sleep 0.2")
    before = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "x\n"
    assert time.monotonic() - before < 10


def test_a_vanished_exec_lets_its_process_go_on(pyrunc, up):
    path = f"{pyrunc.directory}/pid"
    process = pyrunc.popen(
        "exec", "--pid-file", path, up, "sleep", "1000", stdin=subprocess.DEVNULL
    )
    pid = int(wait_for(lambda: os.path.exists(path) and read(path), what="pid file"))
    process.kill()
    process.wait()
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


# --- many, and races ---


def test_a_hundred_at_once(pyrunc, up):
    argv = pyrunc.argv("exec", up, "sh", "-c", "echo $0; exit 5", "x")
    running = [
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(100)
    ]
    for process in running:
        assert process.communicate(timeout=100)[0] == b"x\n"
        assert process.returncode == 5
    assert len(processes_in(pyrunc.prefix)) == 1


def test_a_container_that_ends_meanwhile_is_one_clear_message(pyrunc, bundle):
    fine = {"", STOPPED}
    seen = set()
    for delay in (*range(0, 60, 3), 500, 2000):  # ms
        if delay > 60 and seen == fine:
            break  # on a busy machine no exec fits into the short ones
        name = pyrunc.up(bundle.args("sleep", str(delay / 1000)))
        for _ in range(100):
            result = pyrunc("exec", name, "sh", "-c", ":", code=None)
            message = result.message if result.stderr else ""
            # Killed with its container after it had been started.
            assert message in fine and result.code in (0, 255) or result.code == 137, result
            seen.add(message)
            if message:
                break
        pyrunc("delete", "--force", name)
    assert seen == fine


@pytest.mark.parametrize("private", [True, False])
def test_a_container_deleted_meanwhile_leaves_nothing(pyrunc, bundle, private):
    if not private:
        bundle.namespace("pid", False)
    fine = {"", STOPPED, "exec failed: container does not exist"}
    for delay in range(0, 40, 4):
        name = pyrunc.up(bundle.args("sleep", "1000"))
        argv = pyrunc.argv("exec", name, "sleep", "1000")
        running = [
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        time.sleep(delay / 1000)
        pyrunc("delete", "--force", name)
        for process in running:
            text = process.communicate(timeout=20)[1]
            message = json.loads(text.partition(" msg=")[2]) if text else ""
            assert message in fine, text
            assert process.returncode in (255, 137)
        assert not processes_in(pyrunc.prefix)


def test_killed_at_any_moment_it_leaves_a_program_or_nothing(pyrunc, up):
    for delay in range(0, 30, 2):
        process = pyrunc.popen("exec", up, "sh", "-c", ":", stdin=subprocess.DEVNULL)
        time.sleep(delay / 1000)
        process.kill()
        process.wait()
        wait_for(lambda: len(processes_in(pyrunc.prefix)) == 1, what="end of the process")


# --- memory ---


def test_its_memory_is_the_containers(pyrunc, bundle):
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    name = pyrunc.up(bundle.args("sleep", "1000"))
    pyrunc("exec", name, "sh", "-c", "tail /dev/zero", code=137)
    message = pyrunc("exec", name, "absent", code=255).message
    assert message == (
        f'{START}exec: "absent": executable file not found in $PATH (possibly OOM-killed)'
    )


def test_nothing_of_the_host_is_seen_while_it_enters(pyrunc, bundle):
    # CVE-2019-5736 and CVE-2016-9962: the container's root looks at all in its pid namespace.
    watch = (
        "while ! test -e /tmp/stop; do for p in /proc/[0-9]*; do test $p = /proc/1 && continue; "
        "readlink $p/exe; readlink $p/cwd; readlink $p/root; "
        "for f in $p/fd/*; do readlink $f; done; done; done"
    )
    name = pyrunc.up(bundle.sh(f"({watch}) > /tmp/all 2>/dev/null; sort -u /tmp/all > /tmp/seen"))
    for _ in range(30):
        pyrunc("exec", name, "true")
    bundle.write("tmp/stop", "")
    pyrunc.stopped(name)
    lines = read(f"{bundle.rootfs}/tmp/seen").splitlines()
    assert "/bin/busybox" in lines
    strange = [line for line in lines if not line.startswith(("/bin/", "pipe:", "/tmp/all"))]
    assert set(strange) <= {"/", "/dev/null"}, strange


def test_what_a_process_left_behind_still_has_to_say_is_passed_on(pyrunc, up):
    script = "mkfifo /f; { cat; sleep 0.2; echo late; } </f & exec >/f; seq 1 20000"
    out = pyrunc("exec", up, "sh", "-c", script).stdout
    assert out.split() == [*map(str, range(1, 20001)), "late"]


@pytest.mark.parametrize("flags", [(), ("--tty",)])
def test_a_daemon_that_was_left_behind_keeps_nobody_waiting(pyrunc, up, flags):
    script = "trap '' HUP; sleep 1000 & echo started; exit 7"
    argv = pyrunc.argv("exec", *flags, up, "sh", "-c", script)
    master, slave = os.openpty()
    options = {"stdin": slave, "stdout": subprocess.PIPE, "timeout": 20 * PATIENCE}
    done = subprocess.run(argv, check=False, **options)
    assert (done.returncode, done.stdout.split()) == (7, [b"started"])
    assert len(json.loads(pyrunc("ps", "--format", "json", up).stdout)) == 2
    for fd in (master, slave):
        os.close(fd)


def test_any_number_of_arguments(pyrunc, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    many = ["x"] * 20000
    done = pyrunc("exec", name, "sh", "-c", "echo $#", *many)
    assert done.stdout == "19999\n"

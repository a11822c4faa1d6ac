"""process: who the program is, what it is given, and what it must not get."""

import os
import socket
import stat
import subprocess

import pytest

from harness import read, wait_for

KILL, BIND, AUDIT, CHOWN, NET_RAW = 1 << 5, 1 << 10, 1 << 29, 1 << 0, 1 << 13


def caps(seen, kind):
    return int(seen[f"Cap{kind}"], 16)


def test_user_and_groups(pyrunc, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6]}
    seen = pyrunc.probe(bundle)
    assert (seen["uid"], seen["euid"]) == (1000, 1000)
    assert (seen["gid"], seen["egid"]) == (1001, 1001)
    assert sorted(seen["groups"]) == [5, 6]


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_the_highest_id_is_nobodys_and_not_the_callers(pyrunc, bundle, kind):
    bundle.process["user"] = {"uid": 1000, "gid": 1000, kind: 2**32 - 1}
    message = pyrunc.run(bundle, code=1).message
    assert message.endswith(f"cannot set{kind} to unmapped {kind} 4294967295 in user namespace")


def test_callers_groups_are_dropped(pyrunc, bundle):
    seen = pyrunc.probe(bundle, extra_groups=[7, 8])
    assert seen["groups"] == []


def test_environment_is_exactly_the_configured_one(pyrunc, bundle):
    bundle.process["env"] = ["PATH=/bin", "A=1", "EMPTY=", "HOME=/h", "A=2", "U=\u00fc"]
    seen = pyrunc.probe(bundle, env={**os.environ, "LEAK": "1"})
    assert sorted(seen["env"]) == sorted(["PATH=/bin", "EMPTY=", "HOME=/h", "A=2", "U=\u00fc"])


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (77, "/")])
def test_home_comes_from_the_containers_passwd(pyrunc, bundle, uid, home):
    bundle.process["user"] = {"uid": uid, "gid": 0}
    bundle.process["env"] = ["PATH=/bin"]
    assert pyrunc.probe(bundle)["env"] == ["PATH=/bin", f"HOME={home}"]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("NOEQUALS", "invalid environment variable: missing '='"),
        ("=x", "invalid environment variable: name cannot be empty"),
    ],
)
def test_invalid_environment(pyrunc, bundle, entry, text):
    bundle.process["env"] = ["PATH=/bin", entry]
    assert text in pyrunc.run(bundle, code=1).message


def test_arguments_are_passed_as_they_are(pyrunc, bundle):
    words = ["", "a b", "*", "$HOME", "\u00e4", "-x", "'\"\\"]
    result = pyrunc.run(bundle.args("printf", "[%s]\n", *words))
    assert result.stdout == "".join(f"[{word}]\n" for word in words)


def test_working_directory(pyrunc, bundle):
    bundle.process["cwd"] = "/tmp"
    assert pyrunc.probe(bundle)["cwd"] == "/tmp"


def test_missing_working_directory_is_made(pyrunc, bundle):
    bundle.process["cwd"] = "/new/dir"
    assert pyrunc.probe(bundle)["cwd"] == "/new/dir"


def test_working_directory_only_the_user_may_enter(pyrunc, bundle):
    directory = f"{bundle.rootfs}/private"
    os.mkdir(directory, 0o700)
    os.chown(directory, 1000, 1000)
    bundle.process.update(cwd="/private", user={"uid": 1000, "gid": 1000})
    assert pyrunc.probe(bundle)["cwd"] == "/private"


@pytest.mark.parametrize("fd", [3, 7, 8, 9])
def test_working_directory_through_a_leaked_descriptor(pyrunc, bundle, fd):
    # CVE-2024-21626: a descriptor of a host directory as the way out.
    bundle.process["cwd"] = f"/proc/self/fd/{fd}"
    argv = pyrunc.argv("run", "--bundle", bundle.args("ls", "-a").save(), pyrunc.id())
    command = ["bash", "-c", f'exec {fd}</usr; exec "$@"', "-", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""


def test_relative_program(pyrunc, bundle):
    bundle.process["cwd"] = "/bin"
    assert pyrunc.run(bundle.args("./echo", "x")).stdout == "x\n"


def test_program_is_searched_in_the_containers_path(pyrunc, bundle):
    bundle.write("opt/tool", "#!/bin/sh\necho tool\n", 0o755)
    bundle.process["env"] = ["PATH=/absent:/opt"]
    assert pyrunc.run(bundle.args("tool")).stdout == "tool\n"


def test_umask_is_022_unless_configured(pyrunc, bundle):
    assert pyrunc.probe(bundle, umask=0o077)["umask"] == 0o022
    bundle.process["user"] = {"uid": 0, "gid": 0, "umask": 0o027}
    assert pyrunc.probe(bundle)["umask"] == 0o027


@pytest.mark.parametrize(("configured", "seen"), [({}, "0022"), ({"umask": 0o027}, "0027")])
def test_umask_without_a_mount_namespace(pyrunc, bundle, configured, seen):
    bundle.namespace("mount", False).config["mounts"] = []
    for key in ("maskedPaths", "readonlyPaths"):
        del bundle.linux[key]
    bundle.process["user"].update(configured)
    assert pyrunc.run(bundle.sh("umask"), umask=0o077).stdout == f"{seen}\n"


def test_capabilities(pyrunc, bundle):
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN"],
    }
    bundle.process["noNewPrivileges"] = False
    seen = pyrunc.probe(bundle)
    assert caps(seen, "Bnd") == KILL | CHOWN | NET_RAW
    assert caps(seen, "Inh") == CHOWN
    # Root that executes a program gets its bounding set.
    assert caps(seen, "Eff") == KILL | CHOWN | NET_RAW


def test_capabilities_of_a_user_without_ambient_ones_are_lost(pyrunc, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    seen = pyrunc.probe(bundle)
    assert caps(seen, "Eff") == 0
    assert caps(seen, "Bnd") == KILL | BIND | AUDIT


def test_ambient_capabilities_survive_the_user(pyrunc, bundle):
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    bundle.process["capabilities"] = dict.fromkeys(sets, ["CAP_KILL"])
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    seen = pyrunc.probe(bundle)
    assert [caps(seen, kind) for kind in ("Eff", "Prm", "Inh", "Amb", "Bnd")] == [KILL] * 5


def test_all_capabilities_that_cannot_be_ambient_are_one_warning(pyrunc, bundle):
    """buildah asks for them without inheritable ones, for every step of a build."""
    names = ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"]
    sets = ("bounding", "effective", "permitted", "ambient")
    bundle.process["capabilities"] = {
        **dict.fromkeys(sets, names),
        "inheritable": ["CAP_NET_RAW"],
    }
    result = pyrunc.run(bundle.args("grep", "CapAmb", "/proc/self/status"))
    assert int(result.stdout.split()[1], 16) == NET_RAW
    assert result.stderr.count("\n") == 1
    assert "level=warning" in result.stderr
    words = "can't raise ambient capabilities [CAP_CHOWN CAP_KILL]: operation not permitted"
    assert result.message == words


def test_without_capabilities_object_root_keeps_the_callers(pyrunc, bundle):
    del bundle.process["capabilities"]
    mine = int(read("/proc/self/status").partition("CapBnd:")[2].split()[0], 16)
    assert caps(pyrunc.probe(bundle), "Bnd") == mine


def test_unknown_capability_is_a_warning(pyrunc, bundle):
    bundle.process["capabilities"]["bounding"].append("CAP_NONSENSE")
    result = pyrunc.run(bundle.args("true"))
    assert "ignoring unknown or unavailable capabilities: [CAP_NONSENSE]" in result.stderr
    assert "level=warning" in result.stderr


@pytest.mark.parametrize("uid", [0, 1000])
def test_capabilities_that_the_other_sets_rule_out(pyrunc, bundle, uid):
    bundle.process["user"] = {"uid": uid, "gid": 0}
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL"],
        "permitted": [],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
    }
    seen = pyrunc.probe(bundle)
    assert [caps(seen, kind) for kind in ("Bnd", "Inh", "Eff")] == [KILL, KILL, 0]


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(pyrunc, bundle, wanted):
    bundle.process["noNewPrivileges"] = wanted
    assert pyrunc.probe(bundle)["NoNewPrivs"] == str(int(wanted))


def test_rlimits(pyrunc, bundle):
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    limits = pyrunc.probe(bundle)["rlimits"]
    assert limits["RLIMIT_NOFILE"] == [100, 200]
    assert limits["RLIMIT_CORE"] == [0, 0]


def test_unknown_rlimit(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]
    assert "RLIMIT_NONSENSE" in pyrunc.run(bundle, code=1).message


def test_the_same_rlimit_twice(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2
    assert "duplicated rlimit: RLIMIT_CORE" in pyrunc.run(bundle, code=1).message


def test_very_low_descriptor_limit(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 20}]
    pyrunc.run(bundle.args("true"))


def test_exec_without_memory_names_the_program(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_AS", "soft": 0, "hard": 0}]
    result = pyrunc.run(bundle.args("true"), code=255)
    assert result.stderr == "exec /bin/true: cannot allocate memory\n"


def test_impossible_rlimit(pyrunc, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]
    assert pyrunc.run(bundle, code=1).message.endswith(
        "error setting rlimits for ready process: error setting rlimit type 7: invalid argument"
    )


def test_oom_score(pyrunc, bundle):
    bundle.process["oomScoreAdj"] = 500
    assert pyrunc.probe(bundle)["oom_score_adj"] == ["500"]


def test_signals_are_default_and_unblocked(pyrunc, bundle):
    # Python ignores SIGPIPE and SIGXFSZ, and a caller may ignore or block anything.
    script = 'trap "" HUP INT PIPE USR1; exec "$@"'
    argv = pyrunc.argv("run", "--bundle", bundle.args("probe").save(), pyrunc.id())
    done = subprocess.run(["sh", "-c", script, "-", *argv], capture_output=True, check=True)
    assert b'"SigIgn":"0000000000000000"' in done.stdout
    assert b'"SigBlk":"0000000000000000"' in done.stdout


def test_descriptors_are_stdio_only(pyrunc, bundle):
    with open("/etc/passwd") as file, socket.socket() as sock:
        os.set_inheritable(file.fileno(), True)
        os.set_inheritable(sock.fileno(), True)
        seen = pyrunc.probe(bundle, close_fds=False)
    assert sorted(seen["fds"]) == ["0", "1", "2"]


def test_socket_activation_for_somebody_else(pyrunc, bundle):
    env = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    assert not [v for v in pyrunc.probe(bundle, env=env)["env"] if v.startswith("LISTEN_")]


def test_stdio_belongs_to_the_user(pyrunc, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    pyrunc.run(bundle.sh("echo again > /proc/self/fd/1"))


def test_null_on_stdio_stays_roots(pyrunc, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    argv = pyrunc.argv("run", "--bundle", bundle.args("true").save(), pyrunc.id())
    null = subprocess.DEVNULL
    subprocess.run(argv, stdin=null, stdout=null, stderr=null, check=True)
    assert os.stat("/dev/null").st_uid == 0


def test_null_on_stdio_is_the_containers(pyrunc, bundle):
    # The host's /dev/null would be a descriptor of the host's file system.
    bundle.sh("stat -c %d /dev/null; stat -L -c %d /proc/self/fd/0; sleep 100")
    name = pyrunc.create(bundle)
    output = f"{pyrunc.directory}/container"
    os.rename(f"{pyrunc.directory}/stdout", output)
    pyrunc("start", name)
    wait_for(lambda: len(read(output).split()) == 2, what="output")
    assert len(set(read(output).split())) == 1


def test_process_is_a_session_leader(pyrunc, bundle):
    seen = pyrunc.probe(bundle)
    assert seen["sid"] == seen["pid"] == 1


def test_session_keyring_is_the_containers(pyrunc, bundle):
    name = pyrunc.id()
    pyrunc("run", "--bundle", bundle.args("cat", "/proc/keys").save(), name)
    keys = pyrunc.output()
    if keys:  # masked by the default configuration
        assert f"_ses.{name}" in keys


def test_a_long_id_does_not_change_who_may_use_the_keyring(pyrunc, bundle):
    bundle.linux["maskedPaths"] = []
    bundle.args("grep", "_ses", "/proc/keys").save()
    rights = []
    for name in (pyrunc.id(), f"{pyrunc.id()}-".ljust(255, "x")):
        pyrunc("run", "--bundle", bundle.path, name)
        fields = next(row.split() for row in pyrunc.output().splitlines() if name in row)
        rights.append(fields[4])
    assert rights[0] == rights[1]


def test_affinity_of_the_caller_is_not_inherited(pyrunc, bundle):
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    one = str(min(cpus))
    argv = pyrunc.argv("run", "--bundle", bundle.args("nproc").save(), pyrunc.id())
    done = subprocess.run(["taskset", "-c", one, *argv], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(cpus)


def test_setuid_program_gains_nothing_with_no_new_privileges(pyrunc, bundle):
    path = f"{bundle.rootfs}/bin/setuid"
    with open(f"{bundle.rootfs}/bin/probe", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o4755)
    assert os.stat(path).st_mode & stat.S_ISUID
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["noNewPrivileges"] = True
    assert '"euid":1000' in pyrunc.run(bundle.args("setuid")).stdout


def test_more_arguments_than_sixteen_bits_count(pyrunc, bundle):
    bundle.args("sh", "-c", "echo $#; env | grep -c ^V", *["x"] * 70_001)
    bundle.process["env"] += [f"V{number}=x" for number in range(66_000)]
    assert pyrunc.run(bundle).stdout == "70000\n66000\n"

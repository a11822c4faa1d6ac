"""cli: the grammar, the globals, the exit codes and the one line an error becomes."""

import json
import os
import subprocess
import sys

import pytest

import pyrunc
from pyrunc import cli, duration, log
from pyrunc.commands import DETACH, Command, Option
from pyrunc.errors import Error, UsageError

SITE = os.path.dirname(os.path.dirname(pyrunc.__file__))


@pytest.fixture(autouse=True)
def plain_log(monkeypatch):
    """Every test starts with the log on stderr, and leaves it there."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    log.setup("", "text")
    yield
    log.setup("", "text")


def parsed(line):
    opts = {}
    command = cli.parse(["pyrunc", *(line.split() if isinstance(line, str) else line)], opts)
    assert command is not None
    return opts | {"verb": command.name}


def refused(line):
    with pytest.raises(UsageError) as caught:
        parsed(line)
    return caught.value.message


# What engines really type: the line, and what must come of it.
CORPUS = [
    (
        "--root /run/containerd/runc/k8s.io --log /tmp/log.json --log-format json"
        " create --bundle /b --pid-file /b/init.pid CID",
        {
            "verb": "create",
            "root": "/run/containerd/runc/k8s.io",
            "root_given": True,
            "log": "/tmp/log.json",
            "log_format": "json",
            "cgroup_manager": "cgroupfs",
            "bundle": "/b",
            "pid_file": "/b/init.pid",
            "console_socket": "",
            "args": ["CID"],
        },
    ),
    (
        "create --bundle /b --pid-file /p --console-socket /s --no-pivot --no-new-keyring CID",
        {"console_socket": "/s", "no_pivot": True, "no_new_keyring": True, "args": ["CID"]},
    ),
    (
        "--systemd-cgroup create --bundle /b --pid-file /p --preserve-fds 2 --console-socket /s C",
        {"cgroup_manager": "systemd", "preserve_fds": 2, "console_socket": "/s", "args": ["C"]},
    ),
    (
        "create --bundle /b --pid-file /p --console-socket=/s CID",
        {"console_socket": "/s", "args": ["CID"]},
    ),
    ("--rootless=true --root=/r --log-format=json start CID", {"rootless": "true", "root": "/r"}),
    ("--root /r --systemd-cgroup state CID", {"verb": "state", "args": ["CID"]}),
    ("start CID", {"verb": "start", "root": "/run/pyrunc", "root_given": False}),
    # In crun's dialect.
    ("--cgroup-manager disabled create CID", {"cgroup_manager": "disabled"}),
    ("--cgroup-manager=disabled --systemd-cgroup start CID", {"cgroup_manager": "systemd"}),
    ("--systemd-cgroup --cgroup-manager=cgroupfs start CID", {"cgroup_manager": "cgroupfs"}),
    ("--systemd-cgroup=false start CID", {"cgroup_manager": "cgroupfs"}),
    ("--log=journald:CID --log-level warning state CID", {"log_level": "warning"}),
    ("--log-level=error --debug state CID", {"log_level": "debug"}),
    ("create --no-subreaper -fother.json CID", {"no_subreaper": True, "config": "other.json"}),
    ("run -db /b -f other.json CID", {"detach": True, "bundle": "/b", "config": "other.json"}),
    (
        "exec -tdu5:6 -eA=B CID sh -td",
        {"user": "5:6", "env": ["A=B"], "args": ["CID", "sh", "-td"]},
    ),
    ("kill -ar ^web KILL", {"all": True, "regex": True, "args": ["^web", "KILL"]}),
    ("delete -fr ^web", {"force": True, "regex": True}),
    ("list -qfjson", {"quiet": True, "format": "json"}),
    ("ps -fjson CID", {"format": "json"}),
    ("update -r/r CID", {"resources": "/r"}),
    ("spec -b /b -f other.json", {"bundle": "/b", "file": "other.json"}),
    (
        "--log /tmp/runc-log.json --log-format json run --bundle /b --keep CID",
        {"verb": "run", "keep": True, "detach": False, "pid_file": ""},
    ),
    ("run --bundle /b --no-pivot --keep CID", {"no_pivot": True, "keep": True}),
    ("kill --all CID 9", {"all": True, "args": ["CID", "9"]}),
    ("kill -a CID 9", {"all": True, "args": ["CID", "9"]}),
    ("kill CID KILL", {"all": False, "args": ["CID", "KILL"]}),
    ("kill CID 15", {"args": ["CID", "15"]}),
    ("kill NAME", {"args": ["NAME"]}),
    (
        "--root /run/containerd/runc/k8s.io --log /tmp/log.json --log-format json"
        " exec --process /tmp/runc-process123 --console-socket /s --detach --pid-file /b/E.pid CID",
        {
            "verb": "exec",
            "process": "/tmp/runc-process123",
            "console_socket": "/s",
            "detach": True,
            "pid_file": "/b/E.pid",
            "args": ["CID"],
        },
    ),
    (
        "exec --pid-file /p --process /f --detach --tty --preserve-fds 2 --console-socket /s CID",
        {"tty": True, "preserve_fds": 2, "process": "/f", "args": ["CID"]},
    ),
    (
        "--systemd-cgroup --root=/run/pyrunc exec --process /f CID",
        {"process": "/f", "detach": False, "pid_file": "", "tty": False},
    ),
    (
        "exec -d --console-socket=/s --tty --pid-file=/p CID CMD -d --tty -- x",
        {"detach": True, "args": ["CID", "CMD", "-d", "--tty", "--", "x"]},
    ),
    (
        "exec -e A=1,2 --env B=2 -u 1:2 -g 3 --additional-gids 0x4 -c CAP_KILL --cap CAP_CHOWN"
        " --cgroup cpu:a --cgroup memory:b --cwd /d --ignore-paused --no-new-privs CID sh",
        {
            "env": ["A=1,2", "B=2"],
            "user": "1:2",
            "additional_gids": [3, 4],
            "cap": ["CAP_KILL", "CAP_CHOWN"],
            "cgroup": ["cpu:a", "memory:b"],
            "cwd": "/d",
            "ignore_paused": True,
            "no_new_privs": True,
            "args": ["CID", "sh"],
        },
    ),
    ("delete CID", {"verb": "delete", "force": False, "args": ["CID"]}),
    ("delete --force CID", {"force": True, "args": ["CID"]}),
    (
        "--root /run/containerd/runc/k8s.io --log /tmp/log.json --log-format json"
        " ps --format json CID",
        {"verb": "ps", "format": "json", "args": ["CID"]},
    ),
    (
        "ps CID -ef -q1,2 --format x",
        {"format": "table", "args": "CID -ef -q1,2 --format x".split()},
    ),
    ("--root /r --systemd-cgroup pause CID", {"verb": "pause", "args": ["CID"]}),
    ("--root /r update --resources=- CID", {"verb": "update", "resources": "-", "args": ["CID"]}),
    ("update --resources - ID", {"resources": "-", "args": ["ID"]}),
    ("update --resources=/tmp/podmanX ID", {"resources": "/tmp/podmanX", "pids_limit": 0}),
    ("update ID --memory 1M --pids-limit=-1", {"memory": "1M", "pids_limit": -1, "args": ["ID"]}),
    ("events --stats CID", {"verb": "events", "stats": True, "interval": 5.0}),
    ("events --interval=2s CID", {"stats": False, "interval": 2.0, "args": ["CID"]}),
    ("resume CID", {"verb": "resume", "args": ["CID"]}),
    ("list --format=json", {"verb": "list", "format": "json", "quiet": False, "args": []}),
    ("features", {"verb": "features", "args": []}),
    (
        # A wrapper script puts its own globals before the engine's.
        "--debug --log /tmp/x --root /1 --log /tmp/log.json --log-format json --root /2 state C",
        {"log_level": "debug", "log": "/tmp/log.json", "log_format": "json", "root": "/2"},
    ),
]


@pytest.mark.parametrize(("line", "expected"), CORPUS, ids=[line for line, _ in CORPUS])
def test_argv_of_engines(line, expected, tmp_path):
    line = line.replace("/tmp/", f"{tmp_path}/")
    opts = parsed(line)
    for key, value in expected.items():
        value = value.replace("/tmp/", f"{tmp_path}/") if isinstance(value, str) else value
        assert opts[key] == value, key


# The grammar.


def test_one_dash_is_as_good_as_two():
    assert parsed("run -no-subreaper -bundle /b -detach c") == parsed(
        "run --no-subreaper --bundle /b --d c"
    )


def test_short_and_long_names_take_values_either_way():
    for line in ("run -b /b c", "run -b=/b c", "run --b /b c", "run --bundle=/b c"):
        assert parsed(line)["bundle"] == "/b", line


def test_a_value_may_look_like_a_flag_or_be_empty():
    assert parsed(["run", "--bundle", "--keep", "c"])["bundle"] == "--keep"
    assert parsed(["run", "--bundle", "", "c"])["bundle"] == ""
    assert parsed(["run", "--bundle=a=b", "c"])["bundle"] == "a=b"


def test_flags_may_follow_positionals():
    assert parsed("delete ctr -f") == parsed("delete -f ctr")
    assert parsed("create ctr --no-pivot --bundle /b")["bundle"] == "/b"


def test_an_unknown_dash_after_a_positional_is_a_positional():
    assert parsed("kill ctr -9")["args"] == ["ctr", "-9"]
    assert refused("kill -9 ctr") == "flag provided but not defined: -9"


def test_two_dashes_end_the_flags():
    assert parsed("kill -- -9")["args"] == ["-9"]
    assert parsed("delete ctr --")["args"] == ["ctr"]


def test_one_dash_alone_is_a_positional():
    assert parsed("state -")["args"] == ["-"]


def test_flags_end_at_the_first_positional_where_a_command_line_follows():
    exec_like = Command(
        "x", "", nargs=(1, None), options=(DETACH, Option("tty", "t")), prefix_only=True
    )
    opts = {}
    rest = ["-d", "c", "sh", "-t", "--", "-d"]
    assert cli.flags(rest, exec_like.options, opts, "x", True) == ["c", "sh", "-t", "--", "-d"]
    assert opts["detach"] is True
    assert opts["tty"] is False


def test_the_last_one_wins_and_lists_collect():
    assert parsed("run --bundle /a --bundle=/b c")["bundle"] == "/b"
    opts = {}
    rows = (Option("env", "e", "list"),)
    assert cli.flags(["-e", "A=1,2", "--env=B=", "c"], rows, opts) == ["c"]
    assert opts["env"] == ["A=1,2", "B="]


def test_given_tells_a_flag_from_its_default():
    assert parsed("run --bundle= c")["given"] == {"bundle"}
    assert parsed("run c")["given"] == set()


@pytest.mark.parametrize("word", ["1", "t", "T", "true", "True", "TRUE"])
def test_booleans_say_yes(word):
    assert parsed(f"run --keep={word} c")["keep"] is True


@pytest.mark.parametrize("word", ["0", "f", "F", "false", "False", "FALSE"])
def test_booleans_say_no(word):
    assert parsed(f"run --keep --keep={word} c")["keep"] is False


def test_a_boolean_takes_no_separate_value():
    assert parsed("kill --all false 9")["args"] == ["false", "9"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("12", 12), ("+7", 7), ("-3", -3), ("0x1F", 31), ("0o17", 15), ("017", 15)]
    + [("0b101", 5), ("1_000", 1000), ("0x_f", 15), ("0_7", 7), ("9223372036854775807", 2**63 - 1)],
)
def test_integers_are_go_literals(text, value):
    assert parsed(["create", f"--preserve-fds={text}", "c"])["preserve_fds"] == value


@pytest.mark.parametrize(
    "text", ["", "zz", " 1", "1 ", "1__0", "_1", "1_", "0x", "08", "1.0", "--1", "+", "\u0661"]
)
def test_what_is_no_integer(text):
    assert refused(["create", f"--preserve-fds={text}", "c"]) == (
        f"invalid value {log.quote(text)} for flag -preserve-fds: parse error"
    )


def test_integers_are_64_bits():
    for text in ("9223372036854775808", "-9223372036854775809"):
        assert refused(f"create --preserve-fds {text} c").endswith("value out of range")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5h", 5400), ("0", 0), ("-2s", -2), ("+1s", 1)]
    + [("2us", 2e-6), ("2µs", 2e-6), ("3ns", 3e-9), (".5s", 0.5), ("1.s", 1)],
)
def test_durations_are_go_durations(text, seconds):
    assert duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1.2.3s", ".s", "1m30", "-", "1 s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="parse error"):
        duration.parse(text)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--cgroup-manager=cgroups"], "invalid cgroup-manager: cgroups"),
        (["--log-level=trace"], "invalid log-level: trace"),
    ],
)
def test_a_choice_is_checked(argv, message):
    with pytest.raises(Error) as caught:
        parsed([*argv, "state", "c"])
    assert caught.value.message == message


@pytest.mark.parametrize("flag", ["-V", "--V", "-?", "--usage"])
def test_what_crun_calls_version_and_help(flag, capsys):
    assert cli.main(["pyrunc", flag]) == 0
    shown = capsys.readouterr().out
    assert ("runc version" if "V" in flag else "USAGE:") in shown


def test_short_flags_of_one_token_must_all_be_known():
    assert refused("exec -tx c sh") == "flag provided but not defined: -tx"
    assert refused("delete -forced c") == "flag provided but not defined: -forced"


def test_usage_errors_are_worded_like_go():
    assert refused("kill -x c") == "flag provided but not defined: -x"
    assert refused("kill --x=1 c") == "flag provided but not defined: -x"
    assert refused("run -dk c") == "flag provided but not defined: -dk"
    assert refused("create --bundle") == "flag needs an argument: -bundle"
    assert refused("create c -b") == "flag needs an argument: -b"
    assert refused("kill ---all c") == "bad flag syntax: ---all"
    assert refused("kill -=all c") == "bad flag syntax: -=all"
    assert refused("kill --all=maybe c") == ('invalid boolean value "maybe" for -all: parse error')
    assert refused("--criu /x kill c") == "flag provided but not defined: -criu"


def test_counts_of_positionals():
    assert refused("create") == 'pyrunc: "create" requires exactly 1 argument(s)'
    assert refused("state a b") == 'pyrunc: "state" requires exactly 1 argument(s)'
    assert refused("list a") == 'pyrunc: "list" requires exactly 0 argument(s)'
    assert refused("kill") == 'pyrunc: "kill" requires a minimum of 1 argument(s)'
    assert refused("kill a b c") == 'pyrunc: "kill" requires a maximum of 2 argument(s)'


# Globals.


def test_root_is_made_absolute_and_clean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed("--root x/../y/. state c")["root"] == f"{tmp_path}/y"
    assert parsed("--root //a//b/ state c")["root"] == "/a/b"
    assert parsed(["--root", "", "state", "c"])["root"] == str(tmp_path)


@pytest.mark.parametrize("root", ["/", "//", "/..", "/a/.."])
def test_root_must_not_be_the_root_directory(root):
    with pytest.raises(Error, match="^Option --root argument should not be set to /$"):
        parsed(["--root", root, "state", "c"])


def test_real_root_ignores_xdg_runtime_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with open("/proc/self/uid_map") as file:
        whole = file.read().split() == ["0", "0", "4294967295"]
    if os.geteuid() != 0 or not whole:
        pytest.skip("needs root of the initial user namespace")
    assert cli.default_root() == "/run/pyrunc"
    assert os.listdir(tmp_path) == []


def test_a_user_keeps_containers_below_xdg_runtime_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.default_root() == f"{tmp_path}/pyrunc"
    assert os.stat(f"{tmp_path}/pyrunc").st_mode & 0o7777 == 0o1700
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert cli.default_root() == "/run/pyrunc"


def test_an_unusable_xdg_runtime_dir_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/file")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Error, match=r"not a directory \(\$XDG_RUNTIME_DIR must be"):
        cli.default_root()


def test_rootless_is_checked_by_the_verbs_that_use_it():
    assert parsed("--rootless=1 create c")["rootless"] == "true"
    assert parsed("--rootless F create c")["rootless"] == "false"
    assert parsed("--rootless= create c")["rootless"] == "auto"
    assert parsed("--rootless=foo state c")["rootless"] == "auto"
    for verb, lead in (("create", "runc create failed: "), ("restore", "")):
        text = f'^{lead}strconv.ParseBool: parsing "foo": invalid syntax$'
        with pytest.raises(Error, match=text):
            parsed(f"--rootless=foo {verb} c")


# main(): exit codes, and who is told what.


def told(argv, capfd):
    status = cli.main(["/opt/pyrunc", *argv.split()])
    out, err = capfd.readouterr()
    return status, out, err


def message(line):
    """The msg of a text log line."""
    return json.loads(line.partition(" msg=")[2])


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "-h",
        "--help",
        "help",
        "h",
        "help kill",
        "--help kill",
        "help help",
        "help h",
        "h --help",
    ],
)
def test_help_exits_0(argv, capfd):
    status, out, err = told(argv, capfd)
    assert status == 0
    assert out.startswith("NAME:\n   ")
    assert err == ""


@pytest.mark.parametrize("argv", ["foo", "help foo", "foo --help", "init"])
def test_an_unknown_verb_exits_3(argv, capfd):
    status, out, err = told(argv, capfd)
    assert status == 3
    assert out == ""
    assert (
        message(err) == f"No help topic for '{argv.replace('help', '').replace('--', '').strip()}'"
    )


def test_a_typing_error_gets_a_guess(capfd):
    assert told("delte c", capfd)[1] == "Did you mean 'delete'?\n"
    assert told("create --bundel /b c", capfd)[1].endswith("\nDid you mean '--bundle'?\n")


def test_a_bad_flag_of_a_verb(capfd):
    status, out, err = told("kill --bogus c", capfd)
    assert status == 1
    assert out.startswith(
        "Incorrect Usage: flag provided but not defined: -bogus\n\nNAME:\n   pyrunc kill - "
    )
    assert message(err) == "flag provided but not defined: -bogus"


def test_a_bad_global_flag(capfd):
    status, out, err = told("--bogus kill c", capfd)
    assert status == 1
    assert out.startswith(
        "Incorrect Usage. flag provided but not defined: -bogus\n\n"
        "NAME:\n   runc - Open Container Initiative runtime\n"
    )
    assert message(err) == "flag provided but not defined: -bogus"


def test_a_bad_count_names_the_program_as_typed(capfd):
    status, out, err = told("kill", capfd)
    assert status == 1
    assert out.startswith("Incorrect Usage.\n\nNAME:\n   pyrunc kill - ")
    assert message(err) == '/opt/pyrunc: "kill" requires a minimum of 1 argument(s)'


def test_a_bad_log_format(capfd):
    status, out, err = told("--log-format xml state c", capfd)
    assert (status, out, message(err)) == (1, "", "invalid log-format: xml")


def test_a_log_that_cannot_be_opened(tmp_path, capfd):
    status, out, err = told(f"--log {tmp_path}/none/log state c", capfd)
    assert (status, out) == (1, "")
    assert message(err) == f"open {tmp_path}/none/log: no such file or directory"


def test_an_error_is_in_the_log_and_on_stderr(tmp_path, capfd):
    path = tmp_path / "log.json"
    argv = f"--log {path} --log-format json kill --bogus c"
    assert told(argv, capfd)[::2] == (1, "flag provided but not defined: -bogus\n")
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["msg"]) == ("error", "flag provided but not defined: -bogus")


def test_the_version(capfd):
    status, out, err = told("--version", capfd)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "runc version 1.5.1"
    assert lines[1] == f"commit: pyrunc-{pyrunc.__version__}"
    assert lines[2] == "spec: 1.3.0"
    assert lines[3] == f"python: {sys.version.split()[0]}"
    assert told("-v kill", capfd)[1] == out


# Nothing escapes as a traceback.


def child(code, *argv, python=(), **options):
    """The launcher's command line, with code run before main()."""
    program = f"import sys; sys.path.insert(0, {SITE!r})\n{code}\nfrom pyrunc.cli import main\n"
    code = program + "sys.exit(main())"
    command = [sys.executable, *python, "-X", "utf8", "-c", code, "pyrunc", *argv]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, **options)


BROKEN = "import pyrunc.commands.features as f\ndef run(opts): {}\nf.run = run"


def test_a_surprise_is_one_clear_line():
    done = child(BROKEN.format("raise KeyError('x')"), "features")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert message(line) == "internal error: KeyError: 'x' (<string>:3)"


def test_a_surprise_from_the_system_says_what_failed():
    done = child(BROKEN.format("open('/none')"), "features")
    (line,) = done.stderr.splitlines()
    assert message(line) == "unexpected error: /none: no such file or directory (<string>:3)"


def test_the_traceback_is_for_debug():
    done = child(BROKEN.format("1 / 0"), "--debug", "features")
    first, last = done.stderr.splitlines()
    assert "level=debug" in first
    assert "Traceback (most recent call last)" in first
    assert "level=error" in last
    assert "ZeroDivisionError" in last


def test_a_verb_that_cannot_be_imported_is_one_line_too():
    done = child("sys.modules['pyrunc.commands.features'] = None", "features")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_usage_error_is_told_without_click_too():
    done = child("sys.modules['click'] = None", "kill", "--bogus")
    assert done.returncode == 1
    assert message(done.stderr) == "flag provided but not defined: -bogus"


def test_click_may_live_in_another_site_directory():
    click = pytest.importorskip("click")
    folder = os.path.dirname(os.path.dirname(click.__file__))
    code = f"import site; site.getsitepackages = lambda: [{folder!r}]"
    done = child(code, "kill", "--help", python=["-I", "-S"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("NAME:\n   pyrunc kill")


def test_python_m_is_a_launcher_too():
    command = [sys.executable, "-m", "pyrunc", "kill"]
    done = subprocess.run(command, check=False, cwd=SITE, capture_output=True, text=True)
    assert done.returncode == 1
    assert message(done.stderr) == 'pyrunc: "kill" requires a minimum of 1 argument(s)'


def test_an_interrupt_is_no_traceback():
    done = child(BROKEN.format("raise KeyboardInterrupt"), "features")
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("argv", ["features", "--help", "kill --bogus"])
def test_a_reader_that_went_away(argv):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = child("", *argv.split(), stdout=writer)
    finally:
        os.close(writer)
    wrong = "bogus" in argv
    assert done.returncode == (1 if wrong else 141)
    assert len(done.stderr.splitlines()) == wrong


@pytest.mark.parametrize("argv", ["features", "--help", "kill --bogus"])
def test_a_closed_stdout_is_no_traceback(argv):
    done = child("", *argv.split(), preexec_fn=lambda: os.close(1))
    assert len(done.stderr.splitlines()) == (0 if argv == "--help" else 1)


def test_a_long_message_fits_one_write(capfd, tmp_path):
    path = tmp_path / "log"
    name = "x" * 20000
    assert cli.main(["pyrunc", "--log", str(path), name]) == 3
    err = capfd.readouterr().err
    assert len(err) < 8192
    assert err.startswith("No help topic for 'xxx")
    assert err.endswith("xxx'\n")
    assert path.stat().st_size < 8192


def test_bytes_that_are_not_utf8_survive(capfdbinary):
    assert cli.main(["pyrunc", os.fsdecode(b"caf\xe9")]) == 3
    assert rb"No help topic for 'caf\xe9'" in capfdbinary.readouterr().err

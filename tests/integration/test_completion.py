"""`completion`: the scripts, in the shells they are for."""

import os
import pty
import re
import shutil
import subprocess

import pytest

from harness import wait_for


@pytest.fixture(scope="module")
def shells(command, tmp_path_factory):
    """A directory with a script for each shell."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in COMPLETED:
        with open(folder / shell, "wb") as file:
            subprocess.run([command, "completion", shell], check=True, stdout=file)
    return folder


def in_bash(script, line, where):
    # readline would cut the line so.
    words = line.replace("=", " = ").split(" ")
    command = ["bash", "-c", AS_READLINE, "bash", script, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, **where)
    assert not done.stderr
    return done.stdout.splitlines()


AS_READLINE = """
source "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_pyrunc
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_fish(script, line, where):
    command = ["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', script, line]
    done = subprocess.run(command, check=True, capture_output=True, text=True, **where)
    assert not done.stderr
    return [row.partition("\t")[0] for row in done.stdout.splitlines()]


def in_zsh(script, line, where):
    """In a terminal, because it completes nowhere else: the last word after a press of Tab."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(where["cwd"])
        os.execvpe("zsh", ["zsh", "-f", "-i"], where["env"])
    seen = b""

    def found():
        nonlocal seen
        seen += os.read(terminal, 4096)
        return re.search(rb"[\r\n]RESULT:.* (\S+) *[\r\n]", seen)

    try:
        # Control-A is the begin of the line: what Tab made of it is printed.
        keys = f"autoload compinit; compinit -D; source {script}\r{line}\t\x01print -r RESULT: \r"
        os.write(terminal, keys.encode())
        match = wait_for(found, what=lambda: f"result in {seen.decode()}")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return [match[1].decode()]


COMPLETED = {"bash": in_bash, "fish": in_fish, "zsh": in_zsh}


@pytest.mark.parametrize("shell", COMPLETED)
@pytest.mark.parametrize(
    "line",
    [
        "pyrunc feat>ures",
        "pyrunc --rootl>ess",
        "pyrunc run --no-pi>vot",
        "pyrunc --log-format j>son",
        "pyrunc list -f t>able",
        "pyrunc stats --format=p>rometheus",
        "pyrunc create --bundle fo>lder",
        "pyrunc exec --pid-file fob",
        "pyrunc completion z>sh",
        "pyrunc mounts rem>ove",
        "pyrunc --root ROOT mounts add al>pha",
        "pyrunc --cgroup-manager dis>abled",
        "pyrunc --root ROOT state al>pha",
        "pyrunc --root=ROOT --debug start be>ta",
        "pyrunc --root ROOT wait alpha be>ta",
        "pyrunc --root ROOT kill alpha TE>RM",
        "pyrunc --root ROOT exec -t --user 0 al>pha",
    ],
)
def test_a_word_is_completed(shell, line, shells, pyrunc, bundle, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing")
    if "ROOT" in line:
        for name in ("alpha", "beta"):
            bundle.linux["cgroupsPath"] = f"/{pyrunc.prefix}{name}"
            pyrunc("create", "--bundle", bundle.save(), name)
    where = tmp_path / "where"
    (where / "folder").mkdir(parents=True)
    (where / "fob").touch()
    path = f"{os.path.dirname(pyrunc.command)}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    typed, _, rest = line.replace("ROOT", pyrunc.root).partition(">")
    found = COMPLETED[shell](str(shells / shell), typed, {"cwd": where, "env": env})
    # Some repeat the flag, and end a directory with a slash.
    words = {word.rpartition("=")[2].rstrip("/") for word in found}
    assert words == {(typed + rest).replace("=", " ").rpartition(" ")[2]}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_all_verbs_are_offered(shell, shells, pyrunc, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing")
    where = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}}
    found = COMPLETED[shell](str(shells / shell), "pyrunc st", where)
    assert sorted(found) == ["start", "state", "stats"]


@pytest.mark.parametrize("line", ["pyrunc exec alpha -", "pyrunc ps alpha -", "pyrunc create a"])
def test_nothing_is_offered_for_what_others_know(line, shells, tmp_path):
    where = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}}
    assert in_bash(str(shells / "bash"), line, where) == [""]


def test_the_scripts_are_for_the_name_that_was_called(pyrunc, tmp_path):
    os.symlink(pyrunc.command, tmp_path / "runc")
    pyrunc.command = tmp_path / "runc"
    assert "\ncomplete -F _runc runc\n" in pyrunc("completion", "bash").stdout


def test_a_clean_bash_script(shells):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is missing")
    subprocess.run(["shellcheck", str(shells / "bash")], check=True)


def test_an_unknown_shell_is_refused(pyrunc):
    assert pyrunc("completion", "ksh", code=1).message.startswith("no completion for ksh, only for")

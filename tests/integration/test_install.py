"""`make install` into a prefix of its own, and `make uninstall`."""

import os
import shutil
import subprocess

import pytest

from harness import read
from pyrunc.commands import GLOBALS, HELP, VERBS, load

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
COMPLETIONS = [
    "bash-completion/completions/pyrunc",
    "zsh/site-functions/_pyrunc",
    "fish/vendor_completions.d/pyrunc.fish",
]
MANUAL = "share/man/man8"
pytestmark = pytest.mark.skipif(
    not os.path.exists(f"{TOP}/.venv/built"), reason="not built in this tree: make build"
)


def make(*args):
    # Not a part of a make that may run the tests.
    env = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    subprocess.run(["make", "-C", TOP, *args], check=True, env=env, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where it is installed, beside what others have there."""
    path = tmp_path_factory.mktemp("prefix")
    for name in (f"{MANUAL}/runc.8", "bin/runc"):
        (path / name).parent.mkdir(parents=True)
        (path / name).touch()
    before = files(path)
    make("install", f"PREFIX={path}")
    yield path
    make("uninstall", f"PREFIX={path}")
    assert files(path) == before


def files(top):
    return {os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names}


def test_the_command_runs(prefix):
    done = subprocess.run(
        [prefix / "bin" / "pyrunc", "--version"], check=True, capture_output=True, text=True
    )
    assert "\ncommit: pyrunc-" in done.stdout


def test_the_library_is_there(prefix):
    command = [prefix / "lib/pyrunc/bin/python", "-c", "import pyrunc; print(pyrunc.Container)"]
    done = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True)
    assert done.stdout == "<class 'pyrunc.api.Container'>\n"


def test_an_editable_install_runs_from_the_source_tree(tmp_path):
    """There the package is where only `site` finds it, which the front does without."""
    tree, venv = tmp_path / "tree", tmp_path / "venv"
    built = shutil.ignore_patterns(".*", "build", "_core*", "_seccomp*", "_init", "_s*.py", "tests")
    shutil.copytree(TOP, tree, ignore=built)
    python = f"{TOP}/.venv/bin/python"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    # What builds it and what it depends on is here already, for the tests.
    (site,) = venv.glob("lib/python*/site-packages")
    there = f"{TOP}/.venv/{site.relative_to(venv)}"
    for name in os.listdir(there):
        if not name.startswith("pyrunc"):
            os.symlink(f"{there}/{name}", site / name)
    offline = ["--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps"]
    pip = [venv / "bin/python", "-m", "pip", "install", *offline, "--editable", tree]
    subprocess.run(pip, check=True, stdout=subprocess.DEVNULL)
    (tree / "pyrunc/commands/spec.py").write_text('raise SystemExit("edited")\n')
    for verb, status, text in (("spec", 1, "edited\n"), ("--version", 0, "\ncommit: pyrunc-")):
        command = [venv / "bin/pyrunc", verb]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == status
        assert text in done.stdout + done.stderr


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions_are_where_shells_look(name, prefix):
    text = read(prefix / "share" / name)
    assert all(verb in text for verb in VERBS)
    assert os.stat(prefix / "share" / name).st_mode & 0o777 == 0o644


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_the_manual_has_every_flag(verb, prefix):
    page = prefix / MANUAL / ("-".join(["pyrunc", verb]).rstrip("-") + ".8")
    command = ["man", "--warnings", "-E", "UTF-8", "-l", page]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "200"}
    if shutil.which("man") is None:
        pytest.skip("man is missing")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    assert done.stderr == ""
    tags = [line.split()[:2] for line in done.stdout.splitlines() if line.strip().startswith("-")]
    names = {word.strip(",") for tag in tags for word in tag}
    rows = load(verb).options if verb else GLOBALS
    assert {f"--{row.name}" for row in (*rows, HELP) if not row.hidden} <= names
    titles = {line for line in done.stdout.splitlines() if line.isupper() and line[0] != " "}
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES"} <= titles


def test_the_manual_is_clean(prefix):
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is missing")
    pages = [prefix / MANUAL / name for name in os.listdir(prefix / MANUAL) if name != "runc.8"]
    command = ["mandoc", "-T", "lint", "-W", "warning", *pages]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    rows = [row for row in done.stdout.splitlines() if "missing date" not in row]
    assert rows == []

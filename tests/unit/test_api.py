"""The names of `import pyrunc`: cheap for commands, and typed for their users."""

import os
import subprocess
import sys

import pytest

import pyrunc
from pyrunc import api

USER = """
import pyrunc

def use(made: pyrunc.Container) -> int:
    process = made.exec(["ps"], stdout=pyrunc.PIPE, user="0:0", env={"A": "b"})
    with open("/dev/null", "wb") as null:
        made = pyrunc.create("web", bundle="/b", stdin=pyrunc.DEVNULL, stderr=null, rootless=True)
    percent: float | None = made.stats(since=made.stats())["cpu"]["percent"]
    for event in made.events(interval=1.0):
        print(event["type"], percent, [found.id for found in pyrunc.containers(root="/r")])
    try:
        status: int | None = made.wait(timeout=1)
    except pyrunc.Timeout as err:
        raise pyrunc.Error(err.message) from err
    print(status, made.state()["bundle"], made.process.pid if made.process else None)
    return process.wait()
"""


def run(*command):
    # Not in the tree, whose package has no built modules.
    return subprocess.run(command, cwd="/", check=False, capture_output=True, text=True)


def test_all_names_are_there():
    assert pyrunc.create is api.create
    for name in pyrunc.__all__:
        assert name in dir(pyrunc)
        assert getattr(pyrunc, name) is not None


def test_no_name_is_a_modules():
    # Importing that module would put it in the name's place.
    files = os.listdir(os.path.dirname(pyrunc.__file__))
    assert not {name.partition(".")[0] for name in files} & set(pyrunc.__all__)


def test_other_names_are_missing():
    with pytest.raises(AttributeError, match="has no attribute 'none'"):
        pyrunc.none  # noqa: B018


def test_importing_the_package_imports_nothing():
    program = "import sys; old = set(sys.modules); import pyrunc; print(*set(sys.modules) - old)"
    done = run(sys.executable, "-c", program)
    assert done.stdout.split() == ["pyrunc"]


def test_a_users_program_is_checked(tmp_path):
    mypy = os.path.join(os.path.dirname(sys.executable), "mypy")
    if not os.access(mypy, os.X_OK):
        pytest.skip("mypy is not installed: make lint")

    def check(program):
        (tmp_path / "user.py").write_text(program)
        done = run(mypy, "--strict", f"--cache-dir={tmp_path}/cache", f"{tmp_path}/user.py")
        return done.stdout

    assert check(USER).startswith("Success"), check(USER)
    assert '"State" has no key "pids"' in check(USER.replace('["bundle"]', '["pids"]'))
    assert 'Module has no attribute "none"' in check("import pyrunc\npyrunc.none")

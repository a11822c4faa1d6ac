"""The linters are tests.  One that is not installed is skipped by name."""

import glob
import os
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")


def check(tool, *args):
    beside = os.path.join(os.path.dirname(sys.executable), tool)
    path = beside if os.access(beside, os.X_OK) else shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed: make lint")
    done = subprocess.run(
        [path, *args], cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        pytest.fail(f"{tool} {' '.join(args)}\n{done.stdout.decode()}", pytrace=False)


def files(*patterns):
    found = [path for pattern in patterns for path in glob.glob(pattern, root_dir=ROOT)]
    assert found
    return sorted(found)


def test_ruff_check():
    check("ruff", "check", "--quiet")


def test_ruff_format():
    check("ruff", "format", "--diff", "--quiet")


def test_mypy():
    # A fresh checkout lacks the generated module.
    command = [sys.executable, "oci-spec/compile.py", "pyrunc/_schema.py"]
    subprocess.run(command, cwd=ROOT, check=True)
    check("mypy", "--no-error-summary")


def test_codespell():
    check("codespell")


def test_clang_format():
    check("clang-format", "--dry-run", "--Werror", *files("csrc/*.[ch]", "tests/*.c", "bench/*.c"))


def test_shellcheck():
    check("shellcheck", *files("scripts/*.sh", "deploy/*.sh", "tests/vm/*.sh"), ".ci/run")

"""Builds what a wheel of pyrunc carries besides Python: everything else is in pyproject.toml.

    pyrunc/_core, pyrunc/_seccomp   extensions, by cffi
    pyrunc/_systemd.py              declarations of a library that is loaded when needed, by cffi
    pyrunc/_init                    the static helper that becomes a container's process
    pyrunc/_schema.py               the shape check of config.json, from oci-spec/
    bin/pyrunc                      the command itself: a program, not a script of pip's making

Binaries are compiled by csrc/build.py.
"""

import importlib.util
import os
import subprocess
import sys

from setuptools import setup  # before distutils, which it brings
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # isort: skip

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = """import sys

from pyrunc.cli import main

sys.argv.insert(0, "")  # main() wants what the front passes: something, then argv
main()
"""


def load_build():
    """csrc/build.py, which lives outside any package."""
    spec = importlib.util.spec_from_file_location("csrc_build", f"{HERE}/csrc/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildPackage(build_py):
    """Adds the generated module and the static helper to the package."""

    def run(self):
        super().run()
        package = "pyrunc" if self.editable_mode else os.path.join(self.build_lib, "pyrunc")
        load_build().build_init(os.path.join(package, "_init"))
        schema = os.path.join(package, "_schema.py")
        subprocess.run([sys.executable, f"{HERE}/oci-spec/compile.py", schema], check=True)

    def get_outputs(self, include_bytecode=True):
        package = os.path.join(self.build_lib, "pyrunc")
        ours = [os.path.join(package, name) for name in ("_init", "_schema.py")]
        return [*super().get_outputs(include_bytecode), *ours]


class BuildCommand(build_scripts):
    """Compiles the front where distutils would copy a script.

    `pip install --editable` leaves the package in the source tree. Only `site` finds it there, and
    the front does without `site`; so then the command is a script of Python's.
    """

    editable_mode = False

    def run(self):
        os.makedirs(self.build_dir, exist_ok=True)
        command = os.path.join(self.build_dir, "pyrunc")
        if not self.editable_mode:
            load_build().build_front(command)
            return
        with open(command, "w", encoding="utf-8") as file:
            file.write(f"#!{sys.executable} -I\n{SCRIPT}")
        os.chmod(command, 0o755)


setup(
    cffi_modules=[f"csrc/build.py:{name}_ffi" for name in ("core", "seccomp", "systemd")],
    cmdclass={"build_py": BuildPackage, "build_scripts": BuildCommand},
    scripts=["csrc/front.c"],  # makes distutils run build_scripts; see BuildCommand
)

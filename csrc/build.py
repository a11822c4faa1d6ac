"""Builds the native parts; called by setup.py, and by cffi for its modules.

    core_ffi            pyrunc._core: core.c and the numbers of plan.h
    seccomp_ffi         pyrunc._seccomp: libseccomp, loaded only to compile a filter
    systemd_ffi         pyrunc._systemd: libsystemd's declarations; nothing is compiled
    build_init(output)  the static, freestanding init
    build_front(output) the installed `pyrunc` command

A compiler is taken from CC.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zlib

import cffi

HERE = os.path.dirname(os.path.abspath(__file__))
INIT_SOURCES = [
    "init.c",
    "init_sync.c",
    "init_ns.c",
    "init_process.c",
    "init_sched.c",
    "init_rootfs.c",
    "init_device.c",
    "init_mask.c",
    "init_console.c",
    "init_mount.c",
    "init_copy.c",
    "init_why.c",
    "init_why_exec.c",
    "init_filter.c",
    "mount.c",
    "path.c",
]
FRONT_SOURCES = [
    "front.c",
    "front_record.c",
    "front_verbs.c",
    "front_cgroup.c",
    "front_exec.c",
    "front_relay.c",
    "core.c",
]
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wvla"]
INIT_FLAGS = [
    *WARNINGS,
    "-Os",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-tree-loop-distribute-patterns",  # or memcpy() would call memcpy()
    "-fno-asynchronous-unwind-tables",
    "-fno-pie",
    "-ffunction-sections",
    "-fdata-sections",
    "-nostdlib",
    "-nostartfiles",
    "-static",
    "-no-pie",
    "-Wl,--gc-sections,--build-id=none,-z,noseparate-code,-z,noexecstack,-z,norelro,-s",
]
FRONT_FLAGS = ["-O2", "-ffunction-sections", "-Wl,--gc-sections"]  # it needs little of core.c


def _read(name: str) -> str:
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def _cdef(name: str) -> str:
    """A header without its preprocessor lines, from its `/* cffi */` marker if it has one."""
    text = _read(name).rpartition("/* cffi */")[2]
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def plan_build_id() -> int:
    """What init and Python compare: a plan never meets an init built from another plan.h."""
    return zlib.crc32(_read("plan.h").encode()) & 0x7FFFFFFF


def _core_ffi() -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef(_cdef("plan.h") + _cdef("core.h") + f"\n#define PLAN_BUILD_ID {plan_build_id()}\n")
    ffi.set_source(
        "pyrunc._core",
        f'#include "plan.h"\n#include "core.c"\n#define PLAN_BUILD_ID {plan_build_id()}\n',
        include_dirs=[HERE],
        extra_compile_args=["-std=gnu11", "-O2"],
    )
    return ffi


def _neighbour(name: str) -> cffi.FFI:
    # cffi executes this file outside any package, so the neighbour is loaded by its path.
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ffi: cffi.FFI = getattr(module, name)
    return ffi


def _compile(output: str, arguments: list[str]) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    subprocess.run([os.environ.get("CC", "cc"), *arguments, "-o", output], cwd=HERE, check=True)


def build_init(output: str) -> None:
    """Compile the static init to `output`."""
    output = os.path.abspath(output)
    _compile(output, [*INIT_FLAGS, f"-DPLAN_BUILD_ID={plan_build_id()}U", *INIT_SOURCES])


def build_front(output: str) -> None:
    """Compile the `pyrunc` command to `output`, for the running interpreter's version."""
    output = os.path.abspath(output)
    version = sysconfig.get_python_version()
    _compile(output, [*WARNINGS, *FRONT_FLAGS, f'-DPYTHON_VERSION="{version}"', *FRONT_SOURCES])


core_ffi = _core_ffi()
seccomp_ffi = _neighbour("seccomp_ffi")
systemd_ffi = _neighbour("systemd_ffi")

if __name__ == "__main__":
    # `python3 csrc/build.py TARGET OUTPUT`, for work on one binary without the whole package.
    {"init": build_init, "front": build_front}[sys.argv[1]](sys.argv[2])

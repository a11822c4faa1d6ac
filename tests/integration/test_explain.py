"""What failed says why: a clause after runc's sentence, which stays as engines know it."""

import errno
import json
import os
import re
import shutil
import subprocess

import pytest

from harness import read

# Who finds these in an error chooses the exit status by them; engines do.
MISSING = re.compile("executable file not found in|no such file or directory", re.I)
REFUSED = re.compile("permission denied|operation not permitted", re.I)

PROGRAMS = {
    "a missing interpreter": (
        "#!/no/shell -e\n",
        "no such file or directory: its interpreter /no/shell is missing",
    ),
    "CR LF": (
        "#!/bin/sh\r\necho\r\n",
        "no such file or directory: its interpreter /bin/sh? is missing, "
        "because the #! line ends with CR LF",
    ),
    "an interpreter that is a broken link": (
        "#!/link\n",
        "no such file or directory: the link /link leads to gone, which is missing",
    ),
    "the interpreter of an interpreter": (
        "#!/middle\n",
        "no such file or directory: the interpreter /no/end of /middle is missing",
    ),
    "an interpreter without x": (
        "#! /plain\n",
        "permission denied: its interpreter /plain has no x bit",
    ),
    "an interpreter that is a directory": (
        "#!/etc\n",
        "permission denied: its interpreter /etc is no regular file",
    ),
    "no interpreter": ("#!\n", "exec format error: it names no interpreter after its #!"),
    "text": ("echo hello\n", "exec format error: it is a text without a #! line"),
    "nothing": ("", "exec format error: it is empty"),
    "a byte order mark": (
        "\ufeff#!/bin/sh\n",
        "exec format error: it has a byte order mark before its #!",
    ),
    "an interpreter for another machine": (
        "#!/foreign\n",
        "exec format error: its interpreter /foreign is for s390x, and this machine is "
        + os.uname().machine,
    ),
}


def foreign(path):
    """Make the program at path one for s390x."""
    with open(path, "r+b") as file:
        file.seek(18)
        file.write((22).to_bytes(2, "little"))


def linked(bundle, interpreter):
    """A program with this dynamic loader, at /linked."""
    source = bundle.write("linked.c", "int main(void) { return 0; }")
    option = f"-Wl,--dynamic-linker={interpreter}"
    subprocess.run(["cc", source, option, "-o", f"{bundle.rootfs}/linked"], check=True)


@pytest.fixture(params=["run", "exec"])
def tell(request, pyrunc, bundle):
    """tell(*args, **process): what is said about this program, as the first process or another."""

    def run(*args, **process):
        bundle.process.update(process)
        return pyrunc.run(bundle.args(*args), code=None).stderr.strip()

    def enter(*args, **process):
        name = pyrunc.up(bundle.args("sleep", "1000"))
        file = f"{pyrunc.directory}/process.json"
        with open(file, "w") as out:
            json.dump({**bundle.process, "args": args, **process}, out)
        return pyrunc("exec", "--process", file, name, code=255).message

    return run if request.param == "run" else enter


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_that_the_kernel_refuses(tell, bundle, case):
    content, why = PROGRAMS[case]
    bundle.write("tool", content, 0o755)
    bundle.write("middle", "#!/no/end\n", 0o755)
    bundle.write("plain", "#!/bin/sh\n", 0o644)
    shutil.copy(f"{bundle.rootfs}/bin/busybox", f"{bundle.rootfs}/foreign")
    foreign(f"{bundle.rootfs}/foreign")
    os.symlink("gone", f"{bundle.rootfs}/link")
    assert tell("/tool").endswith(f"exec /tool: {why}")


def test_a_missing_dynamic_loader(tell, bundle):
    linked(bundle, "/lib/absent.so")
    why = "its interpreter /lib/absent.so is missing"
    assert tell("/linked").endswith(f"exec /linked: no such file or directory: {why}")


def test_a_program_for_another_machine(tell, bundle):
    linked(bundle, "/lib/absent.so")
    foreign(f"{bundle.rootfs}/linked")
    why = f"it is for s390x, and this machine is {os.uname().machine}"
    assert tell("/linked").endswith(f"exec /linked: exec format error: {why}")


def test_a_name_that_the_image_chose_breaks_no_line(tell, bundle):
    bundle.write("tool", "#!/\x1b[31m/x\n", 0o755)
    assert tell("/tool").endswith("its interpreter /?[31m/x is missing")


def test_a_fifo_in_the_place_of_an_interpreter_holds_nobody_up(tell, bundle):
    bundle.write("tool", "#!/fifo\n", 0o755)
    os.mkfifo(f"{bundle.rootfs}/fifo", 0o755)
    os.chmod(f"{bundle.rootfs}/fifo", 0o755)
    assert tell("/tool").endswith("permission denied: its interpreter /fifo is no regular file")


def test_a_loop_of_interpreters_ends(tell, bundle):
    bundle.write("tool", "#!/tool\n", 0o755)
    assert tell("/tool").endswith("exec /tool: too many levels of symbolic links")


def test_a_binary_of_no_known_kind_is_not_explained(tell, bundle):
    bundle.write("tool", "\x01\x02\x03", 0o755)
    assert tell("/tool").endswith("exec /tool: exec format error")


# --- what create and exec find out before they execute it ---


def test_no_x_bit(tell, bundle):
    bundle.write("tool", "#!/bin/sh\n", 0o644)
    assert "permission denied: it has no x bit" in tell("/tool")


def test_a_mount_with_noexec(tell, bundle, tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    bundle.mount("/mnt", tmp_path, "noexec")
    assert "permission denied: it is on a mount with noexec" in tell("/mnt/tool")


def test_rights_that_are_for_others(tell, bundle):
    bundle.write("tool", "#!/bin/sh\n", 0o750)
    said = tell("/tool", user={"uid": 1000, "gid": 1000})
    assert "permission denied: it has the mode 0750 and the owner 0:0" in said


def test_a_directory_that_the_user_may_not_search(tell, bundle):
    bundle.write("closed/tool", "#!/bin/sh\n", 0o755)
    os.chmod(f"{bundle.rootfs}/closed", 0o700)
    said = tell("/closed/tool", user={"uid": 1000, "gid": 1000})
    assert "permission denied: /closed may not be searched by user 1000" in said


def test_which_component_is_missing(tell):
    assert "/a/b/tool: no such file or directory: /a is missing" in tell("/a/b/tool")


def test_which_component_is_no_directory(tell):
    assert "not a directory: /etc/passwd is no directory" in tell("/etc/passwd/x/y")


def test_a_link_that_leads_nowhere(tell, bundle):
    os.symlink("/opt/none", f"{bundle.rootfs}/tool")
    assert "no such file or directory: the link /tool leads to /opt/none, which is missing" in tell(
        "/tool"
    )


def test_the_missing_file_itself_needs_no_words(tell):
    assert re.search(r"stat /absent: no such file or directory\W*$", tell("/absent"))


# --- the working directory ---


def test_a_working_directory_below_nothing(pyrunc, bundle):
    name = pyrunc.up(bundle.args("sleep", "1000"))
    message = pyrunc("exec", "--cwd", "/etc/a/b", name, "true", code=255).message
    assert message.endswith("no such file or directory: /etc/a is missing")


def test_a_working_directory_below_a_file(pyrunc, bundle):
    bundle.process["cwd"] = "/etc/passwd/x"
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("not a directory: /etc/passwd is no directory")


# --- mounts ---


def test_which_component_of_a_bind_source_is_missing(pyrunc, bundle, tmp_path):
    message = pyrunc.create(bundle.mount("/x", tmp_path / "a/b/c"), code=1).message
    assert message.endswith(f"/a/b/c: no such file or directory: {tmp_path}/a is missing")


def test_a_directory_on_a_file(pyrunc, bundle, tmp_path):
    message = pyrunc.create(bundle.mount("/etc/passwd", tmp_path), code=1).message
    why = "the destination is a file, and the source a directory"
    assert message.endswith(f": not a directory: {why}")


def test_a_file_on_a_directory(pyrunc, bundle, tmp_path):
    (tmp_path / "file").touch()
    message = pyrunc.create(bundle.mount("/etc", tmp_path / "file"), code=1).message
    why = "the source is a file, and the destination a directory"
    assert message.endswith(f": not a directory: {why}")


def test_a_file_system_on_a_file(pyrunc, bundle):
    message = pyrunc.create(bundle.mount("/etc/passwd", "tmpfs", kind="tmpfs"), code=1).message
    assert message.endswith(": not a directory: the destination is a file")


def test_a_destination_below_a_file(pyrunc, bundle, tmp_path):
    message = pyrunc.create(bundle.mount("/etc/passwd/x", tmp_path), code=1).message
    assert message.endswith(": not a directory: /etc/passwd is no directory")


def test_a_link_of_the_image_is_followed_within_it(pyrunc, bundle, tmp_path):
    os.symlink("/usr/../../../etc/passwd", f"{bundle.rootfs}/link")
    message = pyrunc.create(bundle.mount("/link/x", tmp_path), code=1).message
    assert message.endswith(": not a directory: /link is no directory")


def test_a_file_system_that_the_kernel_lacks(pyrunc, bundle):
    message = pyrunc.create(bundle.mount("/x", "none", kind="nosuchfs"), code=1).message
    assert message.endswith(": no such device: this kernel has no file system nosuchfs")


# --- the rest of the configuration ---


def test_a_sysctl_that_is_not_there(pyrunc, bundle):
    bundle.linux["sysctl"] = {"net.nosuch.forwarding": "1"}
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("no such file or directory: /proc/sys/net/nosuch is missing")


def test_namespaces_that_are_switched_off(pyrunc, bundle):
    limit = "/proc/sys/user/max_uts_namespaces"
    # The limit is that of a user namespace, so in one of its own it disturbs nobody.
    script = f'echo 0 > {limit} && exec "$@"'
    bundle.linux.pop("resources", None)
    bundle.process.pop("oomScoreAdj", None)
    argv = ["unshare", "-Urm", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*argv, *pyrunc.argv("create", "--bundle", bundle.save(), pyrunc.id())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no space left on device: the sysctl user.max_uts_namespaces is 0" in done.stderr


def test_a_namespace_path_says_what_is_missing(pyrunc, bundle, tmp_path):
    message = pyrunc.create(bundle.namespace("ipc", tmp_path / "a/b"), code=1).message
    assert message.endswith(f"/a/b: no such file or directory: {tmp_path}/a is missing")


def test_a_controller_that_is_missing(v2, bundle, cgroup_mode):
    root = "/sys/fs/cgroup" if cgroup_mode == "v2" else "/sys/fs/cgroup/unified"
    if "rdma" in read(f"{root}/cgroup.controllers").split():
        pytest.skip("every controller is there")
    bundle.linux["resources"] = {"rdma": {"mlx5": {"hcaHandles": 3}}}
    message = v2.create(bundle, code=1).message
    assert message.endswith("no such file or directory: this cgroup has no controller rdma")


def test_a_hierarchy_that_is_missing(pyrunc, bundle, cgroup_mode):
    if cgroup_mode == "v2" or os.path.exists("/sys/fs/cgroup/hugetlb"):
        pytest.skip("needs cgroup v1 without hugetlb")
    bundle.linux["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("could not join or create cgroup: no hierarchy of hugetlb is mounted")


def test_a_root_filesystem_out_of_reach(pyrunc, bundle, tmp_path):
    bundle.config["root"]["path"] = f"{tmp_path}/a/b"
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith(f"a/b: no such file or directory: {tmp_path}/a is missing")


def test_a_hook_out_of_reach(pyrunc, bundle, tmp_path):
    for kind in ("createRuntime", "createContainer"):
        bundle.config["hooks"] = {kind: [{"path": f"{tmp_path}/a/hook"}]}
        message = pyrunc.create(bundle, code=1).message
        assert message.endswith(f"hook: no such file or directory: {tmp_path}/a is missing")


def test_a_hook_without_its_interpreter(pyrunc, bundle, tmp_path):
    (tmp_path / "hook").write_text("#!/no/shell\n")
    (tmp_path / "hook").chmod(0o755)
    bundle.config["hooks"] = {"createContainer": [{"path": f"{tmp_path}/hook"}]}
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("no such file or directory: its interpreter /no/shell is missing")


# --- nobody is misled ---


def test_a_name_that_reads_like_another_error_is_not_told(tell, bundle):
    os.symlink("/permission denied", f"{bundle.rootfs}/tool")
    said = tell("/tool")
    assert MISSING.search(said)
    assert not REFUSED.search(said)


def test_nor_is_it_once_the_program_is_to_run(tell, bundle):
    bundle.write("tool", "#!/link\n", 0o755)
    os.symlink("/Permission Denied", f"{bundle.rootfs}/link")
    assert tell("/tool").endswith("exec /tool: no such file or directory")


def test_a_start_that_waits_for_the_program_has_the_clause(pyrunc, bundle):
    bundle.write("tool", "#!/no/shell\n", 0o755)
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/true"}]}
    name = pyrunc.create(bundle.args("/tool"))
    message = pyrunc("start", name, code=1).message
    assert message == "exec /tool: no such file or directory: its interpreter /no/shell is missing"


@pytest.mark.parametrize("nnp", [False, True])
@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"])
def test_a_filter_is_heeded(pyrunc, bundle, action, nnp):
    """Looking for a reason must not end init in another way than the failure does."""
    bundle.write("tool", "#!/no/shell\n", 0o755)
    bundle.process["noNewPrivileges"] = nnp
    names = ["pread64", "statx" if nnp else "fstatfs"]
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": names, "action": action}],
    }
    said = pyrunc.run(bundle.args("/tool"), code=255).stderr
    assert said == "exec /tool: no such file or directory\n"


def test_an_errno_of_the_filter_is_no_fact_about_a_path(pyrunc, bundle):
    bundle.write("bin/tool", "#!/no/shell\n", 0o755)
    bundle.process["noNewPrivileges"] = True  # the filter comes after the lookup
    rule = {"names": ["openat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOENT}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    said = pyrunc.run(bundle.args("tool"), code=255).stderr
    assert said == "exec /bin/tool: no such file or directory\n"


def test_an_ordinary_filter_is_no_hindrance(pyrunc, bundle):
    bundle.write("tool", "#!/no/shell\n", 0o755)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {
                "names": "statx openat pread64 readlinkat execve write close read exit_group "
                "getcwd chdir setresuid setresgid capset capget prctl setgroups fchdir geteuid "
                "faccessat2 fstatfs mmap fcntl writev".split(),
                "action": "SCMP_ACT_ALLOW",
            }
        ],
    }
    said = pyrunc.run(bundle.args("/tool"), code=255).stderr
    assert said == "exec /tool: no such file or directory: its interpreter /no/shell is missing\n"

"""linux.seccomp: the loaded filter, seen by the program."""

import signal

import pytest


def deny(*names, action="SCMP_ACT_ERRNO", **fields):
    rule = {"names": list(names), "action": action, **fields}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


def test_filter_is_loaded(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("mkdir", "mkdirat")
    assert pyrunc.probe(bundle)["Seccomp"] == "2"


def test_no_filter_without_configuration(pyrunc, bundle):
    assert pyrunc.probe(bundle)["Seccomp"] == "0"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_errno_is_eperm_by_default(pyrunc, bundle, no_new_privileges):
    bundle.linux["seccomp"] = deny("mkdir", "mkdirat")
    bundle.process["noNewPrivileges"] = no_new_privileges
    result = pyrunc.run(bundle.args("mkdir", "/tmp/x"), code=1)
    assert "Operation not permitted" in result.stderr


def test_configured_errno(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("mkdir", "mkdirat", errnoRet=28)
    assert "No space left" in pyrunc.run(bundle.args("mkdir", "/tmp/x"), code=1).stderr


def test_unprivileged_user(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("mkdir", "mkdirat")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    for no_new_privileges in (True, False):
        bundle.process["noNewPrivileges"] = no_new_privileges
        pyrunc.run(bundle.args("mkdir", "/tmp/x"), code=1)


def test_kill(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("mkdir", "mkdirat", action="SCMP_ACT_KILL_PROCESS")
    bundle.sh("mkdir /tmp/x; echo $?")
    assert pyrunc.run(bundle).stdout == f"{128 + signal.SIGSYS}\n"


def test_argument_comparison(pyrunc, bundle):
    arguments = [{"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]
    bundle.linux["seccomp"] = deny("chmod", args=arguments)
    at = [{"index": 2, "value": 0o700, "op": "SCMP_CMP_EQ"}]
    bundle.linux["seccomp"]["syscalls"].append(
        {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": at}
    )
    bundle.write("file", "")
    bundle.sh("chmod 755 /file && echo fine; chmod 700 /file || echo refused")
    assert pyrunc.run(bundle).stdout == "fine\nrefused\n"


def test_unknown_names_are_ignored(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("no_such_call", "mkdir", "mkdirat")
    pyrunc.run(bundle.args("mkdir", "/tmp/x"), code=1)


def test_unknown_action(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("mkdir", action="SCMP_ACT_NONSENSE")
    assert "SCMP_ACT_NONSENSE" in pyrunc.run(bundle, code=1).message
    assert pyrunc.names() == []


def test_the_same_filter_twice(pyrunc, bundle):
    # The second time it comes out of the cache.
    bundle.linux["seccomp"] = deny("mkdir", "mkdirat", errnoRet=95)
    for _ in range(2):
        assert "not supported" in pyrunc.run(bundle.args("mkdir", "/tmp/x"), code=1).stderr


def test_everything_else_is_refused_and_the_program_still_starts(pyrunc, bundle):
    # An allow list as engines write it; execve itself must be on it when it is loaded early.
    names = (
        "access arch_prctl brk close dup dup2 dup3 execve exit exit_group fcntl fstat fstatfs "
        "futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom getuid ioctl "
        "lseek mmap mprotect munmap newfstatat open openat poll prctl prlimit64 read readlink "
        "readlinkat rt_sigaction rt_sigprocmask rt_sigreturn rseq set_robust_list set_tid_address  "
        "stat statx sysinfo uname wait4 write writev capget capset setgid setgroups setuid chdir"
    ).split()
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    assert pyrunc.run(bundle.args("echo", "hello")).stdout == "hello\n"


def test_filter_that_lets_init_do_nothing_ends_it(pyrunc, bundle):
    rule = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
    bundle.process["noNewPrivileges"] = True
    message = pyrunc.run(bundle.args("true"), code=1, timeout=20).message
    assert message == "runc run failed: container process is already dead"


def test_filter_that_does_not_let_init_hang_up(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("close", "close_range")
    bundle.process["noNewPrivileges"] = True
    message = pyrunc.run(bundle.args("true"), code=1, timeout=20).message
    assert message.endswith("unable to wait for start: operation not permitted")


def test_program_that_cannot_be_executed_under_its_filter(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("execve", "exit_group", "exit")
    bundle.process["noNewPrivileges"] = True
    result = pyrunc.run(bundle.args("true"), code=None, timeout=20)
    assert result.code > 128
    assert result.stderr == "exec /bin/true: operation not permitted\n"


def test_filter_that_would_let_the_container_die_with_create(pyrunc, bundle):
    bundle.linux["seccomp"] = deny("prctl")
    bundle.process["noNewPrivileges"] = False
    bundle.process.pop("capabilities")
    message = pyrunc.create(bundle, code=1).message
    assert message.endswith("unable to talk to init: operation not permitted")

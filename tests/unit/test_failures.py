"""Every step of init has a sentence, and the sentences that callers match on are runc's."""

import errno

import pytest

from pyrunc import failures, mounts
from pyrunc._core import lib
from pyrunc.plan import Plan

ROOT = "/b/rootfs"


def word(op, step, err=0, value=0, text=b""):
    """The sentence about an op; op: a function that adds it to a plan."""
    plan = Plan()
    plan.root(ROOT, 1)
    op(plan)
    return failures.word(plan, 1, step, err, value, text)


def tmpfs(plan):
    flags = mounts.MS_NOSUID | mounts.MS_RDONLY
    plan.mount("src", "/d", "tmpfs", "size=1m,mode=755", flags=flags, origin="mounts[3]")


def proc(plan):
    plan.mount("proc", "/proc", "proc", "", flags=0, options=lib.MOUNT_ORDINARY)


def bind(plan):
    flags = mounts.MS_BIND | mounts.MS_REC | mounts.MS_RDONLY | mounts.MS_NOATIME
    plan.bind("/src", "/d", flags=flags, origin="mounts[4]")


def lookup(plan):
    plan.lookup("foo", 1, "/bin")


def hook(plan):
    plan.hook("createContainer hook #2", "/h", ("", ""), timeout=1500, argv=["/h"], env=[])


# --- mounts ---


@pytest.mark.parametrize(
    ("op", "step", "err", "value", "sentence"),
    [
        (
            tmpfs,
            lib.STEP_MOUNT,
            errno.EINVAL,
            7,
            'error mounting "src" to rootfs at "/d": mount src=src, dst=/d, '
            "dstFd=/proc/thread-self/fd/7, flags=MS_RDONLY|MS_NOSUID, data=size=1m,mode=755: "
            "invalid argument",
        ),
        (
            proc,
            lib.STEP_MOUNT,
            errno.EPERM,
            0,
            'error mounting "proc" to rootfs at "/proc": mount src=proc, dst=/proc: '
            "operation not permitted",
        ),
        (
            bind,
            lib.STEP_MOUNT,
            errno.ENOTDIR,
            9,
            'error mounting "/src" to rootfs at "/d": mount src=/src, dst=/d, '
            "dstFd=/proc/thread-self/fd/9, flags=MS_BIND|MS_REC: not a directory",
        ),
        (
            bind,
            lib.STEP_SOURCE,
            errno.ENOENT,
            0,
            'error mounting "/src" to rootfs at "/d": stat /src: no such file or directory',
        ),
        (
            bind,
            lib.STEP_TARGET,
            errno.EROFS,
            0,
            'error mounting "/src" to rootfs at "/d": make mountpoint "/d": read-only file system',
        ),
        (
            proc,
            lib.STEP_TARGET_TYPE,
            errno.ELOOP,
            0,
            'error mounting "proc" to rootfs at "/proc": '
            'filesystem "proc" must be mounted on ordinary directory',
        ),
        (
            tmpfs,
            lib.STEP_TARGET_TYPE,
            errno.ENOTDIR,
            0,
            'error mounting "src" to rootfs at "/d": make mountpoint "/d": not a directory',
        ),
        (
            bind,
            lib.STEP_TARGET_PROC,
            errno.EPERM,
            0,
            'error mounting "/src" to rootfs at "/d": "/b/rootfs/d" cannot be mounted because '
            "it is inside /proc",
        ),
        (
            tmpfs,
            lib.STEP_MOVED,
            errno.ESTALE,
            0,
            'error mounting "src" to rootfs at "/d": '
            'mountpoint "/b/rootfs/d" was moved while re-opening',
        ),
        (
            bind,
            lib.STEP_FLAGS,
            errno.EPERM,
            mounts.MS_NOSUID | mounts.MS_NODEV,
            'error mounting "/src" to rootfs at "/d": failed to set user-requested vfs flags on '
            "bind-mount: cannot clear locked flags MS_NOSUID|MS_NODEV: operation not permitted",
        ),
        (
            bind,
            lib.STEP_FLAGS,
            errno.EPERM,
            mounts.MS_RELATIME << 32,
            'error mounting "/src" to rootfs at "/d": failed to set user-requested vfs flags on '
            "bind-mount: cannot change locked atime flags MS_RELATIME to MS_NOATIME: "
            "operation not permitted",
        ),
        (
            bind,
            lib.STEP_IDMAP,
            errno.EINVAL,
            0x6969,
            'error mounting "/src" to rootfs at "/d": failed to set MOUNT_ATTR_IDMAP on /src: '
            "file system nfs: invalid argument (maybe the filesystem used doesn't support idmap "
            "mounts on this kernel?)",
        ),
        (
            tmpfs,
            lib.STEP_IDMAP,
            errno.EPERM,
            0x1234,
            'error mounting "src" to rootfs at "/d": failed to set MOUNT_ATTR_IDMAP on /d: '
            "file system type 0x1234: operation not permitted",
        ),
        (
            bind,
            lib.STEP_FLAGS,
            errno.EINVAL,
            0,
            'error mounting "/src" to rootfs at "/d": failed to set user-requested vfs flags on '
            "bind-mount: invalid argument",
        ),
    ],
)
def test_mounts(op, step, err, value, sentence):
    assert word(op, step, err, value) == sentence


@pytest.mark.parametrize(("rootfs", "path"), [("/b/rootfs", "/b/rootfs"), ("/", "/")])
def test_mount_on_the_rootfs_itself(rootfs, path):
    plan = Plan()
    plan.root(rootfs, 1)
    plan.mount("s", "/", "tmpfs", "", flags=0)
    assert failures.word(plan, 1, lib.STEP_TARGET_ROOT, errno.EBUSY, 0, b"") == (
        'error mounting "s" to rootfs at "/": '
        f'mountpoint "{path}" is on the top of rootfs "{rootfs}"'
    )


def test_root_that_cannot_be_opened():
    plan = Plan()
    plan.root(ROOT, 1)
    root = failures.word(plan, 0, lib.STEP_ROOT_OPEN, errno.ENOENT, 0, b"")
    assert root == "error preparing rootfs: open /b/rootfs: no such file or directory"
    entered = word(lambda p: p.pivot(), lib.STEP_ROOT_OPEN, errno.EMFILE)
    assert entered == "error preparing rootfs: open /: too many open files"


# --- the program ---


@pytest.mark.parametrize(
    ("step", "err", "text", "sentence"),
    [
        (lib.STEP_LOOKUP_NONE, errno.ENOENT, b"foo", "executable file not found in $PATH"),
        (lib.STEP_LOOKUP_STAT, errno.ENOENT, b"/foo", "stat /foo: no such file or directory"),
        (lib.STEP_LOOKUP_PERM, errno.EACCES, b"/foo", "permission denied"),
        (lib.STEP_LOOKUP_PERM, errno.EISDIR, b"/foo", "is a directory: permission denied"),
        (
            lib.STEP_LOOKUP_RELATIVE,
            errno.ENOENT,
            b"foo",
            "cannot run executable found relative to current directory",
        ),
    ],
)
def test_program_lookup(step, err, text, sentence):
    assert word(lookup, step, err, 0, text) == f'exec: "foo": {sentence}'


def test_exec():
    sentence = word(lambda p: p.exec(0, ["sh"], []), lib.STEP_EXEC, errno.ENOEXEC, 0, b"/bin/sh")
    assert sentence == "exec /bin/sh: exec format error"


def test_paths_that_are_no_text():
    path = b"/\xff".decode("utf-8", "surrogateescape")
    sentence = word(
        lambda p: p.lookup(path, 0, ""), lib.STEP_LOOKUP_STAT, errno.ENOENT, 0, b"/\xff"
    )
    assert sentence == f'exec: "/\\xff": stat {path}: no such file or directory'


def test_names_in_quotes_are_quoted_as_by_go():
    sentence = word(lambda p: p.lookup('a\n"b"', 0, ""), lib.STEP_LOOKUP_NONE, errno.ENOENT, 0, b"")
    assert sentence == r'exec: "a\n\"b\"": executable file not found in $PATH'
    sentence = word(lambda p: p.chdir("/\n", 0), lib.STEP_CHDIR, errno.ENOENT, 0, b"")
    assert sentence == r'chdir to cwd ("/\n") set in config.json failed: no such file or directory'
    sentence = word(lambda p: p.unmount("/\n"), lib.STEP_UNMOUNT, errno.EINVAL, 0, b"")
    assert sentence.startswith(r'error unmounting "/\n": ')


# --- hooks ---


@pytest.mark.parametrize(
    ("step", "err", "value", "text", "sentence"),
    [
        (lib.STEP_HOOK_EXIT, 0, 1 << 8, b"\0", "exit status 1, stdout: , stderr: "),
        (lib.STEP_HOOK_EXIT, 0, 9, b"out\0err", "signal: killed, stdout: out, stderr: err"),
        (lib.STEP_HOOK_EXIT, 0, 255 << 8, b"a\n\0", "exit status 255, stdout: a\n, stderr: "),
        (lib.STEP_HOOK_TIMEOUT, 0, 9, b"\0", "hook ran past specified timeout of 1.5s"),
        (lib.STEP_HOOK_START, errno.ENOENT, 0, b"/h", "fork/exec /h: no such file or directory"),
    ],
)
def test_hooks(step, err, value, text, sentence):
    lead = "error running createContainer hook #2: "
    assert word(hook, step, err, value, text) == lead + sentence


# --- the rest ---


@pytest.mark.parametrize(
    ("op", "step", "err", "value", "sentence"),
    [
        (
            lambda p: p.chdir("/x", 0),
            lib.STEP_CHDIR,
            errno.ENOTDIR,
            0,
            'chdir to cwd ("/x") set in config.json failed: not a directory',
        ),
        (
            lambda p: p.chdir("/x", 0),
            lib.STEP_CWD_OUTSIDE,
            errno.ENOENT,
            0,
            "current working directory is outside of container mount namespace root "
            "-- possible container breakout detected",
        ),
        (
            lambda p: p.user(5, 6, 1),
            lib.STEP_SETUID,
            errno.EINVAL,
            5,
            "cannot setuid to unmapped uid 5 in user namespace",
        ),
        (
            lambda p: p.user(5, 6, 1),
            lib.STEP_SETGID,
            errno.EINVAL,
            6,
            "cannot setgid to unmapped gid 6 in user namespace",
        ),
        (
            lambda p: p.user(5, 6, 1),
            lib.STEP_SETGROUPS,
            errno.EPERM,
            0,
            "setgroups: operation not permitted",
        ),
        (
            lambda p: p.sysctl("net/ipv4/x", "1"),
            lib.STEP_SYSCTL_OPEN,
            errno.ENOENT,
            0,
            "open /proc/sys/net/ipv4/x: no such file or directory",
        ),
        (
            lambda p: p.sysctl("net/ipv4/x", "1"),
            lib.STEP_SYSCTL_WRITE,
            errno.EINVAL,
            0,
            "write /proc/sys/net/ipv4/x: invalid argument",
        ),
        (
            lambda p: p.label("exec p", "apparmor/exec", "exec"),
            lib.STEP_LABEL,
            errno.ENOENT,
            0,
            "unable to apply apparmor profile: apparmor failed to apply profile: "
            "write /proc/thread-self/attr/apparmor/exec: no such file or directory",
        ),
        (
            lambda p: p.keyring("_ses.c", 0),
            lib.STEP_KEYRING_JOIN,
            errno.EDQUOT,
            0,
            "unable to join session keyring: unable to create session key: disk quota exceeded",
        ),
        (
            lambda p: p.nullio(),
            lib.STEP_NULL,
            errno.ENODEV,
            0,
            "container's /dev/null is invalid: no such device",
        ),
        (
            lambda p: p.mask("/proc/kcore"),
            lib.STEP_NULL,
            errno.ENODEV,
            0,
            "can't mask paths: container's /dev/null is invalid: no such device",
        ),
        (
            lambda p: p.device("/dev/x/y", 0o20666, (1, 3)),
            lib.STEP_MKNOD,
            errno.EPERM,
            0,
            "error creating device nodes: mknod /dev/x/y: operation not permitted",
        ),
        (
            lambda p: p.device("/dev/x/y", 0o20666, (1, 3)),
            lib.STEP_MKDIR,
            errno.ENOTDIR,
            0,
            "error creating device nodes: mkdir /dev/x: not a directory",
        ),
        (
            lambda p: p.join(0, 0x40000000),
            lib.STEP_SETNS,
            errno.EINVAL,
            0,
            "failed to setns into network namespace: invalid argument",
        ),
        (
            lambda p: p.clone(0x60000000),
            lib.STEP_CLONE,
            errno.ENOSPC,
            0,
            "failed to clone with new namespaces (network, pid): no space left on device",
        ),
        (
            lambda p: p.pivot(),
            lib.STEP_PIVOT,
            errno.EINVAL,
            0,
            "error jailing process inside rootfs: pivot_root .: invalid argument",
        ),
    ],
)
def test_sentences(op, step, err, value, sentence):
    assert word(op, step, err, value) == sentence


# Every step of plan.h, and an op that can fail in it.
STEPS = {
    "PLAN PROTOCOL ORPHAN": lambda p: p.sync(1),
    "SETNS": lambda p: p.join(0, 0x20000),
    "DUMPABLE": lambda p: p.dumpable(1),
    "UNSHARE": lambda p: p.unshare(0x2000000),
    "CLONE SETSID PROCFS": lambda p: p.clone(0),
    "CGROUP": lambda p: p.enter([0]),
    "KEYRING_JOIN KEYRING_PERM": lambda p: p.keyring("k", 1),
    "LOOPBACK": lambda p: p.loopback(),
    "HOSTNAME": lambda p: p.hostname("h"),
    "DOMAINNAME": lambda p: p.domainname("d"),
    "SYSCTL_OPEN SYSCTL_WRITE": lambda p: p.sysctl("net/x", "1"),
    "PROPAGATE": lambda p: p.propagate(mounts.MS_SLAVE),
    "ROOT_PRIVATE ROOT_BIND ROOT_OPEN": lambda p: p.root("/r", 1),
    "SOURCE TARGET TARGET_ROOT TARGET_PROC MOUNT MOVED FLAGS RECURSIVE MOUNT_PROPAGATION": bind,
    "TARGET_TYPE COPY_UP IDMAP": tmpfs,
    "RELABEL": lambda p: p.relabel("/dev/mqueue", "l"),
    "REMOUNT": lambda p: p.remount("/x", 1),
    "LED UNMOUNT": lambda p: p.unmount("/x"),
    "SYMLINK UNLINK": lambda p: p.symlink("a", "/dev/fd"),
    "MKNOD DEVICE_VERIFY DEVICE_CHMOD DEVICE_CHOWN DEVICE_BIND": (
        lambda p: p.device("/dev/x", 0o20666, (1, 3))
    ),
    "MKDIR": lambda p: p.mkdir("/x", 0o755),
    "PIVOT": lambda p: p.pivot(),
    "MOVE": lambda p: p.move(),
    "CHROOT": lambda p: p.chroot(),
    "HIDE": lambda p: p.hide("/proc"),
    "NULL": lambda p: p.nullio(),
    "READONLY": lambda p: p.readonly("/x"),
    "MASK": lambda p: p.mask("/x"),
    "PTMX PTS WINSIZE CONSOLE_BIND CONSOLE_SEND CTTY": lambda p: p.console(0, (1, 1), 1),
    "PIDFD": lambda p: p.pidfd(0, "standard"),
    "LABEL": lambda p: p.label("l", "exec"),
    "RLIMIT": lambda p: p.rlimit(7, 1, 2),
    "SCHEDULER": lambda p: p.scheduler((0, 0, 0, 0), (0, 0, 0), "process.scheduler"),
    "IOPRIO": lambda p: p.ioprio(0),
    "PERSONALITY": lambda p: p.personality(8),
    "MEMPOLICY": lambda p: p.mempolicy(0, b""),
    "NNP": lambda p: p.nnp(),
    "SECCOMP": lambda p: p.seccomp(b"", 0),
    "CHDIR CWD_OUTSIDE": lambda p: p.chdir("/", 0),
    "BOUNDING KEEPCAPS": lambda p: p.bounding(0),
    "STDIO_OWNER SETGROUPS SETGID SETUID": lambda p: p.user(0, 0, 1),
    "CAPSET": lambda p: p.caps(0, 0, 0, 0),
    "HOME": lambda p: p.home(0),
    "LOOKUP_NONE LOOKUP_STAT LOOKUP_PERM LOOKUP_RELATIVE": lookup,
    "HOOK_START HOOK_EXIT HOOK_TIMEOUT": hook,
    "AWAIT": lambda p: p.await_(0),
    "EXEC": lambda p: p.exec(0, ["a"], []),
}


def test_every_step_is_worded():
    words = {f"STEP_{step}": op for steps, op in STEPS.items() for step in steps.split()}
    known = {name for name in dir(lib) if name.startswith("STEP_")}
    assert set(words) == known - {"STEP_NONE", "STEP_LAST", "STEP_AMBIENT"}, "ambient is a warning"
    sentences = {name: word(op, getattr(lib, name), errno.EPERM) for name, op in words.items()}
    for name, sentence in sentences.items():
        assert "(step" not in sentence, f"{name} has no words"
    assert len(set(sentences.values())) == len(sentences), "two steps cannot be told apart"


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (lib.STEP_SYMLINK, "error setting up ptmx: symlink pts/ptmx /dev/ptmx: "),
        (lib.STEP_UNLINK, "error setting up ptmx: remove /dev/ptmx: "),
        (lib.STEP_MKDIR, "error setting up ptmx: mkdir /dev: "),
    ],
)
def test_links(step, sentence):
    found = word(lambda p: p.symlink("pts/ptmx", "/dev/ptmx", 1), step, errno.EROFS)
    assert found == f"{sentence}read-only file system"


def test_a_deadline_is_not_for_some_of_the_cpus():
    def op(origin):
        return lambda p: p.scheduler((6, 0, 0, 0), (1, 1, 1), origin)

    cpus = word(op("linux.resources.cpu.cpus"), lib.STEP_SCHEDULER, errno.EPERM)
    assert cpus == "process scheduler can't be used together with AllowedCPUs"
    plain = word(op("process.scheduler"), lib.STEP_SCHEDULER, errno.EPERM)
    assert plain == "error setting scheduler: operation not permitted"


def test_what_is_unknown_still_makes_a_sentence():
    plan = Plan()
    plan.umask(0)
    sentence = failures.word(plan, 0, lib.STEP_LAST, errno.EPERM, 0, b"")
    assert sentence == f"umask (step {lib.STEP_LAST}): operation not permitted"
    assert "operation not permitted" in failures.word(plan, 99, lib.STEP_LAST, errno.EPERM, 0, b"")


def test_warnings():
    assert failures.warning(lib.STEP_AMBIENT, errno.EPERM, 1 << 21) == (
        "can't raise ambient capability CAP_SYS_ADMIN: operation not permitted"
    )
    assert failures.warning(lib.STEP_AMBIENT, errno.EINVAL, 1 << 63 | 1 << 5 | 1) == (
        "can't raise ambient capabilities [CAP_CHOWN CAP_KILL CAP_63]: invalid argument"
    )
    assert "capability CAP_CHOWN" in failures.warning(lib.STEP_CAPSET, errno.EPERM, 1)
    assert failures.warning(lib.STEP_KEYRING_JOIN, errno.ENOSYS, 0)
    assert failures.warning(lib.STEP_LAST, errno.ENOSYS, 0)


# --- mounts remove ---


@pytest.mark.parametrize(
    ("step", "err", "text", "why"),
    [
        (lib.STEP_UNMOUNT, errno.EINVAL, b"", "it is not a mountpoint"),
        (lib.STEP_UNMOUNT, errno.EPERM, b"", "operation not permitted"),
        (lib.STEP_LED, errno.ELOOP, b"/sys", 'a symbolic link leads to "/sys"'),
    ],
)
def test_what_cannot_be_unmounted(step, err, text, why):
    found = word(lambda plan: plan.unmount("/data"), step, err, text=text)
    assert found == f'error unmounting "/data": {why}'

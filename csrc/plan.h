/*
 * plan.h - the vocabulary between pyrunc (Python) and init (C).
 *
 * Included by init, and fed to cffi without its preprocessor lines, so both sides read the numbers
 * from here and no second list exists.
 *
 * A plan is one memfd: a struct plan_header, then `count` ops.  Everything is little endian:
 *
 *     op   u32 code, u32 argc, u32 size        size = bytes of all its arguments
 *     arg  u8 type, u32 length, bytes          no padding
 *
 * Argument types: 'u' an u64 (8 bytes), 's' a string (its NUL is included and counted, and is the
 * only NUL), 'b' bytes, 'f' an u64 that is the index of a passed descriptor.  Every op's signature
 * stands in its comment; "x*" means any number of x, last.  init checks the whole plan against the
 * signatures before it runs the first op.
 */
#ifndef PYRUNC_PLAN_H
#define PYRUNC_PLAN_H

/* clang-format off */

enum plan_constants {
	PLAN_MAGIC = 0x4e4c5050,	/* "PPLN" */
	PLAN_MAX_SIZE = 16777216,
	PLAN_MAX_TEXT = 16384,		/* longest text that follows a message */
};

enum plan_op {
	/* namespaces, in the first stage (a host process until OP_CLONE) */
	OP_JOIN = 1,		/* f u u    setns(descriptor, CLONE_NEW*), JOIN_* */
	OP_UNSHARE,		/* u        unshare(CLONE_NEW*) */
	OP_CLONE,		/* u f*     go on in a child of pyrunc with these CLONE_NEW*, born into the
				 *          first of these cgroup2 directories that takes it */
	OP_ENTER,		/* f*       write "0" to these v1 `tasks` files: moves ourselves */
	OP_DUMPABLE,		/* u        1: we are dumpable, so that an unprivileged pyrunc may write our ID
				 *          maps; 0: no more */
	OP_OWNER,		/* u        become root of our user namespace; 1: and drop all groups */
	/* the conversation */
	OP_SYNC,		/* u        say SYNC_*, wait for the go-ahead */
	/* the environment */
	OP_KEYRING,		/* s u      join session keyring NAME; or-in these key permissions */
	OP_LOOPBACK,		/*          bring lo up */
	OP_HOSTNAME,		/* s */
	OP_DOMAINNAME,		/* s */
	OP_SYSCTL,		/* s s      path below /proc/sys, value */
	/* the root filesystem */
	OP_PROPAGATE,		/* u        mount(2) propagation flags on "/" */
	OP_ROOT,		/* s u      host path of the rootfs: open it; 1: its parent mount becomes
				 *          private and it is bound onto itself first */
	OP_IDMAP,		/* f u u    the next mount, bind or source shows owners as this user namespace maps
				 *          them; 1: so do all mounts below it; not 0: the number of a bind whose
				 *          source only the host may map, with MSG_UNREACHABLE */
	OP_TREE,		/* f        the next bind attaches this mount, which pyrunc has cloned */
	OP_MOUNT,		/* s s s s u u s u*  source, target, fstype, data, MS_* flags, MOUNT_* options,
				 *          bind source to fall back on ("" none), propagation flags */
	OP_BIND,		/* s s u u u u u*  source, target, MS_* set, MS_* cleared, MOUNT_ATTR_* recursive
				 *          set and clear, propagation flags */
	OP_UNMOUNT,		/* s        detach what is mounted there, with all below it; fails if a symlink
				 *          leads there */
	OP_RELABEL,		/* s s      path, SELinux label for it: for a mount that takes no context as data */
	OP_REMOUNT,		/* s u      target, MS_* to add to its present flags (bind remount) */
	OP_SYMLINK,		/* s s u    content, path, 1: replace what is there */
	OP_DEVICE,		/* s u u u u u s u  path, st_mode, major, minor, uid, gid; the path of the host's
				 *          node, for where it has to be bound ("": the same path); if something is
				 *          there already it stays, 1: and must be that device */
	OP_SOURCE,		/* s u      open this path, or after OP_IDMAP clone its mount (MS_REC: with all
				 *          below), and let pyrunc take the descriptor: MSG_SOURCE */
	OP_MKDIR,		/* s u      path, mode: with its missing parents, root 0:0 */
	OP_PIVOT,		/*          pivot_root to the rootfs, drop the old root */
	OP_HIDE,		/* s        host proc or sysfs mount to detach (before OP_MOVE) */
	OP_MOVE,		/*          MS_MOVE the rootfs to "/" and chroot (--no-pivot) */
	OP_CHROOT,		/*          chroot to the rootfs (no mount namespace) */
	OP_NULLIO,		/*          stdio that is /dev/null becomes the container's /dev/null */
	OP_READONLY,		/* s        bind a path onto itself, read-only; absent: skip */
	OP_MASK,		/* s s*     cover a path: file /dev/null, directory empty tmpfs; absent: skip;
				 *          more mount data of the tmpfs */
	/* descriptors for the caller */
	OP_CONSOLE,		/* f u u u  a terminal: its master to this connected socket, its slave is stdio;
				 *          rows, columns (0: leave them); 1: and is bound to /dev/console */
	OP_PIDFD,		/* f s      a pidfd of ours to this connected socket, with this text */
	/* the process */
	OP_UMASK,		/* u */
	OP_RLIMIT,		/* u u u    RLIMIT_*, soft, hard */
	OP_LABEL,		/* s s*     value, attribute files below thread-self/attr: the first that exists */
	OP_NNP,			/*          PR_SET_NO_NEW_PRIVS */
	OP_SCHEDULER,		/* u u u u u u u  SCHED_*, SCHED_FLAG_*, nice, priority, runtime, deadline, period */
	OP_IOPRIO,		/* u        class and priority, as ioprio_set(2) takes them */
	OP_PERSONALITY,		/* u        PER_* */
	OP_MEMPOLICY,		/* u b      MPOL_* with MPOL_F_*, mask of nodes ("" none) */
	OP_SECCOMP,		/* b u      struct sock_filter[], SECCOMP_FILTER_FLAG_*; a listener goes
				 *          to pyrunc */
	OP_CHDIR,		/* s u      cwd; 1: EACCES and EPERM are forgiven (tried again as the user) */
	OP_BOUNDING,		/* u        bounding set to keep */
	OP_USER,		/* u u u u*  uid, gid, 1: call setgroups, groups; owns stdio */
	OP_CAPS,		/* u u u u  effective, permitted, inheritable, ambient masks */
	OP_HOME,		/* u        look HOME of uid up in /etc/passwd, for OP_EXEC */
	OP_LOOKUP,		/* s u s    args[0], 1: PATH is set, PATH */
	OP_HOOK,		/* s s s s u u u s*  label, path, state JSON before and after the pid, timeout in
				 *          ms (u64 max: none), 1: append HOME, argc, then argv and env */
	OP_AWAIT,		/* f        close the conversation; block until a byte comes out of exec.fifo */
	OP_EXEC,		/* u u s*   1: append HOME, argc, then argv and env */
	OP_LAST,
};

enum plan_join {
	JOIN_MUST = 0,
	JOIN_TRY = 1,		/* EPERM: leave the descriptor open, for a JOIN_AGAIN */
	JOIN_AGAIN = 2,		/* if it was refused before, as root of the user namespace */
};

enum plan_mount_option {
	MOUNT_ORDINARY = 1,	/* target must be a plain directory, not a symlink (proc, sysfs) */
	MOUNT_KEEP_MODE = 2,	/* tmpfs: an existing target's mode is prepended to data */
	MOUNT_COPY_UP = 4,	/* tmpcopyup */
};

enum plan_sync {
	SYNC_UNSHARED = 1,	/* a new user or time namespace: host writes ID maps and offsets */
	SYNC_JOINED = 2,	/* in its namespaces and cgroups: host sets OOM score and affinity (exec) */
	SYNC_MOUNTED = 3,	/* mounts are done: host sets limits and OOM score, runs prestart and
				 * createRuntime hooks; in a running container: one of them is done */
	SYNC_READY = 4,		/* all but seccomp and exec is done: host writes the record */
	SYNC_PLACE = 5,		/* the first stage, before all else: host puts it into its cgroups, in
				 * which a child of it is born */
};

/* Messages from init, one per packet: struct { u32 type, op, step; s32 err; u64 value } and text. */
enum plan_message {
	MSG_PID = 1,		/* value: the next stage, as the host sees it; step as for MSG_SYNC */
	MSG_SYNC = 2,		/* value: SYNC_*; step: how many OP_CLONE led to who says it */
	MSG_WARN = 3,		/* step, value: a mask of the capabilities that ambient refuses, ... */
	MSG_FAIL = 4,		/* op index, step, errno, value, text */
	MSG_LISTENER = 5,	/* value: descriptor of a seccomp listener, to be taken before the GO */
	MSG_UNREACHABLE = 6,	/* text: a bind source that we may not reach (value 0), or may not ID-map (value:
				 * the number in OP_IDMAP); the GO brings a descriptor of it, unless pyrunc
				 * cannot open it either; step as for MSG_SYNC */
	MSG_SOURCE = 7,		/* value: descriptor of a bind source, to be taken before the GO */
	MSG_WHY = 8,		/* text: a clause that belongs to the MSG_FAIL that follows */
};

/* Where an op failed. */
enum plan_step {
	STEP_NONE = 0,
	STEP_PLAN,		/* malformed plan */
	STEP_PROTOCOL,		/* pyrunc hung up or answered nonsense */
	STEP_SETNS, STEP_UNSHARE, STEP_DUMPABLE, STEP_CLONE, STEP_CGROUP, STEP_SETSID, STEP_PROCFS,
	STEP_KEYRING_JOIN, STEP_KEYRING_PERM,
	STEP_LOOPBACK, STEP_HOSTNAME, STEP_DOMAINNAME, STEP_SYSCTL_OPEN, STEP_SYSCTL_WRITE,
	STEP_PROPAGATE, STEP_ROOT_PRIVATE, STEP_ROOT_BIND, STEP_ROOT_OPEN,
	STEP_SOURCE,		/* bind source: stat or open */
	STEP_TARGET,		/* mountpoint: resolve or make */
	STEP_TARGET_ROOT,	/* mountpoint is the rootfs itself */
	STEP_TARGET_PROC,	/* mountpoint is in /proc, where a symlink led */
	STEP_TARGET_TYPE,	/* target is a symlink or no directory where a plain one is required */
	STEP_MOUNT,		/* mount(2) or move_mount; value: target descriptor */
	STEP_MOVED,		/* mountpoint moved while re-opening */
	STEP_FLAGS,		/* requested flags on a bind */
	STEP_RECURSIVE,		/* mount_setattr recursive attributes */
	STEP_MOUNT_PROPAGATION,
	STEP_COPY_UP,
	STEP_IDMAP,		/* mount_setattr MOUNT_ATTR_IDMAP; value: f_type of its file system */
	STEP_LED,		/* a symlink leads elsewhere; text: where to */
	STEP_UNMOUNT,
	STEP_RELABEL, STEP_REMOUNT, STEP_SYMLINK, STEP_UNLINK,
	STEP_MKNOD, STEP_DEVICE_VERIFY, STEP_DEVICE_CHMOD, STEP_DEVICE_CHOWN, STEP_DEVICE_BIND,
	STEP_MKDIR, STEP_PIVOT, STEP_MOVE, STEP_CHROOT, STEP_HIDE,
	STEP_NULL,		/* the container's /dev/null is missing or not one */
	STEP_READONLY, STEP_MASK,
	STEP_PTMX, STEP_PTS, STEP_WINSIZE, STEP_CONSOLE_BIND, STEP_CONSOLE_SEND, STEP_CTTY, STEP_PIDFD,
	STEP_SCHEDULER, STEP_IOPRIO, STEP_PERSONALITY, STEP_MEMPOLICY,
	STEP_LABEL, STEP_NNP, STEP_SECCOMP,
	STEP_RLIMIT, STEP_CHDIR, STEP_CWD_OUTSIDE,
	STEP_BOUNDING, STEP_KEEPCAPS, STEP_STDIO_OWNER, STEP_SETGROUPS, STEP_SETGID, STEP_SETUID,
	STEP_CAPSET, STEP_AMBIENT,
	STEP_HOME,
	STEP_LOOKUP_NONE,	/* not found in $PATH */
	STEP_LOOKUP_STAT,	/* err of stat; text: the path */
	STEP_LOOKUP_PERM,	/* no execute permission, or a directory: err says; text: the path */
	STEP_LOOKUP_RELATIVE,	/* found through a relative PATH element */
	STEP_ORPHAN,		/* pyrunc died */
	STEP_HOOK_START,	/* the hook could not be executed: err */
	STEP_HOOK_EXIT,		/* value: wait status; text: stdout NUL stderr */
	STEP_HOOK_TIMEOUT,	/* value: the timeout in milliseconds; text as above */
	STEP_AWAIT, STEP_EXEC,
	STEP_LAST,
};
/* clang-format on */
#endif

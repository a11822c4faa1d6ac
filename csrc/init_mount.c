/*
 * init_mount.c - the entries of mounts[].
 */
#include "mount.h"
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/magic.h>

#define MNT_DETACH 2

enum {
/* mount(2) cuts data off at a page without a word; pages of arm64 may be this large */
#if defined(__aarch64__)
	DATA_MAX = 65536,
#else
	DATA_MAX = 4096,
#endif
	MODE_SIZE = 10, /* "mode=0755," */
	MODE_DATA_MAX = 4096,
};

/* What a user namespace may find locked. */
#define MS_LOCKABLE (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_ATIMES)

/* --- flags --- */

/*
 * What `atime`, `diratime` and `nostrictatime` make of the mount's atime flags, which mount(2) would
 * leave alone: the mode that goes leaves the kernel's own, relatime.  0: nothing.
 */
static u64 cleared_atime(int mnt, u64 set, u64 cleared)
{
	const u64 modes = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;
	u64 has, gone;

	if ((set & modes) || !(cleared & MS_ATIMES) || mount_flags(mnt, &has) < 0)
		return 0;
	gone = has & cleared & (MS_NOATIME | MS_STRICTATIME | MS_NODIRATIME);
	if (!gone)
		return 0;
	has &= ~gone;
	return (has & MS_NODIRATIME) | (has & modes ? has & modes : MS_RELATIME);
}

/*
 * The flags a bind was asked for.  In a user namespace those of the source are locked: keep them,
 * unless the spec says in so many words that they shall go.  Then value is, in MS_*, what cannot be
 * cleared; or, shifted up by 32, the atime mode that cannot be changed.
 */
static int bind_flags(int mnt, u64 set, u64 cleared, struct failure *f)
{
	u64 has, locked;
	int err;

	if (!((set | cleared) & ~(u64)(MS_BIND | MS_REC | MS_REMOUNT)))
		return 0;
	set &= ~(u64)(MS_BIND | MS_REC | MS_REMOUNT);
	set |= cleared_atime(mnt, set, cleared);
	err = mount_exact_flags(mnt, set);
	if (err == 0)
		return 0;
	if (err != -EPERM || mount_flags(mnt, &has) < 0)
		return fail(f, err, STEP_FLAGS);
	locked = has & cleared & MS_LOCKABLE;
	if (locked)
		return fail_value(f, err, STEP_FLAGS, locked);
	if ((set & MS_ATIMES) && (set & MS_ATIMES) != (has & MS_ATIMES))
		return fail_value(f, err, STEP_FLAGS, (has & MS_ATIMES) << 32);
	err = mount_exact_flags(mnt, set | (has & MS_LOCKABLE));
	return err < 0 ? fail(f, err, STEP_FLAGS) : 0;
}

/* Arguments `first` and later: propagation types, one call each. */
static int propagate(int mnt, const struct args *a, u32 first, struct failure *f)
{
	for (u32 i = first; i < a->n; i++) {
		u64 flags = a->v[i].u;
		struct mount_attr attr = { .propagation = flags & ~(u64)MS_REC };
		int err = mount_set_attr(mnt, flags & MS_REC ? AT_RECURSIVE : 0, &attr);

		if (err == -ENOSYS)
			err = mount_at(NULL, mnt, NULL, flags, NULL);
		if (err < 0)
			return fail(f, err, STEP_MOUNT_PROPAGATION);
	}
	return 0;
}

/* --- ID-mapped mounts --- */

/*
 * What OP_IDMAP asked for, done to a mount that nobody sees yet; the kernel wants that.  0, or fails
 * with the type of the file system as the value.
 */
static int map_ids(int tree, struct failure *f)
{
	const int user_ns = self.idmap;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (u64)user_ns };
	struct statfs st = { 0 };
	int err;

	self.idmap = -1;
	err = mount_set_attr(tree, self.idmap_below ? AT_RECURSIVE : 0, &attr);
	if (err == 0)
		return 0;
	(void)sys2(__NR_fstatfs, tree, &st);
	return fail_value(f, err, STEP_IDMAP, (u64)st.f_type & 0xffffffff);
}

int op_idmap(const struct args *a, struct failure *f)
{
	(void)f;
	self.idmap = arg_fd(a, 0);
	self.idmap_below = (int)a->v[1].u;
	self.idmap_asked = a->v[2].u;
	return 0;
}

/* A detached mount of `source` with other owners. */
static int clone_mapped(const char *source, u64 flags, struct failure *f)
{
	int tree = mount_clone(AT_FDCWD, source, flags);

	if (tree < 0)
		return fail(f, tree, STEP_MOUNT);
	if (map_ids(tree, f) < 0) {
		(void)close_fd(tree);
		return -1;
	}
	return tree;
}

/* Bind with other owners.  `tree`: the mapped clone, if the host has made it; else -1. */
static int bind_mapped(const char *source, int tree, int target, u64 flags, struct failure *f)
{
	if (tree >= 0)
		self.idmap = -1;
	else
		tree = clone_mapped(source, flags, f);
	if (tree < 0)
		return -1;
	tree = mount_attach(tree, target);
	return tree < 0 ? fail_value(f, tree, STEP_MOUNT, (u64)target) : tree;
}

/*
 * A mount can only be mapped before it is attached, and mount(2) has attached it: replace it by a mapped
 * copy.  Returns the copy, or -1; `mnt` is closed.
 */
static int remount_mapped(int mnt, int target, struct failure *f)
{
	int tree = mount_clone(mnt, "", 0);
	char path[FD_PATH_MAX];
	long err = tree;

	if (tree >= 0 && map_ids(tree, f) < 0) {
		(void)close_fd(tree);
		(void)close_fd(mnt);
		return -1;
	}
	fd_path(path, mnt);
	if (tree >= 0)
		err = sys1(__NR_fchdir, self.procfs);
	if (err >= 0)
		err = sys2(__NR_umount2, path, MNT_DETACH);
	(void)sys1(__NR_fchdir, self.root);
	(void)close_fd(mnt);
	if (err >= 0)
		err = tree = mount_attach(tree, target);
	return err < 0 ? fail_value(f, err, STEP_MOUNT, (u64)target) : tree;
}

/* --- the ops --- */

/*
 * The mountpoint for a filesystem.  proc and sysfs insist on a directory that no symlink leads to:
 * a fake /proc takes writes meant for the kernel (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561).
 */
static int open_target(const char *path, u64 options, int *ret_existed, struct failure *f)
{
	int flags = options & MOUNT_ORDINARY ? O_NOFOLLOW | O_DIRECTORY : 0;
	int fd = path_open(path, flags), made;

	*ret_existed = fd >= 0;
	if (fd == -ENOENT) {
		made = path_create(path, S_IFDIR | 0755);
		if (made < 0)
			return fail(f, made, STEP_TARGET);
		if (!flags)
			return made;
		(void)close_fd(made);
		fd = path_open(path, flags);
	}
	if (fd >= 0)
		return fd;
	return fail(f, fd,
		    flags && (fd == -ENOTDIR || fd == -ELOOP) ? STEP_TARGET_TYPE : STEP_TARGET);
}

/*
 * Is `target` in the procfs at /proc, although its name does not say so?  A symlink of the image must
 * not put a mount in there (CVE-2023-27561, CVE-2023-28642).
 */
static int led_to_proc(int target, const char *path)
{
	cleanup_fd int proc = -1;
	struct statfs fs;
	u64 one, other;

	if (strlen(path) >= 5 && !memcmp(path, "/proc", 5) && (!path[5] || path[5] == '/'))
		return 0;
	if (sys2(__NR_fstatfs, target, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return 0;
	proc = path_open("/proc", 0);
	return proc >= 0 && mount_id(proc, &one) == 0 && mount_id(target, &other) == 0 &&
	       one == other;
}

/*
 * A mount on the rootfs itself would not be seen, because self.root is a descriptor of what is below
 * it.  Python has already decided by its name what may be mounted on /proc.
 */
static int check_target(int target, const char *path, struct failure *f)
{
	struct statx st, root;
	int err = fd_stat(target, &st);

	if (err == 0)
		err = fd_stat(self.root, &root);
	if (err < 0)
		return fail(f, err, STEP_TARGET);
	if (st.stx_ino == root.stx_ino && st.stx_dev_major == root.stx_dev_major &&
	    st.stx_dev_minor == root.stx_dev_minor && st.stx_mnt_id == root.stx_mnt_id)
		return fail(f, EBUSY, STEP_TARGET_ROOT);
	return led_to_proc(target, path) ? fail(f, EPERM, STEP_TARGET_PROC) : 0;
}

/* "mode=0755,DATA": what the spec says comes later and wins. */
static int prepend_mode(int target, const struct arg *data, char *to)
{
	struct statx st;
	int err = fd_stat(target, &st);

	if (err < 0)
		return err;
	if (data->len + MODE_SIZE >= MODE_DATA_MAX)
		return -E2BIG;
	memcpy(to, "mode=", 5);
	for (int i = 0; i < 4; i++)
		to[5 + i] = (char)('0' + (st.stx_mode >> (9 - 3 * i) & 7));
	to[9] = data->len ? ',' : 0;
	memcpy(to + MODE_SIZE, data->s, data->len + 1);
	return 0;
}

/*
 * Without a cgroup namespace of our own, cgroup2 cannot be mounted in a user namespace: bind the
 * host's instead, or hide it if that is not there either (CVE-2023-25809).
 */
static int mount_cgroup(const struct args *a, int target, struct failure *f)
{
	cleanup_fd int mnt = mount_bind(AT_FDCWD, a->v[6].s, target, a->v[1].s, 0);
	int err = mnt;

	if (mnt >= 0)
		return bind_flags(mnt, a->v[4].u, 0, f);
	if (err == -ENOENT)
		err = mount_empty(target, NULL);
	return err < 0 ? fail_value(f, err, STEP_MOUNT, (u64)target) : 0;
}

int op_mount(const struct args *a, struct failure *f)
{
	const char *path = a->v[1].s, *data = a->v[3].s;
	u64 flags = a->v[4].u, options = a->v[5].u;
	cleanup_fd int target = -1;
	cleanup_fd int mnt = -1;
	char with_mode[MODE_DATA_MAX];
	int err, existed;

	target = open_target(path, options, &existed, f);
	if (target < 0 || check_target(target, path, f) < 0)
		return -1;
	if (existed && (options & MOUNT_KEEP_MODE)) {
		err = prepend_mode(target, &a->v[3], with_mode);
		if (err < 0)
			return fail_value(f, err, STEP_MOUNT, (u64)target);
		data = with_mode;
	}
	err = -E2BIG;
	if (a->v[3].len < DATA_MAX)
		err = mount_at(a->v[0].s, target, a->v[2].s, flags, data);
	if ((err == -EPERM || err == -EBUSY) && a->v[6].len) {
		if (mount_cgroup(a, target, f) < 0)
			return -1;
	} else if (err < 0) {
		return fail_value(f, err, STEP_MOUNT, (u64)target);
	}
	if (flags & MS_REMOUNT)
		return propagate(target, a, 7, f);
	path_anchor(path, -1);
	mnt = mount_reopen(path, options & MOUNT_ORDINARY ? O_NOFOLLOW : 0, target);
	if (mnt < 0)
		return fail(f, mnt, STEP_MOVED);
	/* `target` is the directory below the new mount: what it holds is still there. */
	err = existed && (options & MOUNT_COPY_UP) ? copy_tree(target, mnt) : 0;
	if (err < 0)
		return fail(f, err, STEP_COPY_UP);
	if (self.idmap >= 0) {
		mnt = remount_mapped(mnt, target, f);
		if (mnt < 0)
			return -1;
	}
	if (options & MOUNT_ORDINARY)
		path_anchor(path, mnt);
	return propagate(mnt, a, 7, f);
}

/* Flags, recursive attributes and propagation of a new bind, from the arguments of its OP_BIND. */
static int apply_options(int mnt, const struct args *a, struct failure *f)
{
	struct mount_attr attr = { .attr_set = a->v[4].u, .attr_clr = a->v[5].u };
	int err;

	if (bind_flags(mnt, a->v[2].u, a->v[3].u, f) < 0)
		return -1;
	err = attr.attr_set | attr.attr_clr ? mount_set_attr(mnt, AT_RECURSIVE, &attr) : 0;
	if (err < 0)
		return fail(f, err, STEP_RECURSIVE);
	return propagate(mnt, a, 6, f);
}

/* The mountpoint of a bind, of the source's type. */
static int open_bind_target(const char *path, const struct statx *source, struct failure *f)
{
	int target = path_create(path, is_type(source, S_IFDIR) ? S_IFDIR | 0755 : S_IFREG | 0644);

	if (target < 0)
		return fail(f, target, STEP_TARGET);
	if (check_target(target, path, f) < 0) {
		(void)close_fd(target);
		return -1;
	}
	path_anchor(path, -1);
	return target;
}

int op_tree(const struct args *a, struct failure *f)
{
	(void)f;
	self.tree = arg_fd(a, 0);
	return 0;
}

/* A bind in a running container: its mount is attached last, when all its options are set. */
static int bind_tree(int tree, const struct args *a, struct failure *f)
{
	cleanup_fd int target = -1;
	struct statx st;
	int err = fd_stat(tree, &st);

	target = err < 0 ? fail(f, err, STEP_SOURCE) : open_bind_target(a->v[1].s, &st, f);
	if (target < 0 || apply_options(tree, a, f) < 0) {
		(void)close_fd(tree);
		return -1;
	}
	tree = mount_attach(tree, target);
	if (tree < 0)
		return fail_value(f, tree, STEP_MOUNT, (u64)target);
	(void)close_fd(tree);
	return 0;
}

int op_bind(const struct args *a, struct failure *f)
{
	const char *source = a->v[0].s, *path = a->v[1].s;
	const u64 asked = self.idmap >= 0 ? self.idmap_asked : 0;
	cleanup_fd int given = -1;
	cleanup_fd int target = -1;
	cleanup_fd int mnt = -1;
	struct statx st;
	long err = -EACCES;

	if (self.tree >= 0) {
		int tree = self.tree;

		self.tree = -1;
		return bind_tree(tree, a, f);
	}
	if (!asked)
		err = sys5(__NR_statx, AT_FDCWD, source, 0, STATX_TYPE, &st);
	/* The root of a user namespace may not reach, or map, everything that it is given. */
	if (err == -EACCES) {
		given = ask_for_source(source, asked);
		if (given >= 0) {
			source = "";
			err = fd_stat(given, &st);
		}
	}
	if (err < 0)
		return fail(f, err, STEP_SOURCE);
	target = open_bind_target(path, &st, f);
	if (target < 0)
		return -1;
	if (self.idmap >= 0) {
		mnt = bind_mapped(source, given, target, a->v[2].u & MS_REC, f);
		given = -1; /* it is `mnt` */
		if (mnt < 0)
			return -1;
	} else {
		mnt = mount_bind(given >= 0 ? given : AT_FDCWD, source, target, path,
				 a->v[2].u & MS_REC);
		if (mnt < 0)
			return fail_value(f, mnt, mnt == -ESTALE ? STEP_MOVED : STEP_MOUNT,
					  (u64)target);
	}
	return apply_options(mnt, a, f);
}

int op_source(const struct args *a, struct failure *f)
{
	int fd;

	if (self.idmap >= 0) {
		fd = clone_mapped(a->v[0].s, a->v[1].u, f);
		return fd < 0 ? -1 : send_descriptor(MSG_SOURCE, fd, f);
	}
	fd = (int)sys4(__NR_openat, AT_FDCWD, a->v[0].s, O_PATH | O_CLOEXEC, 0);
	return fd < 0 ? fail(f, fd, STEP_SOURCE) : send_descriptor(MSG_SOURCE, fd, f);
}

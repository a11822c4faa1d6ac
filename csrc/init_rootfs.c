/*
 * init_rootfs.c - the root filesystem around its mounts: entering it, /dev, masked paths.
 */
#include "mount.h"
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/magic.h>
#include <linux/time_types.h>

#define MNT_DETACH 2
#define MQUEUE_MAGIC 0x19800202

enum {
	BUSY_TRIES = 5,
	BUSY_WAIT_NS = 100000000,
};

static int chdir_fd(int fd)
{
	return (int)sys1(__NR_fchdir, fd);
}

static int enter_root(void)
{
	return (int)sys1(__NR_chdir, "/");
}

int op_propagate(const struct args *a, struct failure *f)
{
	long err = sys5(__NR_mount, NULL, "/", NULL, a->v[0].u, NULL);

	return err < 0 ? fail(f, err, STEP_PROPAGATE) : 0;
}

/* --- the rootfs --- */

/*
 * The mount that holds the rootfs becomes private, so that what happens below stays here; and
 * pivot_root() wants it.  EINVAL: not a mountpoint, try the directory above.
 */
static int make_parent_private(const char *rootfs)
{
	char path[PATH_MAX];
	size_t n = strlen(rootfs);
	long err;

	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path, rootfs, n + 1);
	for (;;) {
		err = sys5(__NR_mount, NULL, path, NULL, MS_PRIVATE, NULL);
		if (err != -EINVAL || n <= 1)
			return (int)err;
		while (n > 0 && path[n - 1] != '/')
			n--;
		while (n > 1 && path[n - 1] == '/')
			n--;
		path[n] = 0;
	}
}

/* Bind the rootfs onto itself. The clone is the root: no path is looked up a second time. */
static int bind_rootfs(const char *rootfs, struct failure *f)
{
	long err, fd;

	fd = sys3(__NR_open_tree, AT_FDCWD, rootfs,
		  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (fd >= 0) {
		err = sys5(__NR_move_mount, fd, "", AT_FDCWD, rootfs,
			   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS);
		if (err == 0)
			return (int)fd;
		(void)close_fd((int)fd);
		fd = err;
	}
	if (fd != -ENOSYS)
		return fail(f, fd, STEP_ROOT_BIND);
	err = sys5(__NR_mount, rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL);
	if (err < 0)
		return fail(f, err, STEP_ROOT_BIND);
	fd = sys3(__NR_openat, AT_FDCWD, rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fail(f, fd, STEP_ROOT_OPEN) : (int)fd;
}

int op_root(const struct args *a, struct failure *f)
{
	const int own_mounts = (int)a->v[1].u;
	long err = own_mounts ? make_parent_private(a->v[0].s) : 0;

	if (err < 0)
		return fail(f, err, STEP_ROOT_PRIVATE);
	if (self.host < 0)
		self.host = (int)sys3(__NR_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (self.host < 0)
		return fail(f, self.host, STEP_ROOT_OPEN);
	if (own_mounts)
		self.root = bind_rootfs(a->v[0].s, f);
	else
		self.root = (int)sys4(__NR_openat, AT_FDCWD, a->v[0].s,
				      O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (self.root < 0)
		return own_mounts ? -1 : fail(f, self.root, STEP_ROOT_OPEN);
	err = chdir_fd(self.root);
	return err < 0 ? fail(f, err, STEP_ROOT_OPEN) : 0;
}

/* "/" is the container's from here on: let go of the host's. */
static int root_entered(struct failure *f)
{
	long fd = sys3(__NR_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail(f, fd, STEP_ROOT_OPEN);
	if (self.host >= 0)
		(void)close_fd(self.host);
	if (self.root >= 0)
		(void)close_fd(self.root);
	self.host = -1;
	self.root = (int)fd;
	return 0;
}

/*
 * With the same directory for both, pivot_root() puts the old root on top of the new one: no
 * directory for it is needed in the image.  It is a slave before it goes, or the umount would
 * travel to the host.
 */
int op_pivot(const struct args *a, struct failure *f)
{
	long err = chdir_fd(self.root);

	(void)a;
	if (err == 0)
		err = sys2(__NR_pivot_root, ".", ".");
	if (err == 0)
		err = chdir_fd(self.host);
	if (err == 0)
		err = sys5(__NR_mount, NULL, ".", NULL, MS_SLAVE | MS_REC, NULL);
	if (err == 0)
		err = sys2(__NR_umount2, ".", MNT_DETACH);
	if (err == 0)
		err = enter_root();
	return err < 0 ? fail(f, err, STEP_PIVOT) : root_entered(f);
}

/*
 * Without pivot_root() the host's mounts stay below the container's root. A procfs or sysfs there
 * that nothing is masked in must not be left to be found.
 */
int op_hide(const struct args *a, struct failure *f)
{
	const char *path = a->v[0].s;
	long err = sys5(__NR_mount, NULL, path, NULL, MS_SLAVE | MS_REC, NULL);

	/* it went with a mount above it */
	if (err == -ENOENT || err == -EINVAL)
		return 0;
	if (err == 0)
		err = sys2(__NR_umount2, path, MNT_DETACH);
	/* locked, in a user namespace: cover it */
	if (err == -EPERM || err == -EINVAL)
		err = sys5(__NR_mount, "tmpfs", path, "tmpfs", 0, "");
	return err < 0 ? fail(f, err, STEP_HIDE) : 0;
}

static int chroot_here(struct failure *f)
{
	long err = sys1(__NR_chroot, ".");

	if (err == 0)
		err = enter_root();
	return err < 0 ? fail(f, err, STEP_CHROOT) : root_entered(f);
}

int op_move(const struct args *a, struct failure *f)
{
	long err = chdir_fd(self.root);

	(void)a;
	if (err == 0)
		err = sys5(__NR_mount, ".", "/", NULL, MS_MOVE, NULL);
	return err < 0 ? fail(f, err, STEP_MOVE) : chroot_here(f);
}

int op_chroot(const struct args *a, struct failure *f)
{
	long err = chdir_fd(self.root);

	(void)a;
	return err < 0 ? fail(f, err, STEP_CHROOT) : chroot_here(f);
}

/*
 * Is `target` in the procfs at /proc, although its name does not say so?  A symlink of the image must
 * not put a mount in there (CVE-2023-27561, CVE-2023-28642).
 */
int led_to_proc(int target, const char *path)
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

/* --- names in it --- */

int op_symlink(const struct args *a, struct failure *f)
{
	const char *name;
	/* CVE-2026-41579: /dev may be a symlink in the image; it is followed inside the root only */
	cleanup_fd int parent = path_parent(a->v[1].s, &name);
	long err;

	if (parent < 0)
		return fail(f, parent, STEP_MKDIR);
	if (a->v[2].u) {
		err = sys3(__NR_unlinkat, parent, name, 0);
		if (err < 0 && err != -ENOENT)
			return fail(f, err, STEP_UNLINK);
	}
	err = sys3(__NR_symlinkat, a->v[0].s, parent, name);
	return err < 0 && err != -EEXIST ? fail(f, err, STEP_SYMLINK) : 0;
}

int op_mkdir(const struct args *a, struct failure *f)
{
	cleanup_fd int fd = path_create(a->v[0].s, S_IFDIR | (u32)(a->v[1].u & 07777));
	struct statx st;
	int err;

	if (fd < 0)
		return fail(f, fd, STEP_MKDIR);
	err = fd_stat(fd, &st);
	if (err == 0 && !is_type(&st, S_IFDIR))
		err = -ENOTDIR;
	return err < 0 ? fail(f, err, STEP_MKDIR) : 0;
}

/* --- devices --- */

/* Is it the device that an OP_DEVICE wants? */
static int is_device(int fd, const struct args *a)
{
	struct statx st;

	if (fd_stat(fd, &st) < 0 || !is_type(&st, a->v[1].u & S_IFMT))
		return 0;
	return is_type(&st, S_IFIFO) ||
	       (st.stx_rdev_major == a->v[2].u && st.stx_rdev_minor == a->v[3].u);
}

/* Is it what an earlier bind_device() has left in the image: an empty file that nobody may open? */
static int is_placeholder(int parent, const char *name)
{
	struct statx st;

	return !sys5(__NR_statx, parent, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) &&
	       st.stx_mode == S_IFREG && !st.stx_size;
}

/* A user namespace may not make devices: put the host's node on an empty file. */
static int bind_device(int parent, const char *name, const struct args *a, struct failure *f)
{
	const char *path = a->v[0].s, *source = a->v[6].len ? a->v[6].s : path;
	cleanup_fd int file = -1;
	cleanup_fd int mnt = -1;
	long err = sys4(__NR_mknodat, parent, name, S_IFREG, 0);

	if (err == -EEXIST && !is_placeholder(parent, name))
		return 0;
	if (err < 0 && err != -EEXIST)
		return fail(f, err, STEP_DEVICE_BIND);
	file = (int)sys3(__NR_openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0)
		return fail(f, file, STEP_DEVICE_BIND);
	mnt = mount_bind(AT_FDCWD, source, file, path, 0);
	if (mnt < 0)
		return fail(f, mnt, STEP_DEVICE_BIND);
	/* What the host calls so may be another device. */
	return is_device(mnt, a) ? 0 : fail(f, ENODEV, STEP_DEVICE_VERIFY);
}

/* What was made must be what is there now: a racing rename must not get its mode changed. */
static int finish_device(int fd, const struct args *a, struct failure *f)
{
	u32 mode = (u32)a->v[1].u, uid = (u32)a->v[4].u, gid = (u32)a->v[5].u;
	char path[FD_PATH_MAX];
	struct statx st;
	long err = fd_stat(fd, &st);

	if (err < 0)
		return fail(f, err, STEP_DEVICE_VERIFY);
	if (!is_device(fd, a))
		return fail(f, ENODEV, STEP_DEVICE_VERIFY);
	/* A default ACL or a setgid directory had a say in it. */
	if ((st.stx_mode & 07777) != (mode & 07777)) {
		fd_path(path, fd);
		err = sys3(__NR_fchmodat, self.procfs, path, mode & 07777);
		if (err < 0)
			return fail(f, err, STEP_DEVICE_CHMOD);
	}
	if (st.stx_uid != uid || st.stx_gid != gid)
		err = sys5(__NR_fchownat, fd, "", uid, gid, AT_EMPTY_PATH);
	return err < 0 ? fail(f, err, STEP_DEVICE_CHOWN) : 0;
}

/* What is there already must be it. */
static int check_device(int parent, const char *name, const struct args *a, struct failure *f)
{
	cleanup_fd int fd = (int)sys3(__NR_openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && is_device(fd, a) ? 0 : fail(f, fd < 0 ? fd : ENODEV, STEP_DEVICE_VERIFY);
}

int op_device(const struct args *a, struct failure *f)
{
	const char *path = a->v[0].s, *name;
	u64 dev = make_dev(a->v[2].u, a->v[3].u);
	cleanup_fd int parent = path_parent(path, &name);
	cleanup_fd int fd = -1;
	long err;

	if (parent < 0)
		return fail(f, parent, STEP_MKDIR);
	err = sys4(__NR_mknodat, parent, name, a->v[1].u, dev);
	if (err == -EPERM || (err == -EEXIST && is_placeholder(parent, name)))
		return bind_device(parent, name, a, f);
	if (err == -EEXIST)
		return a->v[7].u ? check_device(parent, name, a, f) : 0;
	if (err < 0)
		return fail(f, err, STEP_MKNOD);
	fd = (int)sys3(__NR_openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(f, fd, STEP_DEVICE_VERIFY);
	return finish_device(fd, a, f);
}

static int is_null(int fd)
{
	struct statx st;

	return fd_stat(fd, &st) == 0 && is_type(&st, S_IFCHR) && st.stx_rdev_major == 1 &&
	       st.stx_rdev_minor == 3;
}

/*
 * The container's /dev/null as an O_PATH descriptor.  CVE-2025-31133: the image may have put
 * something else there, so it is looked at after it was opened, and used by descriptor only.
 */
static int container_null(struct failure *f)
{
	int fd;

	if (self.null >= 0)
		return self.null;
	fd = path_open("/dev/null", 0);
	if (fd < 0)
		return fail(f, fd, STEP_NULL);
	if (!is_null(fd)) {
		(void)close_fd(fd);
		return fail(f, ENODEV, STEP_NULL);
	}
	self.null = fd;
	return fd;
}

int op_nullio(const struct args *a, struct failure *f)
{
	cleanup_fd int opened = -1;
	char path[FD_PATH_MAX];
	long err;

	(void)a;
	for (int fd = 0; fd < 3; fd++) {
		if (!is_null(fd))
			continue;
		if (opened < 0) {
			int null = container_null(f);

			if (null < 0)
				return -1;
			fd_path(path, null);
			opened = (int)sys3(__NR_openat, self.procfs, path, O_RDWR | O_CLOEXEC);
		}
		if (opened < 0)
			return fail(f, opened, STEP_NULL);
		err = sys3(__NR_dup3, opened, fd, 0);
		if (err < 0)
			return fail(f, err, STEP_NULL);
	}
	return 0;
}

/*
 * The container made the tree that the path leads through: a symlink in it may lead to a mask, which
 * is not what was meant.
 */
int op_unmount(const struct args *a, struct failure *f)
{
	static char real[PATH_MAX];
	const char *path = a->v[0].s;
	cleanup_fd int mnt = path_open(path, 0);
	char link[FD_PATH_MAX];
	long n, err;

	if (mnt < 0)
		return fail(f, mnt, STEP_UNMOUNT);
	fd_path(link, mnt);
	n = sys4(__NR_readlinkat, self.procfs, link, real, sizeof(real) - 1);
	if (n < 0)
		return fail(f, n, STEP_UNMOUNT);
	real[n] = 0;
	if (strcmp(real, path))
		return fail_text(f, ELOOP, STEP_LED, real);
	err = sys1(__NR_fchdir, self.procfs);
	if (err == 0)
		err = sys2(__NR_umount2, link, MNT_DETACH);
	(void)sys1(__NR_fchdir, self.root);
	return err < 0 ? fail(f, err, STEP_UNMOUNT) : 0;
}

/*
 * SELinux trusts not every file system with a label in its mount data.  Only the root of message
 * queues is labelled here: in a running container the path may lead to a file of the host by now.
 */
int op_relabel(const struct args *a, struct failure *f)
{
	cleanup_fd int fd = path_open(a->v[0].s, 0);
	char path[FD_PATH_MAX];
	struct statfs fs;
	long err = fd;

	if (fd >= 0)
		err = sys2(__NR_fstatfs, fd, &fs);
	if (err >= 0)
		err = fs.f_type == MQUEUE_MAGIC ? sys1(__NR_fchdir, self.procfs) : -ESTALE;
	if (err >= 0) {
		fd_path(path, fd);
		err = sys5(__NR_setxattr, path, "security.selinux", a->v[1].s, a->v[1].len + 1, 0);
		(void)sys1(__NR_fchdir, self.root);
	}
	return err < 0 ? fail(f, err, STEP_RELABEL) : 0;
}

/* --- what turns read-only at last, readonlyPaths and maskedPaths --- */

int op_remount(const struct args *a, struct failure *f)
{
	const struct __kernel_timespec wait = { .tv_nsec = BUSY_WAIT_NS };
	cleanup_fd int mnt = path_open(a->v[0].s, 0);
	int err;

	if (mnt < 0)
		return fail(f, mnt, STEP_REMOUNT);
	/* EBUSY: a writer that is about to close its file, a virus scanner for one. */
	for (int tries = 1;; tries++) {
		err = mount_add_flags(mnt, a->v[1].u);
		if (err != -EBUSY || tries == BUSY_TRIES)
			break;
		(void)sys2(__NR_nanosleep, &wait, NULL);
	}
	return err < 0 ? fail(f, err, STEP_REMOUNT) : 0;
}

/*
 * Do `act` to what the path leads to, and to what it leads to from the mount on /proc or /sys, if
 * that is something else: the image may have moved the one away, or have covered the other.
 */
static int at_both(const struct args *a, u32 step, struct failure *f,
		   int (*act)(int target, const struct args *a, struct failure *f))
{
	const char *path = a->v[0].s;
	cleanup_fd int named = path_open(path, 0);
	cleanup_fd int anchored = path_open_anchored(path);
	u64 one, other;

	if (named < 0 && named != -ENOENT)
		return fail(f, named, step);
	if (anchored < 0 && anchored != -ENOENT)
		return fail(f, anchored, step);
	if (named >= 0 && anchored >= 0 && mount_id(named, &one) == 0 &&
	    mount_id(anchored, &other) == 0 && one == other) {
		(void)close_fd(anchored);
		anchored = -ENOENT;
	}
	if (named >= 0 && act(named, a, f) < 0)
		return -1;
	return anchored >= 0 ? act(anchored, a, f) : 0;
}

static int make_readonly(int target, const struct args *a, struct failure *f)
{
	const char *path = a->v[0].s;
	cleanup_fd int mnt = mount_bind(target, "", target, path, MS_REC);
	int err = mnt < 0 ? mnt : mount_add_flags(mnt, MS_RDONLY);

	if (err < 0)
		return fail(f, err, STEP_READONLY);
	path_anchor(path, mnt);
	return 0;
}

int op_readonly(const struct args *a, struct failure *f)
{
	return at_both(a, STEP_READONLY, f, make_readonly);
}

int mount_empty(int target, const struct arg *more)
{
	char data[4096] = "nr_blocks=1,nr_inodes=1";
	const size_t n = strlen(data);
	int err;

	if (more) {
		if (more->len >= sizeof(data) - n - 1)
			return -E2BIG;
		data[n] = ',';
		memcpy(data + n + 1, more->s, more->len + 1);
	}
	err = mount_at("tmpfs", target, "tmpfs", MS_RDONLY, data);
	/* Old kernels count the root directory twice. */
	data[n - 1] = '2';
	return err < 0 ? mount_at("tmpfs", target, "tmpfs", MS_RDONLY, data) : 0;
}

/* The first masked directory gets a tmpfs of its own, all others a bind of that one. */
static int mask_directory(int target, const struct args *a)
{
	const char *path = a->v[0].s;
	int mnt, err;

	if (self.empty >= 0) {
		mnt = mount_bind(self.empty, "", target, path, 0);
		if (mnt >= 0)
			(void)close_fd(mnt);
		return mnt < 0 ? mnt : 0;
	}
	err = mount_empty(target, a->n > 1 ? &a->v[1] : NULL);
	if (err < 0)
		return err;
	self.empty = mount_reopen(path, 0, target);
	return self.empty < 0 ? self.empty : 0;
}

static int mask(int target, const struct args *a, struct failure *f)
{
	const char *path = a->v[0].s;
	cleanup_fd int mnt = -1;
	struct statx st;
	int err = fd_stat(target, &st), null;

	if (err < 0)
		return fail(f, err, STEP_MASK);
	path_anchor(path, -1);
	if (is_type(&st, S_IFDIR)) {
		err = mask_directory(target, a);
		return err < 0 ? fail(f, err, STEP_MASK) : 0;
	}
	null = container_null(f);
	if (null < 0)
		return -1;
	mnt = mount_bind(null, "", target, path, 0);
	return mnt < 0 ? fail(f, mnt, STEP_MASK) : 0;
}

int op_mask(const struct args *a, struct failure *f)
{
	return at_both(a, STEP_MASK, f, mask);
}

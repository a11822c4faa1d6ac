/*
 * init_rootfs.c - the root filesystem: entering it, names in it, and mounts that are there already.
 */
#include "mount.h"
#include <asm/statfs.h>
#include <linux/errno.h>

#define MNT_DETACH 2
#define MQUEUE_MAGIC 0x19800202

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

	/* it was unmounted together with a mount above it */
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

/* --- what is mounted there --- */

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

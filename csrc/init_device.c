/*
 * init_device.c - device nodes, and the container's /dev/null, which others use, too.
 */
#include "mount.h"
#include <linux/errno.h>

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
 * CVE-2025-31133: the image may have put something else there, so it is looked at after it was opened,
 * and used by descriptor only.
 */
int container_null(struct failure *f)
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

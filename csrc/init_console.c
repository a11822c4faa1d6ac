/*
 * init_console.c - descriptors for the caller: the master of the terminal, and our own pidfd.
 *
 * The terminal is one of the container's devpts.  The image, or a container that shares the mount
 * namespace, may have put anything at /dev/pts/N (CVE-2025-52565), so nothing is used by its path:
 * /dev/pts/ptmx is looked at after it was opened, and its slave comes from the kernel.
 */
#include "mount.h"
#include <asm/ioctls.h>
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/magic.h>

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define MSG_NOSIGNAL 0x4000

static const char ptmx[] = "/dev/pts/ptmx";

struct winsize {
	u16 rows, columns, width, height;
};

/* Send `fd` and a text, in one message, over a connected socket. */
static long send_fd(int sock, int fd, const char *text, size_t length)
{
	struct {
		const void *base;
		size_t length;
	} part = { text, length };
	struct {
		size_t length;
		int level, type, fd, padding;
	} control = { offsetof(typeof(control), padding), SOL_SOCKET, SCM_RIGHTS, fd, 0 };
	const struct {
		void *name;
		u32 name_length;
		void *parts;
		size_t count;
		void *control;
		size_t control_length;
		u32 flags;
	} message = { NULL, 0, &part, 1, &control, sizeof(control), 0 };
	long ret;

	do
		ret = sys3(__NR_sendmsg, sock, &message, MSG_NOSIGNAL);
	while (ret == -EINTR);
	return ret;
}

/* Is `fd` this character device of a devpts?  0 or -errno. */
static int verify_pts(int fd, u32 major, u32 minor, struct statx *st)
{
	struct statfs fs;
	long err = sys2(__NR_fstatfs, fd, &fs);

	if (err == 0)
		err = fd_stat(fd, st);
	if (err < 0)
		return (int)err;
	if (fs.f_type != DEVPTS_SUPER_MAGIC || !is_type(st, S_IFCHR) ||
	    st->stx_rdev_major != major || st->stx_rdev_minor != minor)
		return -ENODEV;
	return 0;
}

/* Open for use what an O_PATH descriptor names. */
static int open_again(int fd)
{
	char path[FD_PATH_MAX];

	fd_path(path, fd);
	return (int)sys3(__NR_openat, self.procfs, path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int open_master(void)
{
	cleanup_fd int fd = path_open(ptmx, O_NOFOLLOW);
	struct statx st;
	int err = fd < 0 ? fd : verify_pts(fd, 5, 2, &st);

	if (err == 0 && st.stx_ino != 2)
		err = -ENODEV;
	return err < 0 ? err : open_again(fd);
}

static int open_slave(int master)
{
	char path[32] = "/dev/pts/";
	cleanup_fd int fd = -1;
	struct statx st;
	int number = 0;
	long err = sys3(__NR_ioctl, master, TIOCSPTLCK, &number);

	if (err < 0)
		return (int)err;
	err = sys3(__NR_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (err != -ENOTTY && err != -EINVAL)
		return (int)err;
	/* before Linux 4.13 */
	err = sys3(__NR_ioctl, master, TIOCGPTN, &number);
	if (err < 0)
		return (int)err;
	*put_u64(path + 9, (u64)number) = 0;
	fd = path_open(path, O_NOFOLLOW);
	err = fd < 0 ? fd : verify_pts(fd, 136, (u32)number, &st);
	return err < 0 ? (int)err : open_again(fd);
}

/* The terminal is the container's /dev/console. */
static int bind_console(int slave)
{
	const char *name;
	cleanup_fd int parent = path_parent("/dev/console", &name);
	cleanup_fd int target = -1;
	cleanup_fd int mnt = -1;
	struct statx st;
	long err;

	if (parent < 0)
		return parent;
	err = sys4(__NR_mknodat, parent, name, S_IFREG | 0666, 0);
	if (err < 0 && err != -EEXIST)
		return (int)err;
	target = (int)sys3(__NR_openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	err = target < 0 ? target : fd_stat(target, &st);
	if (err < 0)
		return (int)err;
	if (is_type(&st, S_IFLNK))
		return -ELOOP;
	mnt = mount_bind(slave, "", target, "/dev/console", 0);
	return mnt < 0 ? mnt : 0;
}

int op_console(const struct args *a, struct failure *f)
{
	const struct winsize size = { .rows = (u16)a->v[1].u, .columns = (u16)a->v[2].u };
	cleanup_fd int master = open_master();
	cleanup_fd int slave = -1;
	long err;

	if (master < 0)
		return fail(f, master, STEP_PTMX);
	slave = open_slave(master);
	if (slave < 0)
		return fail(f, slave, STEP_PTS);
	if (size.rows && size.columns) {
		err = sys3(__NR_ioctl, master, TIOCSWINSZ, &size);
		if (err < 0)
			return fail(f, err, STEP_WINSIZE);
	}
	if (a->v[3].u) {
		err = bind_console(slave);
		if (err < 0)
			return fail(f, err, STEP_CONSOLE_BIND);
	}
	/* Nobody needs to have accepted the connection: the message waits in the listener's queue. */
	err = send_fd(arg_fd(a, 0), master, ptmx, sizeof(ptmx) - 1);
	(void)close_fd(arg_fd(a, 0));
	if (err < 0)
		return fail(f, err, STEP_CONSOLE_SEND);
	for (int fd = 0; fd < 3; fd++) {
		err = sys3(__NR_dup3, slave, fd, 0);
		if (err < 0)
			return fail(f, err, STEP_PTS);
	}
	/* OP_CLONE made us the leader of a session that has no terminal yet. */
	err = sys3(__NR_ioctl, 0, TIOCSCTTY, 0);
	return err < 0 ? fail(f, err, STEP_CTTY) : 0;
}

int op_pidfd(const struct args *a, struct failure *f)
{
	cleanup_fd int pidfd = (int)sys2(__NR_pidfd_open, sys0(__NR_getpid), 0);
	long err = pidfd;

	if (pidfd >= 0)
		err = send_fd(arg_fd(a, 0), pidfd, a->v[1].s, a->v[1].len);
	(void)close_fd(arg_fd(a, 0));
	return err < 0 ? fail(f, err, STEP_PIDFD) : 0;
}

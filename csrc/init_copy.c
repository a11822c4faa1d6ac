/*
 * init_copy.c - tmpcopyup: what a mountpoint holds, copied into the tmpfs on top of it.
 *
 * As `cp -a` does it: owners, modes, times, extended attributes, holes, and what is linked stays so.
 * Nobody else sees the new tree yet, so names in it can be trusted.
 */
#include "mount.h"
#include <linux/errno.h>
#include <linux/time_types.h>

#define SEEK_SET 0
#define SEEK_DATA 3
#define SEEK_HOLE 4
#define AT_REMOVEDIR 0x200

enum {
	COPY_DEPTH = 128,
	LIST_MAX = 65536,  /* XATTR_LIST_MAX */
	VALUE_MAX = 65536, /* XATTR_SIZE_MAX */
	LINK_NAME = 64,
};

/*
 * Files with more than one name: the first copy is also linked here, by device and inode, and the
 * other names are links to that.  It is made when it is needed, and removed at the end.
 */
static const char *const links_name = ".pyrunc-tmpcopyup-links";
static int links = -1;
static int copy_root;

static int copy_dir(int from, int to, u32 depth);

/* --- content --- */

/* The data between `at` and `end`. */
static long copy_extent(int in, int out, s64 at, s64 end)
{
	long n = sys3(__NR_lseek, out, at, SEEK_SET);

	while (n >= 0 && at < end) {
		n = sys4(__NR_sendfile, out, in, &at, end - at);
		if (n == 0)
			break; /* it was cut off meanwhile */
	}
	return n < 0 ? n : 0;
}

static int copy_content(int in, int out, s64 size)
{
	s64 at = 0;
	long err = 0;

	while (err == 0 && at < size) {
		s64 data = sys3(__NR_lseek, in, at, SEEK_DATA), hole;

		if (data == -ENXIO)
			break; /* a hole up to the end */
		hole = data < 0 ? data : sys3(__NR_lseek, in, data, SEEK_HOLE);
		if (hole == -EINVAL) { /* its file system knows nothing of holes */
			data = at;
			hole = size;
		}
		if (hole < 0)
			return (int)hole;
		err = copy_extent(in, out, data, hole);
		at = hole;
	}
	return err < 0 ? (int)err : (int)sys2(__NR_ftruncate, out, size);
}

static int copy_file(int from, int to, const char *name, u64 size)
{
	cleanup_fd int in = -1;
	cleanup_fd int out = -1;
	struct statx st;
	long err;

	in = (int)sys3(__NR_openat, from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in < 0)
		return in;
	/* Somebody who shares the directory may have made it a device meanwhile. */
	err = sys5(__NR_statx, in, "", AT_EMPTY_PATH, STATX_TYPE, &st);
	if (err < 0 || !is_type(&st, S_IFREG))
		return err < 0 ? (int)err : -ESTALE;
	out = (int)sys4(__NR_openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			0600);
	return out < 0 ? out : copy_content(in, out, (s64)size);
}

static int copy_link(int from, int to, const char *name)
{
	char text[PATH_MAX];
	long n = sys4(__NR_readlinkat, from, name, text, sizeof(text) - 1);

	if (n < 0)
		return (int)n;
	text[n] = 0;
	return (int)sys3(__NR_symlinkat, text, to, name);
}

static int copy_subdir(int from, int to, const char *name, u32 depth)
{
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int in = -1;
	cleanup_fd int out = -1;
	long err = sys3(__NR_mkdirat, to, name, 0700);

	if (err < 0)
		return (int)err;
	in = (int)sys3(__NR_openat, from, name, flags);
	if (in < 0)
		return in;
	out = (int)sys3(__NR_openat, to, name, flags);
	return out < 0 ? out : copy_dir(in, out, depth + 1);
}

/* --- attributes --- */

static int copy_xattr(int from, int to, const char *name, const char *key)
{
	static char value[VALUE_MAX];
	long n = sys1(__NR_fchdir, from);

	if (n == 0)
		n = sys4(__NR_lgetxattr, name, key, value, sizeof(value));
	if (n == -ENODATA)
		return 0;
	if (n < 0)
		return (int)n;
	if (sys1(__NR_fchdir, to) < 0)
		return -EIO;
	n = sys5(__NR_lsetxattr, name, key, value, n, 0);
	/* user.* is news to tmpfs (Linux 6.6), ACLs are an option, others are the host's root's. */
	return n == -EOPNOTSUPP || n == -EPERM ? 0 : (int)n;
}

/* There are no such calls with a directory: work in both, in turn. */
static int copy_xattrs(int from, int to, const char *name)
{
	static char list[LIST_MAX];
	long n = sys1(__NR_fchdir, from), err = 0;

	if (n == 0)
		n = sys3(__NR_llistxattr, name, list, sizeof(list));
	for (const char *key = list; err == 0 && key < list + n; key += strlen(key) + 1)
		/* the label of what is in the tmpfs is the tmpfs's */
		if (strcmp(key, "security.selinux") != 0)
			err = copy_xattr(from, to, name, key);
	(void)sys1(__NR_fchdir, self.root);
	if (n < 0 && n != -EOPNOTSUPP)
		return (int)n;
	return (int)err;
}

/* In this order: a new owner takes setuid and capabilities away, a new mode changes an ACL. */
static int copy_attributes(int from, int to, const char *name, const struct statx *st)
{
	const struct __kernel_timespec times[2] = {
		{ st->stx_atime.tv_sec, st->stx_atime.tv_nsec },
		{ st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec },
	};
	long err = sys5(__NR_fchownat, to, name, st->stx_uid, st->stx_gid, AT_SYMLINK_NOFOLLOW);

	if (err == 0 && !is_type(st, S_IFLNK))
		err = sys3(__NR_fchmodat, to, name, st->stx_mode & 07777);
	if (err == 0)
		err = copy_xattrs(from, to, name);
	if (err == 0)
		err = sys4(__NR_utimensat, to, name, times, AT_SYMLINK_NOFOLLOW);
	return (int)err;
}

/* --- names --- */

static void link_name(char *to, const struct statx *st)
{
	to = put_u64(to, st->stx_dev_major);
	*to++ = '-';
	to = put_u64(to, st->stx_dev_minor);
	*to++ = '-';
	*put_u64(to, st->stx_ino) = 0;
}

/* Another name of what was copied already: 1.  0: this is the first. */
static int copy_hard_link(int to, const char *name, const struct statx *st)
{
	char first[LINK_NAME];
	long err;

	if (links < 0)
		return 0;
	link_name(first, st);
	err = sys5(__NR_linkat, links, first, to, name, 0);
	if (err == -ENOENT)
		return 0;
	return err < 0 ? (int)err : 1;
}

static int remember_hard_link(int to, const char *name, const struct statx *st)
{
	char first[LINK_NAME];

	if (links < 0) {
		long err = sys3(__NR_mkdirat, copy_root, links_name, 0700);

		if (err < 0)
			return (int)err;
		links = (int)sys3(__NR_openat, copy_root, links_name,
				  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (links < 0)
			return links;
	}
	link_name(first, st);
	return (int)sys5(__NR_linkat, to, name, links, first, 0);
}

static int copy_entry(int from, int to, const char *name, u32 depth)
{
	const u32 wanted = STATX_BASIC_STATS;
	struct statx st;
	long err = sys5(__NR_statx, from, name, AT_SYMLINK_NOFOLLOW, wanted, &st);
	int linked;

	if (err < 0)
		return (int)err;
	linked = !is_type(&st, S_IFDIR) && st.stx_nlink > 1;
	if (linked) {
		err = copy_hard_link(to, name, &st);
		if (err)
			return err < 0 ? (int)err : 0;
	}
	switch (st.stx_mode & S_IFMT) {
	case S_IFDIR:
		err = copy_subdir(from, to, name, depth);
		break;
	case S_IFREG:
		err = copy_file(from, to, name, st.stx_size);
		break;
	case S_IFLNK:
		err = copy_link(from, to, name);
		break;
	default:
		err = sys4(__NR_mknodat, to, name, st.stx_mode,
			   make_dev(st.stx_rdev_major, st.stx_rdev_minor));
	}
	if (err == 0)
		err = copy_attributes(from, to, name, &st);
	if (err == 0 && linked)
		err = remember_hard_link(to, name, &st);
	return (int)err;
}

struct dirent {
	u64 ino;
	s64 off;
	u16 size;
	u8 type;
	char name[];
};

/* Call act(from, to, name, depth) for every name in the directory `in`. */
static int each_name(int in, int from, int to, u32 depth, int (*act)(int, int, const char *, u32))
{
	char buf[2048] __attribute__((aligned(8)));
	long n;

	while ((n = sys3(__NR_getdents64, in, buf, sizeof(buf))) > 0) {
		const struct dirent *e;

		for (long i = 0; i < n; i += e->size) {
			int err;

			e = (const struct dirent *)(buf + i);
			if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
				continue;
			err = act(from, to, e->name, depth);
			if (err < 0)
				return err;
		}
	}
	return (int)n;
}

static int copy_dir(int from, int to, u32 depth)
{
	cleanup_fd int in = -1;

	if (depth > COPY_DEPTH)
		return -ELOOP;
	in = (int)sys3(__NR_openat, from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return in < 0 ? in : each_name(in, in, to, depth, copy_entry);
}

static int remove_name(int from, int to, const char *name, u32 depth)
{
	(void)from;
	(void)depth;
	return (int)sys3(__NR_unlinkat, to, name, 0);
}

int copy_tree(int from, int to)
{
	long err;

	copy_root = to;
	err = copy_dir(from, to, 0);
	if (links < 0)
		return (int)err;
	if (err == 0)
		err = each_name(links, links, links, 0, remove_name);
	(void)close_fd(links);
	links = -1;
	if (err == 0)
		err = sys3(__NR_unlinkat, to, links_name, AT_REMOVEDIR);
	return (int)err;
}

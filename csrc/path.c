/*
 * path.c - see path.h.
 *
 * openat2() does the work where it can.  walk() does what openat2() cannot: it makes what is
 * missing, and it serves kernels before 5.6.
 */
#include "path.h"
#include <linux/errno.h>
#include <linux/openat2.h>

enum {
	MAX_LINKS = 40, /* the kernel's own limit */
	RACE_TRIES = 16,
	REST_SIZE = 2 * PATH_MAX,
	F_DUPFD_CLOEXEC = 1030,
};

/*
 * The state of a walk.  `done` is the text of the real directories passed so far, `rest` what is
 * still to come: it ends at the end of its buffer and grows to the left when a symlink is met.
 */
struct walk {
	int fd; /* the directory reached; self.root is not owned */
	u32 links;
	u32 done_len;
	char *at; /* the next byte of rest */
	char done[PATH_MAX];
	char rest[REST_SIZE];
};

int fd_stat(int fd, struct statx *ret)
{
	return (int)sys5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, ret);
}

void fd_path(char *to, int fd)
{
	memcpy(to, "self/fd/", 8);
	*put_u64(to + 8, (u64)fd) = 0;
}

int mount_id(int fd, u64 *ret_id)
{
	char path[FD_PATH_MAX + 4] = "self/fdinfo/";
	char text[512];
	cleanup_fd int info = -1;
	struct statx st;
	long n = fd_stat(fd, &st);
	u64 id = 0;

	if (n < 0)
		return (int)n;
	if (st.stx_mask & STATX_MNT_ID) {
		*ret_id = st.stx_mnt_id;
		return 0;
	}
	/* before Linux 5.8 */
	*put_u64(path + 12, (u64)fd) = 0;
	info = (int)sys3(__NR_openat, self.procfs, path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return info;
	n = sys3(__NR_read, info, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	text[n] = 0;
	for (const char *at = text; at + 7 < text + n; at++) {
		if (memcmp(at, "mnt_id:", 7))
			continue;
		for (at += 7; *at == ' ' || *at == '\t'; at++)
			;
		for (; *at >= '0' && *at <= '9'; at++)
			id = id * 10 + (u64)(*at - '0');
		*ret_id = id;
		return 0;
	}
	return -ENOSYS;
}

static void walk_enter(struct walk *w, int fd)
{
	if (w->fd != self.root)
		(void)close_fd(w->fd);
	w->fd = fd;
}

static void walk_restart(struct walk *w)
{
	walk_enter(w, self.root);
	w->done_len = 0;
}

/* Put `n` bytes in front of what is still to come. `text` may lie in rest itself. */
static int walk_push(struct walk *w, const char *text, size_t n)
{
	if ((size_t)(w->at - w->rest) < n + 1)
		return -ENAMETOOLONG;
	if (*w->at)
		*--w->at = '/';
	while (n > 0)
		*--w->at = text[--n];
	return 0;
}

/*
 * Take the next name off the rest: its length, 0 at the end, or -errno.  A slash after the last
 * name stays, and says like the kernel that this name is a directory.
 */
static int walk_name(struct walk *w, char *name)
{
	u32 n = 0;

	while (*w->at == '/')
		w->at++;
	for (; *w->at && *w->at != '/'; w->at++) {
		if (n == NAME_MAX)
			return -ENAMETOOLONG;
		name[n++] = *w->at;
	}
	name[n] = 0;
	return (int)n;
}

/* "." and ".." are found in directories only. */
static int walk_stay(struct walk *w)
{
	int fd = (int)sys3(__NR_openat, w->fd, ".", O_PATH | O_CLOEXEC);

	if (fd < 0)
		return fd;
	walk_enter(w, fd);
	return 0;
}

/*
 * ".." never asks the kernel: a directory that is moved out of the root meanwhile has its ".." on
 * the host.  The walk starts over with one name less.
 */
static int walk_up(struct walk *w)
{
	u32 n = w->done_len;
	int err;

	while (n > 0 && w->done[n - 1] != '/')
		n--;
	while (n > 0 && w->done[n - 1] == '/')
		n--;
	err = walk_push(w, w->done, n);
	walk_restart(w);
	return err;
}

/* The name just taken is the last one, and no slash follows. */
static int walk_last(const struct walk *w)
{
	return !*w->at;
}

/* Make the missing `name`.  CVE-2024-45310: one name at a time, in a directory that is open. */
static int walk_make(const struct walk *w, const char *name, u32 mode)
{
	const int found = O_PATH | O_NOFOLLOW | O_CLOEXEC;
	u32 bits = (mode & S_IFMT) == S_IFDIR ? mode & 07777 : 0755;
	long err;

	if (walk_last(w) && (mode & S_IFMT) == S_IFREG)
		err = sys4(__NR_openat, w->fd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			   mode & 07777);
	else
		err = sys3(__NR_mkdirat, w->fd, name, bits);
	if (err > 0 || (err < 0 && err != -EEXIST))
		return (int)err;
	return (int)sys3(__NR_openat, w->fd, name, found);
}

/* Follow the symlink open at `fd`, if it is one: 1 when it was. */
static int walk_link(struct walk *w, int fd)
{
	size_t room = (size_t)(w->at - w->rest);
	long n = -ENAMETOOLONG;
	int err;

	if (room > 0)
		n = sys4(__NR_readlinkat, fd, "", w->rest, room);
	if (n == -EINVAL || n == -ENOENT)
		return 0;
	if (n < 0)
		return (int)n;
	if (++w->links > MAX_LINKS)
		return -ELOOP;
	if (n == 0)
		return -ENOENT;
	if (w->rest[0] == '/')
		walk_restart(w);
	err = walk_push(w, w->rest, (size_t)n);
	return err < 0 ? err : 1;
}

/* One name further: 0, 1 when `fd` became the answer, or -errno. */
static int walk_step(struct walk *w, const char *name, u32 len, int flags, u32 mode)
{
	int fd, err;

	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		err = walk_stay(w);
		return err < 0 || len == 1 ? err : walk_up(w);
	}
	fd = (int)sys3(__NR_openat, w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -ENOENT && mode)
		fd = walk_make(w, name, mode);
	if (fd < 0)
		return fd;
	if (walk_last(w) && (flags & O_NOFOLLOW)) {
		walk_enter(w, fd);
		return 1;
	}
	err = walk_link(w, fd);
	if (err == 0 && w->done_len + len + 1 >= PATH_MAX)
		err = -ENAMETOOLONG;
	if (err != 0) {
		(void)close_fd(fd);
		return err < 0 ? err : 0;
	}
	w->done[w->done_len++] = '/';
	memcpy(w->done + w->done_len, name, len);
	w->done_len += len;
	walk_enter(w, fd);
	return 0;
}

/* The answer of a walk as a descriptor that the caller owns. */
static int walk_result(struct walk *w, int flags)
{
	struct statx st;
	int err;

	if (w->fd == self.root || w->at[-1] == '/') {
		err = walk_stay(w);
		if (err < 0) {
			walk_restart(w);
			return err;
		}
	}
	if (!(flags & O_DIRECTORY))
		return w->fd;
	err = fd_stat(w->fd, &st);
	if (err == 0 && !is_type(&st, S_IFDIR))
		err = -ENOTDIR;
	if (err == 0)
		return w->fd;
	(void)close_fd(w->fd);
	return err;
}

/* Resolve name by name; with a mode, make what is missing. */
static int walk(const char *path, int flags, u32 mode)
{
	char name[NAME_MAX + 1];
	size_t len = strlen(path);
	struct walk w;
	int n, err;

	if (len == 0 || len >= PATH_MAX)
		return len ? -ENAMETOOLONG : -ENOENT;
	w.fd = self.root;
	w.links = 0;
	w.done_len = 0;
	w.at = w.rest + REST_SIZE - len - 1;
	memcpy(w.at, path, len + 1);
	do {
		n = walk_name(&w, name);
		if (n <= 0)
			break;
		n = err = walk_step(&w, name, (u32)n, flags, mode);
	} while (err == 0);
	if (n >= 0)
		return walk_result(&w, flags);
	walk_restart(&w);
	return n;
}

int path_open(const char *path, int flags)
{
	struct open_how how = {
		.flags = (u64)(O_PATH | O_CLOEXEC | flags),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int tries = RACE_TRIES;
	long fd;

	/* EAGAIN: something was renamed while ".." was looked up; walk() does not mind. */
	do {
		fd = sys4(__NR_openat2, self.root, path, &how, sizeof(how));
	} while (fd == -EAGAIN && --tries > 0);
	if (fd == -EAGAIN || fd == -ENOSYS)
		return walk(path, flags, 0);
	return (int)fd;
}

int path_create(const char *path, u32 mode)
{
	int fd = path_open(path, 0);

	return fd == -ENOENT ? walk(path, 0, mode) : fd;
}

int path_parent(const char *path, const char **ret_name)
{
	char dir[PATH_MAX];
	size_t len = strlen(path), n = len;
	const char *name;
	int fd;

	while (n > 0 && path[n - 1] != '/')
		n--;
	name = path + n;
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (n >= PATH_MAX || len - n > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(dir, path, n);
	dir[n] = 0;
	fd = path_open(n ? dir : "/", O_DIRECTORY);
	if (fd == -ENOENT)
		fd = walk(dir, O_DIRECTORY, S_IFDIR | 0755);
	if (fd >= 0)
		*ret_name = name;
	return fd;
}

static struct {
	const char *path;
	u32 length;
	int fd;
} anchors[] = { { "/proc", 5, -1 }, { "/sys", 4, -1 } };

void path_anchor(const char *path, int fd)
{
	for (u32 i = 0; i < sizeof(anchors) / sizeof(*anchors); i++) {
		if (strcmp(path, anchors[i].path))
			continue;
		if (anchors[i].fd >= 0)
			(void)close_fd(anchors[i].fd);
		anchors[i].fd = fd < 0 ? -1 : (int)sys3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, 0);
	}
}

int path_open_anchored(const char *path)
{
	struct open_how how = {
		.flags = (u64)(O_PATH | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	for (u32 i = 0; i < sizeof(anchors) / sizeof(*anchors); i++) {
		const u32 n = anchors[i].length;
		long fd;

		if (anchors[i].fd < 0 || strlen(path) <= n + 1 ||
		    memcmp(path, anchors[i].path, n) || path[n] != '/')
			continue;
		fd = sys4(__NR_openat2, anchors[i].fd, path + n + 1, &how, sizeof(how));
		return fd == -ENOSYS ? -ENOENT : (int)fd;
	}
	return -ENOENT;
}

void path_close_anchors(void)
{
	for (u32 i = 0; i < sizeof(anchors) / sizeof(*anchors); i++)
		path_anchor(anchors[i].path, -1);
}

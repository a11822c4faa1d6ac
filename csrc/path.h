/*
 * path.h - paths of the container, resolved beneath self.root.
 *
 * No path of a container is ever handed to the kernel against "/": an image may hold symlinks to
 * anywhere, and another container may exchange directories while we look (CVE-2021-30465).
 */
#ifndef PYRUNC_PATH_H
#define PYRUNC_PATH_H

#include "init.h"
#include <linux/stat.h>

enum {
	PATH_MAX = 4096,
	NAME_MAX = 255,
	FD_PATH_MAX = 32,
};

/*
 * Open what `path` names beneath self.root, as an O_PATH descriptor.  `flags`: O_NOFOLLOW (a last
 * symlink is opened itself), O_DIRECTORY.  Returns a descriptor or -errno.
 */
int path_open(const char *path, int flags);

/*
 * The same, following symlinks, and what is missing is made: directories if `mode` is
 * S_IFDIR | bits, or a last empty file if it is S_IFREG | bits.  What exists may be of any type.
 */
int path_create(const char *path, u32 mode);

/*
 * Open the directory that holds the last name of `path`; missing directories are made 0755.
 * *ret_name points into `path`; it is never "", "." or "..".
 */
int path_parent(const char *path, const char **ret_name);

/*
 * Remember the mount on /proc or /sys (fd is duplicated); -1: forget it, because it has been covered.
 * For other paths this does nothing.
 */
void path_anchor(const char *path, int fd);

/*
 * As path_open(path, 0), but the rest of the path is resolved in the remembered mount that it begins
 * with; -ENOENT if there is none.  So nothing escapes its mask because the image's /proc was renamed.
 */
int path_open_anchored(const char *path);

/* Let go of the anchors. */
void path_close_anchors(void);

/* statx of an open descriptor, with its mount id. 0 or -errno. */
int fd_stat(int fd, struct statx *ret);

/* The number of the mount that `fd` is on: 0 or -errno. */
int mount_id(int fd, u64 *ret_id);

/* "self/fd/N", to be used against self.procfs. `to` has FD_PATH_MAX bytes. */
void fd_path(char *to, int fd);

static inline int is_type(const struct statx *st, u32 type)
{
	return (st->stx_mode & S_IFMT) == type;
}

/* A device number as mknod(2) takes it. */
static inline u64 make_dev(u64 major, u64 minor)
{
	return (minor & 0xff) | (major << 8) | ((minor & ~(u64)0xff) << 12);
}

#endif

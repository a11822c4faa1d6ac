/*
 * mount.c - see mount.h.
 */
#include "mount.h"
#include <asm/statfs.h>
#include <linux/errno.h>

/* Flags of a mount, as against those of its filesystem. */
#define ATTR_PLAIN                                                                                 \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |            \
	 MOUNT_ATTR_NOSYMFOLLOW)
/* statfs(2) says these two in its own way. */
#define ST_RELATIME 0x1000
#define ST_NOSYMFOLLOW 0x2000

/* --- mounting onto a descriptor --- */

int mount_at(const char *source, int target, const char *type, u64 flags, const char *data)
{
	char to[FD_PATH_MAX];
	long err;

	fd_path(to, target);
	err = sys1(__NR_fchdir, self.procfs);
	if (err < 0)
		return (int)err;
	err = sys5(__NR_mount, source, to, type, flags, data);
	(void)sys1(__NR_fchdir, self.root);
	return (int)err;
}

int mount_reopen(const char *path, int flags, int target)
{
	int fd = path_open(path, flags);
	u64 before, after;
	struct statx st;
	int err;

	if (fd < 0)
		return fd;
	err = mount_id(target, &before);
	if (err == 0)
		err = mount_id(fd, &after);
	if (err == 0)
		err = fd_stat(fd, &st);
	if (err == 0 && before == after)
		err = -ESTALE;
	/* Linux 5.8 also says whether this is the top of its mount. */
	if (err == 0 && (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
	    !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		err = -ESTALE;
	if (err == 0)
		return fd;
	(void)close_fd(fd);
	return err;
}

/* move_mount() has EINVAL for a directory on a file; mount(2), and everyone's reader, ENOTDIR. */
static int wrong_type(int tree, int target)
{
	struct statx a, b;

	if (fd_stat(tree, &a) < 0 || fd_stat(target, &b) < 0)
		return 0;
	return is_type(&a, S_IFDIR) != is_type(&b, S_IFDIR);
}

static int bind_old(int dir, const char *source, int target, const char *path, u64 flags)
{
	char from[FD_PATH_MAX];
	int err;

	if (!*source) {
		fd_path(from, dir);
		source = from;
	}
	err = mount_at(source, target, NULL, MS_BIND | flags, NULL);
	return err < 0 ? err : mount_reopen(path, 0, target);
}

int mount_clone(int dir, const char *source, u64 flags)
{
	u32 how = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;

	if (flags & MS_REC)
		how |= AT_RECURSIVE;
	return (int)sys3(__NR_open_tree, dir, source, how);
}

int mount_attach(int tree, int target)
{
	long err = sys5(__NR_move_mount, tree, "", target, "",
			MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);

	if (err == 0)
		return tree;
	if (err == -EINVAL && wrong_type(tree, target))
		err = -ENOTDIR;
	(void)close_fd(tree);
	return (int)err;
}

int mount_bind(int dir, const char *source, int target, const char *path, u64 flags)
{
	int mnt = mount_clone(dir, source, flags);

	if (mnt >= 0)
		mnt = mount_attach(mnt, target);
	return mnt == -ENOSYS ? bind_old(dir, source, target, path, flags) : mnt;
}

/* --- flags --- */

int mount_set_attr(int mnt, u32 how, const struct mount_attr *attr)
{
	return (int)sys5(__NR_mount_setattr, mnt, "", AT_EMPTY_PATH | how, attr, sizeof(*attr));
}

/* MS_* as what a remount would make of them; atime only if some atime flag is there. */
static u64 to_attr(u64 flags)
{
	u64 attr = 0;

	/* these four have the same number */
	attr |= flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	if (flags & MS_NOSYMFOLLOW)
		attr |= MOUNT_ATTR_NOSYMFOLLOW;
	if (flags & MS_NODIRATIME)
		attr |= MOUNT_ATTR_NODIRATIME;
	if (flags & MS_STRICTATIME)
		attr |= MOUNT_ATTR_STRICTATIME;
	else if (flags & MS_NOATIME)
		attr |= MOUNT_ATTR_NOATIME;
	return attr;
}

static u64 atime_mask(u64 flags)
{
	return flags & MS_ATIMES ? MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME : 0;
}

int mount_flags(int mnt, u64 *ret_flags)
{
	struct statfs st;
	long err = sys2(__NR_fstatfs, mnt, &st);
	u64 has = (u64)st.f_flags, flags;

	if (err < 0)
		return (int)err;
	flags = has & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME);
	if (has & ST_RELATIME)
		flags |= MS_RELATIME;
	if (has & ST_NOSYMFOLLOW)
		flags |= MS_NOSYMFOLLOW;
	if (!(flags & (MS_NOATIME | MS_RELATIME)))
		flags |= MS_STRICTATIME;
	*ret_flags = flags;
	return 0;
}

int mount_add_flags(int mnt, u64 flags)
{
	struct mount_attr attr = {
		.attr_set = to_attr(flags),
		.attr_clr = flags & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME) ? MOUNT_ATTR__ATIME
										: 0,
	};
	int err = mount_set_attr(mnt, 0, &attr);
	u64 has;

	if (err != -ENOSYS)
		return err;
	err = mount_flags(mnt, &has);
	if (err < 0)
		return err;
	if (attr.attr_clr)
		has &= ~(u64)(MS_NOATIME | MS_RELATIME | MS_STRICTATIME);
	return mount_at(NULL, mnt, NULL, MS_BIND | MS_REMOUNT | has | flags, NULL);
}

int mount_exact_flags(int mnt, u64 flags)
{
	struct mount_attr attr = { .attr_set = to_attr(flags) };
	int err;

	attr.attr_clr = (ATTR_PLAIN & ~attr.attr_set) | atime_mask(flags);
	err = mount_set_attr(mnt, 0, &attr);
	if (err == -ENOSYS)
		err = mount_at(NULL, mnt, NULL, MS_BIND | MS_REMOUNT | flags, NULL);
	return err;
}

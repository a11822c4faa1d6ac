/*
 * init_mask.c - what turns read-only once all is made: mounts, readonlyPaths and maskedPaths.
 */
#include "mount.h"
#include <linux/errno.h>
#include <linux/time_types.h>

enum {
	BUSY_TRIES = 5,
	BUSY_WAIT_NS = 100000000,
};

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
 * Call `act` for what the path leads to and, if it is something else, for what the rest of the path
 * leads to within the mount on /proc or /sys.  A symlink or a rename in the image can make the two
 * differ, and both must be covered.
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

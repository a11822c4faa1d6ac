/*
 * mount.h - mounting onto descriptors, for init_mount.c and init_rootfs.c; tmpcopyup.
 *
 * A mountpoint is a descriptor that path.c resolved, never a string (CVE-2021-30465).  The new
 * mount calls (Linux 5.2 and 5.12) take descriptors; mount(2) reaches them as "self/fd/N".
 */
#ifndef PYRUNC_MOUNT_H
#define PYRUNC_MOUNT_H

#include "path.h"
#include <linux/mount.h>

/* mount(2) onto the open `target`. `source` is an absolute path, or "self/fd/N", or no path. */
int mount_at(const char *source, int target, const char *type, u64 flags, const char *data);

/*
 * Bind what `source` (a path, or "" for `dir` itself) names onto `target`, which `path` led to.
 * `flags`: MS_REC or 0.  Returns a descriptor of the new mount, or -errno.
 */
int mount_bind(int dir, const char *source, int target, const char *path, u64 flags);

/*
 * Open what was just mounted onto `target` through `path` once more, and make sure that it is
 * that: -ESTALE if the path leads elsewhere now.
 */
int mount_reopen(const char *path, int flags, int target);

/* init_rootfs.c: is `target` in the procfs at /proc, although its name does not say so? */
int led_to_proc(int target, const char *path);

/* Add MS_* flags to the mount open at `mnt`, keeping its others. */
int mount_add_flags(int mnt, u64 flags);

/* init_copy.c: fill the empty directory at `to` with all that is at `from`.  0 or -errno. */
int copy_tree(int from, int to);

/* init_rootfs.c: mount an empty, read-only tmpfs; with more mount data, or NULL. */
int mount_empty(int target, const struct arg *more);

#endif

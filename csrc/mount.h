/*
 * mount.h - mounts by their descriptors, for the ops that make and change them; tmpcopyup.
 *
 * A mountpoint is a descriptor that path.c resolved, never a string (CVE-2021-30465).  The new
 * mount calls (Linux 5.2 and 5.12) take descriptors; mount(2) reaches them as "self/fd/N".
 */
#ifndef PYRUNC_MOUNT_H
#define PYRUNC_MOUNT_H

#include "path.h"
#include <linux/mount.h>

/* All that mount(2) has for access times: a mode, and whether it is for directories, too. */
#define MS_ATIMES (MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME)

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

/* A detached copy of the mount at `source` (as for mount_bind()), with MS_REC of all below it. */
int mount_clone(int dir, const char *source, u64 flags);

/* Attach a detached mount to `target`: returns `tree`; it is closed on failure. */
int mount_attach(int tree, int target);

/* mount_setattr(2) of the mount open at `mnt`.  `how`: AT_RECURSIVE or 0. */
int mount_set_attr(int mnt, u32 how, const struct mount_attr *attr);

/* The mount's MS_* flags; one that is neither noatime nor relatime has MS_STRICTATIME. */
int mount_flags(int mnt, u64 *ret_flags);

/* Add MS_* flags, keeping the others. */
int mount_add_flags(int mnt, u64 flags);

/* Give the mount exactly these flags; its atime mode stays unless one is asked for. */
int mount_exact_flags(int mnt, u64 flags);

/* init_copy.c: fill the empty directory at `to` with all that is at `from`.  0 or -errno. */
int copy_tree(int from, int to);

/* init_mask.c: mount an empty, read-only tmpfs; with more mount data, or NULL. */
int mount_empty(int target, const struct arg *more);

/*
 * init_device.c: the container's /dev/null as an O_PATH descriptor, which is kept for the next one
 * who asks; or -1 and a failure.
 */
int container_null(struct failure *f);

#endif

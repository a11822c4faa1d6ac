/*
 * core.h - what pyrunc._core offers Python: the few system calls it lacks, and no policy.
 * The front uses some of it, too.
 *
 * build.py feeds the part below the marker to cffi.  Every function returns a result >= 0, or -errno.
 */
#ifndef PYRUNC_CORE_H
#define PYRUNC_CORE_H

#include <stddef.h>
#include <stdint.h>

/* cffi */
/* A sealed, executable memfd with the bytes of the file at path. */
int core_seal(const char *path);

/*
 * Run the sealed init.  It gets fds[0..n-1] as descriptors base..base+n-1 (the socket, the plan, what
 * the plan's 'f' arguments name), keeps 3..base-1 as they are here, and nothing else.  stdio[i] >= 0
 * replaces descriptor i.  Returns the pid of the child.
 */
int core_spawn(int exe, int base, const int *fds, int n, const int *stdio);

/*
 * A socket to rtnetlink in the net namespace that the descriptor is of, or in ours (-1).  A child
 * makes it there: we stay where we are.
 */
int core_netlink(int namespace);
int core_socketpair(int *ret_pair);
/* A stream socket connected to the unix socket at path, however long that is. */
int core_connect(const char *path);
/* The descriptor that comes with the next message of a socket; the message itself is dropped. */
int core_recv_fd(int sock);
/* Let the calling thread share its working directory and umask with no other thread from now on. */
int core_leave_directory(void);
/* Our own copy of another process's descriptor. */
int core_pidfd_getfd(int pidfd, int fd);
int core_prlimit(int pid, int resource, uint64_t soft, uint64_t hard);
/* Our own soft and hard limit of descriptors. */
int core_nofile(uint64_t *ret_pair);
int core_subreaper(int on);
/* Bind a tree, with private propagation; unmount it again, with all below it. */
int core_bind(const char *source, const char *target);
int core_unbind(const char *target);
/* A descriptor of a detached copy of the mount at path; recursive: with all mounts below it. */
int core_clone_mount(const char *path, int recursive);
int core_bpf(int command, void *attr, unsigned int size);
uint64_t core_hash64(const void *bytes, size_t size);
/* Block every signal and return a signalfd that reports them. */
int core_signalfd(void);
/*
 * 1 if a POSIX extended regular expression matches somewhere in text, else 0.  If it is none: why, in
 * the `size` bytes of ret_why, and -EINVAL.
 */
int core_matches(const char *pattern, const char *text, char *ret_why, size_t size);
/* 1 if this kernel accepts the SECCOMP_FILTER_FLAG_* bit, else 0. */
int core_seccomp_flag(unsigned int flag);
#endif

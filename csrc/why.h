/*
 * why.h - what init says about a failure besides its errno.
 *
 * After the failure, the process that failed looks once more: only it has that root, those mounts and
 * those rights.  What cannot be made out stays unsaid: no clause is better than a wrong one.
 *
 * The words are in C and not in Python, because a program that cannot be executed is found so when
 * pyrunc is gone.  None may be of those by which engines choose an exit status, which come from the
 * errno only: a clause in which a name says one of them stays unsaid.
 *
 * The image may be hostile.  Only regular files are opened, only a part of them is read, and no call
 * is made that our own filter does not allow.
 */
#ifndef PYRUNC_WHY_H
#define PYRUNC_WHY_H

#include "path.h"

#define ERRNO_WORDS                                                                                \
	"executable file", "no such file", "no such process", "not found", "permission denied",    \
		"operation not permitted", "not a directory", "is a directory"

/* Add to the clause: words, a name that the image may have chosen, a number to that base. */
void say(const char *text);
void say_name(const char *name);
void say_number(u64 number, u64 base);

/*
 * init_filter.c: a system call, or -ENOSYS if our seccomp filter would do anything but allow it: an
 * errno of the filter's tells nothing about a path.
 */
long call_if_allowed(long n, long a, long b, long c, long d, long e);
#define try5(n, a, b, c, d, e)                                                                     \
	call_if_allowed(n, SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), SYS_ARG(e))

/* Where a path starts: at our "/" or cwd, beneath self.root, or in /proc/sys. */
enum place {
	PLAIN,
	BENEATH_ROOT,
	SYSCTL,
};

/* What a path names, as O_PATH.  Nobody closes it: the process ends after this. */
int open_part(enum place place, const char *path, int flags);
long stat_fd(int fd, struct statx *st);

/* Which component of `path` is the reason for `err`?  1 if none is: all of it can be opened. */
int blame_path(enum place place, const char *path, s32 err);

/*
 * init_why_exec.c: why the program at `path` cannot be executed.  `deep`: execve() says so, and the
 * reason may be an interpreter.
 */
void blame_program(const char *path, s32 err, int deep);

#endif

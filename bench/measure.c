/*
 * measure.c - run a command and say what it cost.
 *
 *     measure [-1] OUTPUT COMMAND [ARG...]
 *
 * Writes "wall-ns user-us system-us peak-KiB status" to OUTPUT.  It is small and static because a child's
 * peak memory starts with that of the process it was forked from: measured from Python, nothing would
 * ever be below ten megabytes.
 *
 * -1: in a mount namespace without /sys/fs/cgroup/unified.  crun refuses hosts that mount both cgroup
 * versions, and what is compared must see the same host.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void hide_unified(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(126, "mount namespace");
	if (umount2("/sys/fs/cgroup/unified", MNT_DETACH))
		err(126, "/sys/fs/cgroup/unified");
}

int main(int argc, char **argv)
{
	struct timespec before, after;
	struct rusage usage;
	int output, status, error;
	pid_t pid;

	if (argc > 1 && strcmp(argv[1], "-1") == 0) {
		hide_unified();
		argv++;
		argc--;
	}
	if (argc < 3)
		errx(126, "usage: measure [-1] OUTPUT COMMAND [ARG...]");
	output = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (output < 0)
		err(126, "%s", argv[1]);

	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	error = posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ);
	if (error)
		errx(126, "%s: %s", argv[2], strerror(error));
	if (wait4(pid, &status, 0, &usage) < 0)
		err(126, "wait4");
	(void)clock_gettime(CLOCK_MONOTONIC, &after);

	dprintf(output, "%lld %lld %lld %ld %d\n",
		(after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec,
		usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec,
		usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec, usage.ru_maxrss,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

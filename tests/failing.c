/*
 * failing.c - run a program, and let one of the system calls that it or its children make go wrong.
 *
 *     failing REPORT MARK WHO NTH WHAT PROGRAM [ARG...]
 *
 * REPORT  gets a line for each call that was counted: its number.  What cannot fail is not counted.
 * MARK    counting begins when a file is opened whose path has this in it; "" begins at once
 * WHO     the calls of processes with this name count; "" those of the program itself
 * NTH     which of them goes wrong, from 1; 0 none
 * WHAT    the errno that it gives, or a signal that the process gets before it, as a negative number
 *
 * The calls arrive through a seccomp listener, at a process of our own that stays as long as anybody
 * has the filter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What cannot fail, as long as it is asked for something sensible, or from which nobody returns. */
static const unsigned int safe[] = {
	SYS_brk,
	SYS_close,
	SYS_close_range,
	SYS_exit,
	SYS_exit_group,
	SYS_futex,
	SYS_getegid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getpid,
	SYS_getrandom,
	SYS_gettid,
	SYS_getuid,
	SYS_lseek,
	SYS_madvise,
	SYS_mprotect,
	SYS_munmap,
	SYS_rseq,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_set_robust_list,
	SYS_set_tid_address,
	SYS_sigaltstack,
	SYS_umask,
	SYS_uname,
};

static int report;
static const char *mark, *who;
static long nth, what;
static pid_t program;
static long counted;
static int counting;

/* The part of a file of /proc/PID, or of its memory, that fits. */
static ssize_t look(pid_t pid, const char *name, off_t at, char *to, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, to, size - 1, at);
	(void)close(fd);
	to[n > 0 ? n : 0] = '\0';
	return n;
}

static int is_counted(const struct seccomp_notif *call)
{
	char text[4096];

	if (!counting && call->data.nr == SYS_openat) {
		/* A string near the end of a mapping is read in part. */
		(void)look((pid_t)call->pid, "mem", (off_t)call->data.args[1], text, sizeof(text));
		counting = strstr(text, mark) != NULL;
	}
	if (!counting)
		return 0;
	if (!*who)
		return (pid_t)call->pid == program;
	(void)look((pid_t)call->pid, "comm", 0, text, sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	return !strcmp(text, who);
}

static void answer(int listener)
{
	struct seccomp_notif call = { 0 };
	struct seccomp_notif_resp reply = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return; /* killed meanwhile */
	reply.id = call.id;
	if (is_counted(&call)) {
		(void)dprintf(report, "%d\n", call.data.nr);
		if (++counted == nth && what < 0) {
			(void)kill((pid_t)call.pid, (int)-what);
		} else if (counted == nth) {
			reply.flags = 0;
			reply.error = (int)-what;
		}
	}
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

static void watch(int pidfd, int listener)
{
	struct pollfd item = { .events = POLLIN };

	/* The number of its descriptor is known before it exists. */
	while ((item.fd = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0)) < 0 && errno == EBADF)
		(void)sched_yield();
	if (item.fd < 0)
		return;
	while (poll(&item, 1, -1) > 0 && !(item.revents & POLLHUP))
		answer(item.fd);
}

static int listen_to_calls(void)
{
	struct sock_filter filter[2 * sizeof(safe) / sizeof(*safe) + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog code = { .filter = filter, .len = 1 };

	for (size_t i = 0; i < sizeof(safe) / sizeof(*safe); i++) {
		filter[code.len++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, safe[i], 0, 1);
		filter[code.len++] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[code.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	/* Whose call has been taken here is woken by no signal. */
	return (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &code);
}

int main(int argc, char **argv)
{
	int pidfd, listener;

	if (argc < 7)
		return 2;
	mark = argv[2];
	who = argv[3];
	nth = strtol(argv[4], NULL, 10);
	what = strtol(argv[5], NULL, 10);
	counting = !*mark;
	program = getpid();
	report = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	pidfd = (int)syscall(SYS_pidfd_open, program, 0);
	listener = dup(report);
	if (report < 0 || pidfd < 0 || listener < 0) {
		perror("failing");
		return 2;
	}
	(void)close(listener);
	if (!fork()) {
		if (!fork()) {
			(void)setsid();
			for (int fd = 0; fd < 3; fd++)
				(void)close(fd);
			watch(pidfd, listener);
		}
		_exit(0);
	}
	(void)wait(NULL);
	if (listen_to_calls() < 0) {
		perror("failing: seccomp");
		return 2;
	}
	(void)execv(argv[6], argv + 6);
	perror(argv[6]);
	return 127;
}

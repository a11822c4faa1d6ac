/* core.c - see core.h.  Runs inside the Python process or the front, on the host, and nowhere else. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* Linux 6.3 */
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438 /* Linux 5.6 */
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428 /* Linux 5.2 */
#endif
#ifndef OPEN_TREE_CLONE /* glibc 2.36 */
#define OPEN_TREE_CLONE 1U
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* Descriptors that init can get: the plan's, and one per mapping of ID-mapped mounts. */
enum {
	PASS_MAX = 512
};

int core_seal(const char *path)
{
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct stat st;
	off_t done = 0;
	int in, out, err;

	in = open(path, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	/* MFD_EXEC states the intent where vm.memfd_noexec is set; older kernels refuse the flag. */
	out = memfd_create("pyrunc-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (out < 0 && errno == EINVAL)
		out = memfd_create("pyrunc-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (out < 0 || fstat(in, &st) < 0)
		goto fail;
	while (done < st.st_size) {
		ssize_t n = sendfile(out, in, NULL, (size_t)(st.st_size - done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!n)
				errno = EIO;
			goto fail;
		}
		done += n;
	}
	if (fchmod(out, 0511) < 0)
		goto fail;
	(void)fcntl(out, F_ADD_SEALS, F_SEAL_EXEC);
	if (fcntl(out, F_ADD_SEALS, seals) < 0)
		goto fail;
	(void)close(in);
	return out;
fail:
	err = errno;
	(void)close(in);
	if (out >= 0)
		(void)close(out);
	return -err;
}

/* In the vfork child: put the descriptors in their places.  0, or errno. */
static int place(int exe, int base, const int *fds, int n, const int *stdio)
{
	/* All targets lie below `high`, so nothing is overwritten before it has been moved. */
	const int high = base + n + 1;
	int moved[PASS_MAX], in[3] = { -1, -1, -1 }, i;

	for (i = 0; i < n; i++)
		if ((moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, high)) < 0)
			return errno;
	for (i = 0; i < 3; i++)
		if (stdio[i] >= 0 && (in[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, high)) < 0)
			return errno;
	if ((exe = fcntl(exe, F_DUPFD_CLOEXEC, high)) < 0)
		return errno;
	for (i = 0; i < n; i++)
		if (dup2(moved[i], base + i) < 0)
			return errno;
	for (i = 0; i < 3; i++)
		if (in[i] >= 0 && dup2(in[i], i) < 0)
			return errno;
	if (dup3(exe, base + n, O_CLOEXEC) < 0)
		return errno;
	if (syscall(SYS_close_range, (unsigned int)high, ~0U, 0U) < 0) {
		/* Linux < 5.9: what we were given is short; close the rest one by one. */
		long max = sysconf(_SC_OPEN_MAX);

		for (i = high; i < max; i++)
			(void)close(i);
	}
	return 0;
}

int core_spawn(int exe, int base, const int *fds, int n, const int *stdio)
{
	volatile int err = 0;
	char number[16], total[16];
	char *argv[] = { (char *)"pyrunc:init", number, total, NULL };
	char *envp[] = { NULL };
	pid_t pid;

	if (n > PASS_MAX)
		return -E2BIG;
	(void)snprintf(number, sizeof(number), "%d", base);
	(void)snprintf(total, sizeof(total), "%d", n - 2);
	pid = vfork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		err = place(exe, base, fds, n, stdio);
		if (!err) {
			(void)syscall(SYS_execveat, base + n, "", argv, envp, AT_EMPTY_PATH);
			err = errno;
		}
		_exit(255);
	}
	return err ? -err : pid;
}

static int netlink_socket(void *namespace)
{
	const struct timeval limit = { .tv_sec = 10 };
	int *fd = namespace;

	if (*fd >= 0 && setns(*fd, CLONE_NEWNET) < 0) {
		*fd = -errno;
		return 1;
	}
	*fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (*fd < 0)
		*fd = -errno;
	else
		(void)setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return 0;
}

int core_netlink(int namespace)
{
	char stack[16384] __attribute__((aligned(16)));
	int fd = namespace, pid;

	if (namespace < 0) {
		(void)netlink_socket(&fd);
		return fd;
	}
	/* With our memory and our descriptors, so that the socket it makes is ours; we wait. */
	pid = clone(netlink_socket, stack + sizeof(stack),
		    CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &fd);
	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}

int core_leave_directory(void)
{
	return unshare(CLONE_FS) < 0 ? -errno : 0;
}

int core_socketpair(int *ret_pair)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_pair) < 0 ? -errno : 0;
}

int core_connect(const char *path)
{
	const struct timeval limit = { .tv_sec = 10 }; /* the queue of a listener may be full */
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock, at = -1, err = 0;

	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (strlen(path) < sizeof(address.sun_path)) {
		memcpy(address.sun_path, path, strlen(path) + 1);
	} else {
		at = open(path, O_PATH | O_CLOEXEC);
		(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", at);
		err = at < 0 ? errno : 0;
	}
	if (!err && connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		err = errno;
	if (at >= 0)
		(void)close(at);
	if (err)
		(void)close(sock);
	return err ? -err : sock;
}

int core_recv_fd(int sock)
{
	char text[4096], control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { text, sizeof(text) };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *first;
	ssize_t n;
	int fd;

	do
		n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	first = CMSG_FIRSTHDR(&message);
	if (!first || first->cmsg_level != SOL_SOCKET || first->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(first), sizeof(fd));
	return fd;
}

int core_pidfd_getfd(int pidfd, int fd)
{
	long ret = syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return ret < 0 ? -errno : (int)ret;
}

int core_prlimit(int pid, int resource, uint64_t soft, uint64_t hard)
{
	const uint64_t limit[2] = { soft, hard };

	return syscall(SYS_prlimit64, pid, resource, limit, NULL) < 0 ? -errno : 0;
}

int core_nofile(uint64_t *ret_pair)
{
	return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, ret_pair) < 0 ? -errno : 0;
}

int core_subreaper(int on)
{
	return prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) < 0 ? -errno : 0;
}

int core_clone_mount(const char *path, int recursive)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, flags);

	return fd < 0 ? -errno : fd;
}

int core_bind(const char *source, const char *target)
{
	int err;

	if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	/* What happens below must not reach the tree it shows: its end would unmount that as well. */
	if (mount(NULL, target, NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return 0;
	err = -errno;
	umount2(target, MNT_DETACH);
	return err;
}

int core_unbind(const char *target)
{
	return umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

int core_bpf(int command, void *attr, unsigned int size)
{
	long ret = syscall(SYS_bpf, command, attr, size);

	return ret < 0 ? -errno : (int)ret;
}

uint64_t core_hash64(const void *bytes, size_t size)
{
	const unsigned char *p = bytes;
	uint64_t hash = 14695981039346656037ULL; /* FNV-1a */

	while (size--)
		hash = (hash ^ *p++) * 1099511628211ULL;
	return hash;
}

int core_signalfd(void)
{
	sigset_t all;
	int fd;

	(void)sigfillset(&all);
	if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int core_matches(const char *pattern, const char *text, char *ret_why, size_t size)
{
	regex_t regex;
	int err = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), found;

	if (err) {
		(void)regerror(err, &regex, ret_why, size);
		return -EINVAL;
	}
	found = !regexec(&regex, text, 0, NULL, 0);
	regfree(&regex);
	return found;
}

int core_seccomp_flag(unsigned int flag)
{
	/* A filter pointer that cannot be read: EFAULT tells that the flags were accepted. */
	long ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, NULL);

	return ret < 0 && errno == EFAULT;
}

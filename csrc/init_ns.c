/* init_ns.c - namespaces, and what belongs to one: keyring, loopback, names, sysctls. */
#include "init.h"

#include <linux/prctl.h>
#include <linux/sched.h>

#define FSCONFIG_CMD_CREATE 6
#define FSOPEN_CLOEXEC 1
#define FSMOUNT_CLOEXEC 1
#define AF_UNIX 1
#define SOCK_DGRAM 2
#define SOCK_CLOEXEC O_CLOEXEC
#define SIOCGIFFLAGS 0x8913
#define SIOCSIFFLAGS 0x8914
#define IFF_UP 1
#define KEYCTL_JOIN_SESSION_KEYRING 1
#define KEYCTL_SETPERM 5
#define KEYCTL_DESCRIBE 6
#define F_GETFD 1
#define SIGKILL 9
#define EPERM 1
#define ENOSYS 38

/* The procfs at /proc.  Before a join and before the pivot it is the host's. */
static int open_hosts_procfs(void)
{
	return (int)sys4(__NR_openat, AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

/*
 * A procfs of our own pid namespace that is mounted nowhere, so that no mount of the container can
 * cover it (CVE-2019-16884, CVE-2025-52881).  If we may not mount one, the host's will do: its "self"
 * is us, too.
 */
static int open_procfs(void)
{
	cleanup_fd int fs = (int)sys2(__NR_fsopen, "proc", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs >= 0 && !sys5(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0))
		fd = (int)sys3(__NR_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return self.procfs >= 0 ? self.procfs : open_hosts_procfs();
	if (self.procfs >= 0)
		(void)close_fd(self.procfs);
	return fd;
}

int op_join(const struct args *a, struct failure *f)
{
	long ret;

	/* Now, because after the join the path may lead into the container. */
	if (self.procfs < 0)
		self.procfs = open_hosts_procfs();
	/* If the descriptor is closed, JOIN_TRY has joined it already. */
	if (a->v[2].u == JOIN_AGAIN && sys2(__NR_fcntl, arg_fd(a, 0), F_GETFD) < 0)
		return 0;
	ret = sys2(__NR_setns, arg_fd(a, 0), a->v[1].u);
	if (ret == -EPERM && a->v[2].u == JOIN_TRY)
		return 0;
	if (ret < 0)
		return fail(f, ret, STEP_SETNS);
	(void)close_fd(arg_fd(a, 0));
	return 0;
}

int op_unshare(const struct args *a, struct failure *f)
{
	long ret = sys1(__NR_unshare, a->v[0].u);

	return ret < 0 ? fail(f, ret, STEP_UNSHARE) : 0;
}

/*
 * A child of our parent, born into the first of the cgroup2 directories in a->v[1...] that takes it.
 * Sets *ret_born to whether one did: kernels before 5.7 cannot, and a cgroup may refuse.
 */
static long clone_child(const struct args *a, int *ret_born)
{
	const u64 flags = a->v[0].u | CLONE_PARENT;

	*ret_born = 1;
	for (u32 i = 1; i < a->n; i++) {
		struct clone_args how = {
			.flags = flags | CLONE_INTO_CGROUP,
			.cgroup = (u64)arg_fd(a, i),
		};
		long pid = sys2(__NR_clone3, &how, sizeof(how));

		if (pid >= 0)
			return pid;
	}
	*ret_born = a->n == 1;
	/* A zero stack means a copy of this one; the arguments after it are unused on every architecture. */
	return sys5(__NR_clone, flags, 0, 0, 0, 0);
}

/* Enter the first of the cgroup2 directories that takes us; the error of the first one otherwise. */
static long enter_cgroup(const struct args *a)
{
	long first = 0;

	for (u32 i = 1; i < a->n; i++) {
		cleanup_fd int procs = (int)sys4(__NR_openat, arg_fd(a, i), "cgroup.procs",
						 O_WRONLY | O_CLOEXEC, 0);
		long ret = procs < 0 ? procs : sys3(__NR_write, procs, "0", 1);

		if (ret >= 0)
			return 0;
		if (!first)
			first = ret;
	}
	return first;
}

int op_clone(const struct args *a, struct failure *f)
{
	int born;
	long pid = clone_child(a, &born);

	if (pid < 0)
		return fail(f, pid, STEP_CLONE);
	if (pid) {
		leave(send_pid((u64)pid) < 0);
	}
	self.clones++;
	/* A child does not inherit this; if pyrunc is dead already, the next OP_SYNC finds out. */
	(void)sys2(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
	pid = sys0(__NR_setsid);
	if (pid < 0)
		return fail(f, pid, STEP_SETSID);
	pid = born ? 0 : enter_cgroup(a);
	if (pid < 0)
		return fail(f, pid, STEP_CGROUP);
	for (u32 i = 1; i < a->n; i++)
		(void)close_fd(arg_fd(a, i));
	self.procfs = open_procfs();
	return self.procfs < 0 ? fail(f, self.procfs, STEP_PROCFS) : 0;
}

/*
 * A process with one thread that moves itself through `tasks` does not make the kernel wait for other
 * processes.  Through cgroup.procs each hierarchy would cost an RCU grace period of milliseconds.
 */
int op_enter(const struct args *a, struct failure *f)
{
	for (u32 i = 0; i < a->n; i++) {
		long ret = sys3(__NR_write, arg_fd(a, i), "0", 1);

		if (ret < 0)
			return fail_value(f, ret, STEP_CGROUP, i);
		(void)close_fd(arg_fd(a, i));
	}
	return 0;
}

int op_dumpable(const struct args *a, struct failure *f)
{
	long ret = sys5(__NR_prctl, PR_SET_DUMPABLE, a->v[0].u, 0, 0, 0);

	return ret < 0 ? fail(f, ret, STEP_DUMPABLE) : 0;
}

/* The permissions in the "type;uid;gid;perm;name" that describes a key; 0 if there are none. */
static u32 key_permissions(long key)
{
	char text[512]; /* an id, which is in the name, has up to 255 bytes */
	long n = sys4(__NR_keyctl, KEYCTL_DESCRIBE, key, text, sizeof(text) - 1);
	int fields = 0;
	u32 perm = 0;

	if (n <= 0 || n > (long)sizeof(text) - 1)
		return 0;
	text[n] = 0;
	for (const char *s = text; *s && fields < 4; s++) {
		if (*s == ';')
			fields++;
		else if (fields == 3)
			perm = perm << 4 | (u32)(*s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10);
	}
	return perm;
}

int op_keyring(const struct args *a, struct failure *f)
{
	long key = sys2(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, a->v[0].s);
	long ret;

	if (key == -ENOSYS) {
		warn(STEP_KEYRING_JOIN, ENOSYS, 0);
		return 0;
	}
	if (key < 0)
		return fail(f, key, STEP_KEYRING_JOIN);
	if (!a->v[1].u)
		return 0;
	ret = sys3(__NR_keyctl, KEYCTL_SETPERM, key, key_permissions(key) | a->v[1].u);
	return ret < 0 ? fail(f, ret, STEP_KEYRING_PERM) : 0;
}

int op_loopback(const struct args *a, struct failure *f)
{
	/* struct ifreq, as far as it matters here */
	struct {
		char name[16];
		short flags;
		char rest[22];
	} request = { .name = "lo" };
	cleanup_fd int sock = (int)sys3(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	long ret = sock;

	(void)a;
	if (ret >= 0)
		ret = sys3(__NR_ioctl, sock, SIOCGIFFLAGS, &request);
	request.flags |= IFF_UP;
	if (ret >= 0)
		ret = sys3(__NR_ioctl, sock, SIOCSIFFLAGS, &request);
	return ret < 0 ? fail(f, ret, STEP_LOOPBACK) : 0;
}

int op_hostname(const struct args *a, struct failure *f)
{
	long ret = sys2(__NR_sethostname, a->v[0].s, a->v[0].len);

	return ret < 0 ? fail(f, ret, STEP_HOSTNAME) : 0;
}

int op_domainname(const struct args *a, struct failure *f)
{
	long ret = sys2(__NR_setdomainname, a->v[0].s, a->v[0].len);

	return ret < 0 ? fail(f, ret, STEP_DOMAINNAME) : 0;
}

int op_sysctl(const struct args *a, struct failure *f)
{
	cleanup_fd int sys = (int)sys4(__NR_openat, self.procfs, "sys", O_PATH | O_CLOEXEC, 0);
	cleanup_fd int fd = sys < 0 ? sys
				    : (int)sys4(__NR_openat, sys, a->v[0].s,
						O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0);
	long ret;

	if (fd < 0)
		return fail(f, fd, STEP_SYSCTL_OPEN);
	ret = sys3(__NR_write, fd, a->v[1].s, a->v[1].len);
	return ret < 0 ? fail(f, ret, STEP_SYSCTL_WRITE) : 0;
}

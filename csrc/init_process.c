/* init_process.c - who the container's process is: user, capabilities, labels, filter, program. */
#include "init.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <linux/stat.h>

#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 0x20
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_FILTER_FLAG_NEW_LISTENER 8
#define SECCOMP_MODE_FILTER 2
#define SIGKILL 9
#define X_OK 1
#define AT_EACCESS 0x200
#ifndef __NR_faccessat2
#define __NR_faccessat2 439
#endif
#define EPERM 1
#define ENOENT 2
#define EACCES 13
#define EISDIR 21
#define EINVAL 22
#define EROFS 30
#define ENAMETOOLONG 36
#define ENOSYS 38
#define NO_ID (~0U)

int op_rlimit(const struct args *a, struct failure *f)
{
	const u64 limit[2] = { a->v[1].u, a->v[2].u };
	long ret = sys4(__NR_prlimit64, 0, a->v[0].u, limit, 0);

	return ret < 0 ? fail_value(f, ret, STEP_RLIMIT, a->v[0].u) : 0;
}

int op_umask(const struct args *a, struct failure *f)
{
	(void)f;
	(void)sys1(__NR_umask, a->v[0].u);
	return 0;
}

int op_label(const struct args *a, struct failure *f)
{
	cleanup_fd int dir =
		(int)sys4(__NR_openat, self.procfs, "thread-self/attr", O_PATH | O_CLOEXEC, 0);
	long ret = dir;

	for (u32 i = 1; dir >= 0 && i < a->n; i++) {
		cleanup_fd int fd = (int)sys4(__NR_openat, dir, a->v[i].s, O_WRONLY | O_CLOEXEC, 0);

		ret = fd;
		if (fd == -ENOENT)
			continue;
		if (fd >= 0)
			ret = sys3(__NR_write, fd, a->v[0].s, a->v[0].len);
		break;
	}
	return ret < 0 ? fail(f, ret, STEP_LABEL) : 0;
}

int op_nnp(const struct args *a, struct failure *f)
{
	long ret = sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	(void)a;
	return ret < 0 ? fail(f, ret, STEP_NNP) : 0;
}

int op_seccomp(const struct args *a, struct failure *f)
{
	const struct {
		u16 count;
		const void *filter;
	} program = { (u16)(a->v[0].len / 8), a->v[0].s };
	const u64 flags = a->v[1].u;
	long ret;

	if (flags)
		ret = sys3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	else
		ret = sys3(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	if (ret < 0)
		return fail(f, ret, STEP_SECCOMP);
	self.filter = a->v[0].s;
	self.filter_size = a->v[0].len;
	return flags & SECCOMP_FILTER_FLAG_NEW_LISTENER ? send_descriptor(MSG_LISTENER, (int)ret, f)
							: 0;
}

/*
 * cwd is tried before the user switch, for directories that only root may enter, and again after it,
 * for those that only the user may (a root-squashed share).  Wherever it ended, a cwd the kernel calls
 * unreachable lies outside the container's root: a leaked descriptor was used (CVE-2024-21626).
 */
int op_chdir(const struct args *a, struct failure *f)
{
	static int done;
	static char cwd[4096];
	const int forgiving = (int)a->v[1].u;
	long ret = 0;

	if (!done)
		ret = sys1(__NR_chdir, a->v[0].s);
	if (forgiving && (ret == -EACCES || ret == -EPERM))
		return 0;
	if (ret < 0)
		return fail(f, ret, STEP_CHDIR);
	done = 1;
	ret = sys2(__NR_getcwd, cwd, sizeof(cwd));
	if (ret == -ENOENT || (ret > 0 && cwd[0] != '/'))
		return fail(f, ENOENT, STEP_CWD_OUTSIDE);
	return 0;
}

static long get_caps(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };

	return sys2(__NR_capget, &head, data);
}

int op_bounding(const struct args *a, struct failure *f)
{
	struct __user_cap_data_struct now[2] = { 0 };
	long ret;

	ret = get_caps(now);
	if (ret < 0)
		return fail(f, ret, STEP_CAPSET);
	if (now[0].effective & 1U << CAP_SETPCAP)
		for (u64 cap = 0; cap < 64; cap++) {
			if (a->v[0].u >> cap & 1)
				continue;
			ret = sys5(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
			if (ret == -EINVAL)
				break; /* the kernel knows no capability from here on */
			if (ret < 0)
				return fail_value(f, ret, STEP_BOUNDING, cap);
		}
	/* The change of user must not clear the capabilities from which OP_CAPS will choose. */
	ret = sys5(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
	return ret < 0 ? fail(f, ret, STEP_KEEPCAPS) : 0;
}

/* stdio belongs to the user, but not what is shared with others: /dev/null keeps its owner. */
static int own_stdio(u32 uid, struct failure *f)
{
	for (int fd = 0; fd < 3; fd++) {
		struct statx st;
		long ret = sys5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);

		if (ret < 0 || st.stx_uid == uid)
			continue; /* closed, or fine */
		if ((st.stx_mode & S_IFMT) == S_IFCHR && st.stx_rdev_major == 1 &&
		    st.stx_rdev_minor == 3)
			continue;
		ret = sys3(__NR_fchown, fd, uid, NO_ID);
		/* EINVAL: an id without a mapping, of which the switch to it will speak */
		if (ret < 0 && ret != -EPERM && ret != -EROFS && ret != -EINVAL)
			return fail_value(f, ret, STEP_STDIO_OWNER, (u64)fd);
	}
	return 0;
}

/* Has the user namespace given up setgroups()? */
static int setgroups_denied(void)
{
	char text[4] = { 0 };
	cleanup_fd int fd = (int)sys4(__NR_openat, self.procfs, "thread-self/setgroups",
				      O_RDONLY | O_CLOEXEC, 0);

	/* thread-self has no such file; the process directory does. */
	if (fd == -ENOENT)
		fd = (int)sys4(__NR_openat, self.procfs, "self/setgroups", O_RDONLY | O_CLOEXEC, 0);
	return fd >= 0 && sys3(__NR_read, fd, text, sizeof(text)) == 4 && !memcmp(text, "deny", 4);
}

static int set_groups(u32 count, const u32 *groups, struct failure *f)
{
	long ret = sys2(__NR_setgroups, count, groups);

	return ret < 0 && !(ret == -EPERM && setgroups_denied()) ? fail(f, ret, STEP_SETGROUPS) : 0;
}

/*
 * Root of the user namespace we are in, so that what is made from here on belongs to it: without
 * this the namespaces' files would have the owner "nobody".
 */
int op_owner(const struct args *a, struct failure *f)
{
	long ret;

	if (a->v[0].u && set_groups(0, NULL, f) < 0)
		return -1;
	ret = sys3(__NR_setresgid, 0, 0, 0);
	if (ret < 0)
		return fail_value(f, ret, STEP_SETGID, 0);
	ret = sys3(__NR_setresuid, 0, 0, 0);
	if (ret < 0)
		return fail_value(f, ret, STEP_SETUID, 0);
	/* A change of user has cleared this. */
	(void)sys2(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
	return 0;
}

int op_user(const struct args *a, struct failure *f)
{
	static u32 groups[65536];
	const u32 uid = (u32)a->v[0].u, gid = (u32)a->v[1].u;
	u32 count = a->n - 3;
	long ret;

	if (own_stdio(uid, f) < 0)
		return -1;
	if (a->v[2].u) {
		if (count > sizeof(groups) / sizeof(*groups))
			return fail(f, EINVAL, STEP_SETGROUPS);
		for (u32 i = 0; i < count; i++)
			groups[i] = (u32)a->v[3 + i].u;
		if (set_groups(count, groups, f) < 0)
			return -1;
	}
	/* For setresuid() the highest ID means "unchanged", and we would stay root. */
	ret = gid == NO_ID ? -EINVAL : sys3(__NR_setresgid, gid, gid, gid);
	if (ret < 0)
		return fail_value(f, ret, STEP_SETGID, gid);
	ret = uid == NO_ID ? -EINVAL : sys3(__NR_setresuid, uid, uid, uid);
	return ret < 0 ? fail_value(f, ret, STEP_SETUID, uid) : 0;
}

/* Capabilities that were asked for and cannot be granted: a warning, not an error (config.md). */
static u64 grantable(u64 wanted, u64 permitted)
{
	if (wanted & ~permitted)
		warn(STEP_CAPSET, EPERM, wanted & ~permitted);
	return wanted & permitted;
}

/* Make them ambient; one warning names all that the kernel refuses: buildah asks for a dozen. */
static void raise_ambient(u64 wanted)
{
	u64 refused = 0;
	s32 why = 0;

	(void)sys5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (u64 cap = 0; cap < 64; cap++) {
		long ret;

		if (!(wanted >> cap & 1))
			continue;
		ret = sys5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
		if (ret < 0) {
			refused |= 1ULL << cap;
			why = (s32)-ret;
		}
	}
	if (refused)
		warn(STEP_AMBIENT, why, refused);
}

int op_caps(const struct args *a, struct failure *f)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	u64 set[3], permitted;
	long ret;

	(void)sys5(__NR_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
	ret = get_caps(data);
	if (ret < 0)
		return fail(f, ret, STEP_CAPSET);
	permitted = data[0].permitted | (u64)data[1].permitted << 32;
	permitted = grantable(a->v[0].u | a->v[1].u | a->v[2].u, permitted);
	for (int i = 0; i < 3; i++)
		set[i] = a->v[i].u & permitted;
	for (int i = 0; i < 2; i++) {
		data[i].effective = (u32)(set[0] >> 32 * i);
		data[i].permitted = (u32)(set[1] >> 32 * i);
		data[i].inheritable = (u32)(set[2] >> 32 * i);
	}
	ret = sys2(__NR_capset, &head, data);
	if (ret < 0)
		return fail(f, ret, STEP_CAPSET);
	raise_ambient(a->v[3].u);
	return 0;
}

/* The home in a passwd(5) line if its uid is the wanted one, else NULL; cuts the line up. */
static const char *home_of(char *line, u64 uid)
{
	char *field[7] = { line };
	u64 number = 0;
	int n = 1;

	for (char *s = line; *s && n < 7; s++)
		if (*s == ':') {
			*s = 0;
			field[n++] = s + 1;
		}
	if (n < 6 || !*field[2])
		return NULL;
	for (const char *s = field[2]; *s; s++) {
		if (*s < '0' || *s > '9' || number > NO_ID)
			return NULL;
		number = number * 10 + (u64)(*s - '0');
	}
	return number == uid ? field[5] : NULL;
}

static void set_home(const char *home)
{
	size_t n = strlen(home);

	if (!n || n >= sizeof(self.home) - 5) {
		home = "/";
		n = 1;
	}
	memcpy(self.home, "HOME=", 5);
	memcpy(self.home + 5, home, n + 1);
}

int op_home(const struct args *a, struct failure *f)
{
	static char text[8192];
	const char *home;
	size_t have = 0;
	struct statx st;
	long n;
	/* The image wrote this file: it may be a fifo or a device, which must not hold us up. */
	cleanup_fd int fd = (int)sys4(__NR_openat, AT_FDCWD, "/etc/passwd",
				      O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);

	(void)f;
	set_home("/");
	if (fd < 0 || sys5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) < 0 ||
	    (st.stx_mode & S_IFMT) != S_IFREG)
		return 0;
	while ((n = sys3(__NR_read, fd, text + have, sizeof(text) - 1 - have)) > 0) {
		char *start = text, *end = text + have + n;

		for (char *s = text + have; s < end; s++) {
			if (*s != '\n')
				continue;
			*s = 0;
			home = home_of(start, a->v[0].u);
			if (home) {
				set_home(home);
				return 0;
			}
			start = s + 1;
		}
		have = (size_t)(end - start);
		if (have == sizeof(text) - 1)
			have = 0; /* no passwd line is that long */
		memcpy(text, start, have);
	}
	text[have] = 0; /* the last line may lack its newline */
	home = home_of(text, a->v[0].u);
	if (home)
		set_home(home);
	return 0;
}

/* 0 if `path` is a file this process may execute; else -errno, and whether stat failed. */
static long may_execute(const char *path, int *ret_stat_failed)
{
	struct statx st;
	long ret = sys5(__NR_statx, AT_FDCWD, path, 0, STATX_TYPE | STATX_MODE, &st);

	*ret_stat_failed = ret < 0;
	if (ret < 0)
		return ret;
	if ((st.stx_mode & S_IFMT) == S_IFDIR)
		return -EISDIR;
	ret = sys4(__NR_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS);
	if (ret == -ENOSYS || ret == -EPERM) /* older kernel, or a filter that does not know it */
		ret = st.stx_mode & 0111 ? 0 : -EACCES;
	return ret;
}

int op_lookup(const struct args *a, struct failure *f)
{
	static char found[4096];
	const char *name = a->v[0].s, *at = a->v[2].s;
	const size_t length = a->v[0].len;
	int stat_failed;
	long ret;

	for (const char *s = name; *s; s++)
		if (*s == '/') {
			self.path = name;
			ret = may_execute(name, &stat_failed);
			if (ret < 0)
				return fail_text(f, ret,
						 stat_failed ? STEP_LOOKUP_STAT : STEP_LOOKUP_PERM,
						 name);
			return 0;
		}
	while (length && a->v[1].u && *at) {
		size_t n = 0;

		while (at[n] && at[n] != ':')
			n++;
		if (n + length + 3 <= sizeof(found)) {
			memcpy(found, n ? at : ".", n ? n : 1);
			found[n ? n : 1] = '/';
			memcpy(found + (n ? n : 1) + 1, name, length + 1);
			if (!may_execute(found, &stat_failed)) {
				if (found[0] != '/')
					return fail_text(f, ENOENT, STEP_LOOKUP_RELATIVE, name);
				self.path = found;
				return 0;
			}
		}
		at += n + (at[n] == ':');
	}
	return fail_text(f, ENOENT, STEP_LOOKUP_NONE, name);
}

long exec_program(const char *path, const struct args *a, u32 first, int append_home)
{
	const u32 argc = (u32)a->v[first - 1].u, given = a->n - first;
	const char **list;
	u32 at = 0, i;
	long ret;

	if (argc > given)
		return -EINVAL;
	ret = sys6(__NR_mmap, 0, (long)((given + 3UL) * sizeof(*list)), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ret < 0 && ret > -4096)
		return ret;
	list = (const char **)ret;
	for (i = 0; i < argc; i++)
		list[at++] = a->v[first + i].s;
	list[at++] = NULL;
	for (i = argc; i < given; i++)
		list[at++] = a->v[first + i].s;
	if (append_home)
		list[at++] = self.home;
	list[at] = NULL;
	return sys3(__NR_execve, path, list, list + argc + 1);
}

int op_exec(const struct args *a, struct failure *f)
{
	if (!self.path)
		return fail(f, EINVAL, STEP_PLAN);
	return fail_text(f, exec_program(self.path, a, 2, a->v[0].u != 0), STEP_EXEC, self.path);
}

/*
 * init_why.c - which component of a path is to blame, and what else is behind an errno; see why.h.
 */
#include "why.h"
#include <linux/errno.h>

#define AT_EACCESS 0x200
#define X_OK 1
#ifndef __NR_faccessat2
#define __NR_faccessat2 439
#endif

enum {
	ROOM = 128, /* for the words that follow a name */
};

/* --- the clause --- */

static char clause[2 * PATH_MAX];
static u32 said;

void say(const char *text)
{
	for (; *text && said < sizeof(clause) - 1; text++)
		clause[said++] = *text;
}

void say_name(const char *name)
{
	for (; *name && said < sizeof(clause) - ROOM; name++)
		clause[said++] = (char)((u8)*name < ' ' || *name == 0x7f ? '?' : *name);
}

void say_number(u64 number, u64 base)
{
	char digits[24];
	int n = sizeof(digits);

	digits[--n] = 0;
	do
		digits[--n] = (char)('0' + number % base);
	while (number /= base);
	say(digits + n);
}

/* Does the text contain `words`, which are in lower case? */
static int contains(const char *text, const char *words)
{
	for (; *text; text++) {
		size_t n = 0;

		while (words[n] &&
		       words[n] == (text[n] >= 'A' && text[n] <= 'Z' ? text[n] | 0x20 : text[n]))
			n++;
		if (!words[n])
			return 1;
	}
	return 0;
}

/* A name can say what why.h keeps for the errno. */
static int is_misleading(const char *text)
{
	static const char *const signals[] = { ERRNO_WORDS };

	for (u32 i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (contains(text, signals[i]))
			return 1;
	return 0;
}

/* --- paths --- */

int open_part(enum place place, const char *path, int flags)
{
	static int sysctl = -1;

	if (place == BENEATH_ROOT)
		return path_open(path, flags);
	if (place == SYSCTL && sysctl < 0)
		sysctl = (int)sys3(__NR_openat, self.procfs, "sys", O_PATH | O_CLOEXEC);
	return (int)try5(__NR_openat, place == SYSCTL ? sysctl : AT_FDCWD, path,
			 O_PATH | O_CLOEXEC | flags, 0, 0);
}

long stat_fd(int fd, struct statx *st)
{
	return fd < 0 ? fd : try5(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, st);
}

static void say_part(enum place place, const char *path)
{
	if (place == SYSCTL)
		say("/proc/sys/");
	say_name(path);
}

static void say_unsearchable(enum place place, const char *path)
{
	const long user = try5(__NR_geteuid, 0, 0, 0, 0, 0);

	say_part(place, path);
	say(" may not be searched");
	if (user > 0) {
		say(" by user ");
		say_number((u64)user, 10);
	}
}

/* `part` is a link, open at `fd`, that cannot be followed. */
static void say_link(enum place place, const char *part, int fd, s32 err)
{
	static char target[PATH_MAX];
	const long n = try5(__NR_readlinkat, fd, "", target, sizeof(target) - 1, 0);

	if (n <= 0)
		return;
	say("the link ");
	say_part(place, part);
	say(" leads to ");
	say_name(target);
	if (err == ENOENT)
		say(", which is missing");
}

/* The first `n` bytes of a path cannot be opened, and what comes before can. */
static void say_part_failed(enum place place, char *part, u32 n, int is_last, s32 err)
{
	const int fd = open_part(place, part, O_NOFOLLOW);
	struct statx st;

	if (stat_fd(fd, &st) == 0 && is_type(&st, S_IFLNK)) {
		say_link(place, part, fd, err);
	} else if (err == ENOENT && fd == -ENOENT && !is_last) {
		say_part(place, part);
		say(" is missing");
	} else if (err == EACCES && fd == -EACCES) {
		while (n > 1 && part[n - 1] != '/')
			n--;
		while (n > 1 && part[n - 1] == '/')
			n--;
		part[n] = 0;
		say_unsearchable(place, *part == '/' || n > 1 ? part : ".");
	}
}

int blame_path(enum place place, const char *path, s32 err)
{
	static char part[PATH_MAX];
	const size_t n = strlen(path);
	struct statx st;
	size_t next;
	int fd;

	if (n >= sizeof(part))
		return 0;
	memcpy(part, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (part[i - 1] == '/' || (part[i] && part[i] != '/'))
			continue;
		for (next = i; path[next] == '/';)
			next++;
		part[i] = 0;
		fd = open_part(place, part, 0);
		if (fd < 0) {
			if (fd == -err || (fd == -ENOENT && err == EROFS))
				say_part_failed(place, part, (u32)i, !path[next], -fd);
			return 0;
		}
		if (stat_fd(fd, &st) < 0)
			return 0;
		if (path[next] && !is_type(&st, S_IFDIR)) {
			if (err == ENOTDIR) {
				say_part(place, part);
				say(" is no directory");
			}
			return 0;
		}
		part[i] = path[i];
	}
	return 1;
}

/* A directory that is there and cannot be entered. */
static void blame_cwd(const char *path, s32 err)
{
	if (blame_path(PLAIN, path, err) && err == EACCES &&
	    try5(__NR_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS, 0) == -EACCES)
		say_unsearchable(PLAIN, path);
}

/* --- mounts --- */

/* ENOTDIR of a mount: of what is mounted and what is there, one is a directory. */
static void blame_kinds(const char *path, int is_bind)
{
	struct statx target;

	if (stat_fd(open_part(BENEATH_ROOT, path, 0), &target) < 0)
		return;
	if (!is_type(&target, S_IFDIR))
		say(is_bind ? "the destination is a file, and the source a directory"
			    : "the destination is a file");
	else if (is_bind)
		say("the source is a file, and the destination a directory");
}

/* --- */

const char *explain(u32 op, const struct args *a, const struct failure *f)
{
	const int is_mount = op == OP_MOUNT || op == OP_BIND;

	switch (f->step) {
	case STEP_LOOKUP_STAT:
		(void)blame_path(PLAIN, f->text, f->err);
		break;
	case STEP_LOOKUP_PERM:
		blame_program(f->text, f->err, 0);
		break;
	case STEP_EXEC:
	case STEP_HOOK_START:
		if (f->text)
			blame_program(f->text, f->err, 1);
		break;
	case STEP_CHDIR:
		blame_cwd(a->v[0].s, f->err);
		break;
	case STEP_SOURCE:
	case STEP_ROOT_PRIVATE:
	case STEP_ROOT_BIND:
		(void)blame_path(PLAIN, a->v[0].s, f->err);
		break;
	case STEP_SYSCTL_OPEN:
		(void)blame_path(SYSCTL, a->v[0].s, f->err);
		break;
	case STEP_MKDIR:
		if (op == OP_MKDIR)
			(void)blame_path(BENEATH_ROOT, a->v[0].s, f->err);
		break;
	case STEP_TARGET:
		if (is_mount)
			(void)blame_path(BENEATH_ROOT, a->v[1].s, f->err);
		break;
	case STEP_MOUNT:
		if (is_mount && f->err == ENOTDIR)
			blame_kinds(a->v[1].s, op == OP_BIND);
		break;
	default:
		break;
	}
	clause[said] = 0;
	return is_misleading(clause) ? "" : clause;
}

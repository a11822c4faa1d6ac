/*
 * init_why_exec.c - why a program cannot be executed: its rights, its format, its interpreter; see
 * why.h.
 */
#include "why.h"
#include <asm/statfs.h>
#include <linux/errno.h>

#define AT_EACCESS 0x200
#define X_OK 1
#ifndef __NR_faccessat2
#define __NR_faccessat2 439
#endif
#define ST_NOEXEC 8

#if defined(__x86_64__)
#define MACHINE 62
#define MACHINE_32 3
#else
#define MACHINE 183
#define MACHINE_32 40
#endif

enum {
	CHAIN_MAX = 5, /* interpreters of interpreters, as the kernel has it */
	INTERP_MAX = 256,
	HEAD_SIZE = 4096,
	SCRIPT_SIZE = 256, /* all that the kernel reads of a script */
	PT_INTERP = 3,
};

/* Who is spoken of: the program itself (name NULL), its interpreter, or that of its interpreter. */
struct subject {
	const char *name, *owner;
};

static void say_subject(const struct subject *s)
{
	if (!s->name) {
		say("it");
		return;
	}
	say(s->owner ? "the interpreter " : "its interpreter ");
	say_name(s->name);
	if (s->owner) {
		say(" of ");
		say_name(s->owner);
	}
}

/* Why `path` may not be executed, although it is there.  1 if that is said. */
static int blame_rights(const struct subject *s, const char *path)
{
	const int fd = open_part(PLAIN, path, 0);
	struct statfs fs;
	struct statx st;

	if (stat_fd(fd, &st) < 0)
		return 0;
	if (!is_type(&st, S_IFREG)) {
		say_subject(s);
		say(" is no regular file");
	} else if (!(st.stx_mode & 0111)) {
		say_subject(s);
		say(" has no x bit");
	} else if (try5(__NR_fstatfs, fd, &fs, 0, 0, 0) == 0 && fs.f_flags & ST_NOEXEC) {
		say_subject(s);
		say(" is on a mount with noexec");
	} else if (try5(__NR_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS, 0) == -EACCES) {
		say_subject(s);
		say(" has the mode 0");
		say_number(st.stx_mode & 07777, 8);
		say(" and the owner ");
		say_number(st.stx_uid, 10);
		say(":");
		say_number(st.stx_gid, 10);
	} else {
		return 0;
	}
	return 1;
}

/* The start of a regular file: its length, or below 0. */
static long read_head(const char *path, u8 *head, int *ret_fd)
{
	struct statx st;

	if (stat_fd(open_part(PLAIN, path, 0), &st) < 0 || !is_type(&st, S_IFREG))
		return -EINVAL;
	/* Should it have become a fifo or a terminal meanwhile: neither may hold us up. */
	*ret_fd = (int)try5(__NR_openat, AT_FDCWD, path,
			    O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0, 0);
	if (stat_fd(*ret_fd, &st) < 0 || !is_type(&st, S_IFREG))
		return -EINVAL;
	memset(head, 0, HEAD_SIZE);
	return try5(__NR_pread64, *ret_fd, head, HEAD_SIZE, 0, 0);
}

static const char *machine_name(u32 machine)
{
	static const struct {
		u32 number;
		const char *name;
	} names[] = {
		{ 3, "i386" },    { 8, "mips" },        { 20, "ppc" },    { 21, "ppc64" },
		{ 22, "s390x" },  { 40, "arm" },        { 62, "x86_64" }, { 183, "aarch64" },
		{ 243, "riscv" }, { 258, "loongarch" },
	};

	for (u32 i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].number == machine)
			return names[i].name;
	return NULL;
}

static u64 number_at(const u8 *at, u32 size)
{
	u64 number = 0;

	memcpy(&number, at, size);
	return number;
}

/* The interpreter that an ELF file names, or 0. */
static int elf_interpreter(int fd, const u8 *head, char *ret_name)
{
	const int is_64 = head[4] == 2;
	const u64 offset = is_64 ? number_at(head + 32, 8) : number_at(head + 28, 4);
	const u32 size = is_64 ? 56 : 32; /* the kernel takes no other */
	const u64 count = number_at(head + (is_64 ? 56 : 44), 2);

	if (number_at(head + (is_64 ? 54 : 42), 2) != size)
		return 0;
	for (u64 i = 0; i < count && offset < HEAD_SIZE; i++) {
		const u64 place = offset + i * size;
		const u8 *at = head + place;
		u64 length;

		if (place + size > HEAD_SIZE)
			break;
		if (number_at(at, 4) != PT_INTERP)
			continue;
		length = is_64 ? number_at(at + 32, 8) : number_at(at + 16, 4);
		if (length < 2 || length > INTERP_MAX)
			return 0;
		if (try5(__NR_pread64, fd, ret_name, length,
			 is_64 ? number_at(at + 8, 8) : number_at(at + 4, 4), 0) != (long)length)
			return 0;
		ret_name[length - 1] = 0;
		return *ret_name != 0;
	}
	return 0;
}

/* The interpreter of a script's first line, as the kernel takes it, or 0. */
static int script_interpreter(u8 *head, char *ret_name)
{
	const u8 *at = head + 2;
	u32 n = 0;

	head[SCRIPT_SIZE] = 0;
	while (*at == ' ' || *at == '\t')
		at++;
	while (*at && *at != ' ' && *at != '\t' && *at != '\n')
		ret_name[n++] = (char)*at++;
	ret_name[n] = 0;
	return n > 0;
}

static int is_text(const u8 *head, long n)
{
	for (long i = 0; i < n && i < SCRIPT_SIZE; i++)
		if (head[i] < ' ' && head[i] != '\n' && head[i] != '\t' && head[i] != '\r')
			return 0;
	return 1;
}

/* A file in none of the formats that have an interpreter. */
static void blame_content(const struct subject *s, const u8 *head, long n)
{
	if (n && !is_text(head, n))
		return;
	say_subject(s);
	say(!n                                   ? " is empty"
	    : !memcmp(head, "\xef\xbb\xbf#!", 5) ? " has a byte order mark before its #!"
						 : " is a text without a #! line");
}

static u32 machine_of(const u8 *head)
{
	const u32 machine = (u32)number_at(head + 18, 2);

	/* head[5]: 2 is big-endian */
	return head[5] == 2 ? (machine << 8 & 0xff00) | machine >> 8 : machine;
}

/* The file, a program or one that it is interpreted by, is not for this machine. */
static void say_machine(const struct subject *s, u32 machine)
{
	const char *name = machine_name(machine);

	if (!name)
		return;
	say_subject(s);
	say(" is for ");
	say(name);
	say(", and this machine is ");
	say(machine_name(MACHINE));
}

/* What interprets the file at `path`.  0: nothing does, or the reason for `err` has been found. */
static int next_interpreter(const struct subject *s, const char *path, s32 err, char *ret_name)
{
	static u8 head[HEAD_SIZE + 1]; /* ends with a 0 */
	int fd;
	const long n = read_head(path, head, &fd);

	if (n < 0)
		return 0;
	if (n >= 52 && !memcmp(head, "\177ELF", 4)) {
		const u32 machine = machine_of(head);

		/* Most kernels run programs of the 32-bit machine before this one. */
		if (machine == MACHINE || (machine == MACHINE_32 && err != ENOEXEC))
			return elf_interpreter(fd, head, ret_name);
		if (err == ENOENT || err == ENOEXEC || err == ELIBBAD)
			say_machine(s, machine);
		return 0;
	}
	if (n >= 2 && !memcmp(head, "#!", 2)) {
		if (script_interpreter(head, ret_name))
			return 1;
		if (err == ENOEXEC || err == EACCES) {
			say_subject(s);
			say(" names no interpreter after its #!");
		}
	} else if (err == ENOEXEC) {
		blame_content(s, head, n);
	}
	return 0;
}

/* `path` is missing, or cannot be reached. */
static void blame_missing(const struct subject *s, const char *path, s32 err)
{
	const size_t n = strlen(path);
	struct statx st;

	/* What an interpreter's link leads to is told like that of any other path. */
	if (!s->name || err != ENOENT ||
	    (stat_fd(open_part(PLAIN, path, O_NOFOLLOW), &st) == 0 && is_type(&st, S_IFLNK))) {
		(void)blame_path(PLAIN, path, err);
		return;
	}
	say_subject(s);
	say(" is missing");
	if (path[n - 1] == '\r')
		say(", because the #! line ends with CR LF");
}

void blame_program(const char *path, s32 err, int deep)
{
	static char names[CHAIN_MAX][INTERP_MAX];
	struct subject s = { NULL, NULL };

	for (int i = 0; i < CHAIN_MAX; i++) {
		struct statx st;
		const long ret = stat_fd(open_part(PLAIN, path, 0), &st);

		if (ret < 0) {
			if (ret == -err)
				blame_missing(&s, path, err);
			return;
		}
		if ((err == EACCES && blame_rights(&s, path)) || !deep ||
		    !next_interpreter(&s, path, err, names[i]))
			return;
		s.owner = s.name;
		s.name = path = names[i];
	}
}

/*
 * init.c - the static helper that runs a plan, then becomes the container's process.
 *
 *	init BASE FDS      BASE: the socket to pyrunc, BASE+1: the plan, then FDS passed descriptors
 *
 * Why it exists, and why it starts on the host: setns() and unshare() of most namespaces want a
 * single-threaded process, a new pid namespace is entered only by a child, and whatever the container
 * can see through /proc/PID/exe must not be a file of the host (CVE-2019-5736).  So pyrunc runs this
 * program from a sealed memfd.  It joins namespaces, and OP_CLONE goes on in a child that has the new
 * ones.  CLONE_PARENT makes that child a child of pyrunc, which can wait for it; the first stage says
 * which pid it got and ends.
 *
 *	pyrunc --spawn--> init (host) --OP_CLONE, CLONE_PARENT--> init (container) --OP_EXEC--> program
 *
 * The whole plan is checked before its first op runs.  No allocation, no stdio, no locale: there is
 * nothing to free, and a waiting container costs a few pages.
 *
 * Two phases: up to OP_AWAIT a failure is a message to pyrunc.  After it pyrunc is gone, so a failure
 * is one line on the container's stderr and exit status 255.
 */
#include "init.h"

#include <linux/prctl.h>

#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 0x20
#define F_SETFD 2
#define FD_CLOEXEC 1
#define SEEK_END 2
#define SIGINT 2
#define SIGQUIT 3
#define SIGKILL 9
#define SIGTERM 15
#define SA_RESTORER 0x04000000

struct init_state self = { .sock = -1,
			   .procfs = -1,
			   .root = -1,
			   .host = -1,
			   .null = -1,
			   .empty = -1,
			   .idmap = -1,
			   .tree = -1 };

struct plan_header {
	u32 magic, build, count, size;
};

struct op_header {
	u32 code, argc, size;
};

/* op -> signature and function; the signatures repeat the comments of plan.h. */
static const struct op_row {
	const char *signature;
	int (*run)(const struct args *, struct failure *);
} rows[OP_LAST] = {
	[OP_JOIN] = { "fuu", op_join },
	[OP_UNSHARE] = { "u", op_unshare },
	[OP_CLONE] = { "uf*", op_clone },
	[OP_ENTER] = { "f*", op_enter },
	[OP_DUMPABLE] = { "u", op_dumpable },
	[OP_OWNER] = { "u", op_owner },
	[OP_SYNC] = { "u", op_sync },
	[OP_KEYRING] = { "su", op_keyring },
	[OP_LOOPBACK] = { "", op_loopback },
	[OP_HOSTNAME] = { "s", op_hostname },
	[OP_DOMAINNAME] = { "s", op_domainname },
	[OP_SYSCTL] = { "ss", op_sysctl },
	[OP_PROPAGATE] = { "u", op_propagate },
	[OP_ROOT] = { "su", op_root },
	[OP_IDMAP] = { "fuu", op_idmap },
	[OP_TREE] = { "f", op_tree },
	[OP_MOUNT] = { "ssssuusu*", op_mount },
	[OP_BIND] = { "ssuuuuu*", op_bind },
	[OP_UNMOUNT] = { "s", op_unmount },
	[OP_RELABEL] = { "ss", op_relabel },
	[OP_REMOUNT] = { "su", op_remount },
	[OP_SYMLINK] = { "ssu", op_symlink },
	[OP_DEVICE] = { "suuuuusu", op_device },
	[OP_SOURCE] = { "su", op_source },
	[OP_MKDIR] = { "su", op_mkdir },
	[OP_PIVOT] = { "", op_pivot },
	[OP_HIDE] = { "s", op_hide },
	[OP_MOVE] = { "", op_move },
	[OP_CHROOT] = { "", op_chroot },
	[OP_NULLIO] = { "", op_nullio },
	[OP_READONLY] = { "s", op_readonly },
	[OP_MASK] = { "ss*", op_mask },
	[OP_CONSOLE] = { "fuuu", op_console },
	[OP_PIDFD] = { "fs", op_pidfd },
	[OP_UMASK] = { "u", op_umask },
	[OP_RLIMIT] = { "uuu", op_rlimit },
	[OP_LABEL] = { "ss*", op_label },
	[OP_NNP] = { "", op_nnp },
	[OP_SCHEDULER] = { "uuuuuuu", op_scheduler },
	[OP_IOPRIO] = { "u", op_ioprio },
	[OP_PERSONALITY] = { "u", op_personality },
	[OP_MEMPOLICY] = { "ub", op_mempolicy },
	[OP_SECCOMP] = { "bu", op_seccomp },
	[OP_CHDIR] = { "su", op_chdir },
	[OP_BOUNDING] = { "u", op_bounding },
	[OP_USER] = { "uuuu*", op_user },
	[OP_CAPS] = { "uuuu", op_caps },
	[OP_HOME] = { "u", op_home },
	[OP_LOOKUP] = { "sus", op_lookup },
	[OP_HOOK] = { "ssssuuus*", op_hook },
	[OP_AWAIT] = { "f", op_await },
	[OP_EXEC] = { "uus*", op_exec },
};

void *memcpy(void *dst, const void *src, size_t n)
{
	u8 *to = dst;
	const u8 *from = src;

	while (n--)
		*to++ = *from++;
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	u8 *to = dst;

	while (n--)
		*to++ = (u8)c;
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	const char *end = s;

	while (*end)
		end++;
	return (size_t)(end - s);
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

char *put_u64(char *to, u64 value)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	while (n)
		*to++ = digits[--n];
	return to;
}

/* Is there a NUL at the end of the string argument, and nowhere else? */
static int is_string(const char *s, u32 length)
{
	if (!length || s[length - 1])
		return 0;
	while (--length)
		if (!*s++)
			return 0;
	return 1;
}

/*
 * Decode the arguments of an op into `out`, which has room for all of them, checking each against the
 * signature and every length against `end`.  Returns 1 if they are what the op expects.
 */
static int decode(const struct op_header *op, const u8 *at, const u8 *end, struct arg *out)
{
	const char *expected = rows[op->code].signature;
	u32 i;

	for (i = 0; i < op->argc; i++, out++) {
		if (!*expected || end - at < 5 || at[0] != (u8)*expected)
			return 0;
		out->type = at[0];
		memcpy(&out->len, at + 1, 4);
		at += 5;
		if ((u64)(end - at) < out->len)
			return 0;
		out->s = (const char *)at;
		if (out->type == 'u' || out->type == 'f') {
			if (out->len != 8)
				return 0;
			memcpy(&out->u, at, 8);
			if (out->type == 'f' && out->u >= (u64)self.fds)
				return 0;
		} else if (out->type == 's') {
			if (!is_string(out->s, out->len))
				return 0;
			out->len--;
			at++;
		}
		at += out->len;
		if (expected[1] != '*')
			expected++;
	}
	return at == end && (!*expected || expected[1] == '*');
}

/* Map `size` anonymous bytes; NULL if there is no memory. */
static void *map_pages(u64 size)
{
	long at = sys6(__NR_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

/* Map and check the plan.  NULL if anything about it is wrong; nothing has been done then. */
static const u8 *load_plan(int fd, struct arg **ret_scratch)
{
	const struct plan_header *head;
	struct op_header op;
	u32 most = 0, i;
	const u8 *plan, *at, *end;
	long size = sys3(__NR_lseek, fd, 0, SEEK_END), map;

	if (size < (long)sizeof(*head) || size > PLAN_MAX_SIZE)
		return NULL;
	map = sys6(__NR_mmap, 0, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map < 0 && map > -4096)
		return NULL;
	plan = (const u8 *)map;
	head = (const struct plan_header *)plan;
	if (head->magic != PLAN_MAGIC || head->build != PLAN_BUILD_ID || head->size != size)
		return NULL;
	end = plan + size;
	for (at = plan + sizeof(*head), i = 0; i < head->count; i++, at += op.size) {
		if (end - at < (long)sizeof(op))
			return NULL;
		memcpy(&op, at, sizeof(op));
		at += sizeof(op);
		if ((u64)(end - at) < op.size || op.code >= OP_LAST || !rows[op.code].run)
			return NULL;
		/* An argument has five bytes at least; no memory is mapped for what cannot be. */
		if (op.argc > op.size)
			return NULL;
		if (op.argc > most)
			most = op.argc;
	}
	if (at != end)
		return NULL;
	*ret_scratch = map_pages(((u64)most + 1) * sizeof(struct arg));
	if (!*ret_scratch)
		return NULL;
	for (at = plan + sizeof(*head), i = 0; i < head->count; i++, at += op.size) {
		memcpy(&op, at, sizeof(op));
		at += sizeof(op);
		if (!decode(&op, at, at + op.size, *ret_scratch))
			return NULL;
	}
	return plan;
}

static void end(int signal)
{
	leave(128 + signal);
}

/*
 * A shell, an engine or Python may have left signals ignored or blocked: nobody inherits that.  What
 * ends any process ends a waiting container, whose first process has to ask for that.  Not SIGHUP:
 * who lets go of the terminal may come back for `start`.
 */
static void set_signals(void)
{
	static const u8 ends[] = { SIGINT, SIGQUIT, SIGTERM };
	u64 action[4] = { 0 }, none = 0;
	int signal;

	for (signal = 1; signal <= 64; signal++)
		(void)sys4(__NR_rt_sigaction, signal, action, 0, 8);
	action[0] = (u64)(unsigned long)end;
	action[1] = SA_RESTORER; /* x86 insists on one, and nobody returns to it */
	for (u32 i = 0; i < sizeof(ends); i++)
		(void)sys4(__NR_rt_sigaction, ends[i], action, 0, 8);
	(void)sys4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
}

static int parse_number(const char *s)
{
	int value = 0;

	while (*s >= '0' && *s <= '9')
		value = value * 10 + (*s++ - '0');
	return value;
}

void leave(int status)
{
	(void)sys1(__NR_exit_group, status);
	__builtin_trap(); /* a filter may refuse to let us go, but not to let us crash */
}

__attribute__((noreturn, used)) void init_main(long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);
	struct failure failure = { 0 };
	struct op_header op;
	struct arg *scratch = NULL;
	const u8 *plan, *at;
	long err = 0;
	u32 count, i;
	int fd;

	if (stack[0] < 3)
		leave(255);
	self.base = parse_number(argv[1]);
	self.fds = parse_number(argv[2]);
	self.sock = self.base;
	/* Dies with its creator until OP_SYNC ready; unreadable for the namespaces it joins (CVE-2016-9962). */
	(void)sys2(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
	(void)sys2(__NR_prctl, PR_SET_DUMPABLE, 0);
	(void)sys2(__NR_prctl, PR_SET_NAME, "pyrunc:init");
	self.umask = (u64)sys1(__NR_umask, 0);
	set_signals();
	for (fd = self.base; fd < self.base + 2 + self.fds && err >= 0; fd++)
		err = sys3(__NR_fcntl, fd, F_SETFD, FD_CLOEXEC);
	plan = err < 0 ? NULL : load_plan(self.base + 1, &scratch);
	(void)close_fd(self.base + 1);
	if (!plan) {
		(void)fail(&failure, err < 0 ? err : 22 /* EINVAL */, STEP_PLAN);
		report_failure(0, &failure, "");
		leave(255);
	}
	count = ((const struct plan_header *)plan)->count;
	for (at = plan + sizeof(struct plan_header), i = 0; i < count; i++, at += op.size) {
		struct args args = { .v = scratch };

		memcpy(&op, at, sizeof(op));
		at += sizeof(op);
		(void)decode(&op, at, at + op.size, scratch);
		args.n = op.argc;
		if (rows[op.code].run(&args, &failure) < 0) {
			report_failure(i, &failure, explain(op.code, &args, &failure));
			leave(255);
		}
	}
	leave(255); /* a plan that does not end in OP_EXEC */
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall "
	"init_main\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl init_main\n");
#endif

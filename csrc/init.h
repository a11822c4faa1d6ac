/*
 * init.h - what the files of init share.
 *
 * An op is `int op_x(const struct args *, struct failure *)`: 0, or fail(f, errno, STEP_X), which
 * records the facts and returns -1.  No prose here: Python turns (op, step, errno) into a sentence.
 * Only what is behind an errno is put into words by init, in init_why*.c.
 */
#ifndef PYRUNC_INIT_H
#define PYRUNC_INIT_H

#include "plan.h"
#include "sys.h"

struct failure {
	u32 step;
	s32 err; /* positive errno */
	u64 value;
	const char *text; /* static storage, or a plan string */
	u32 text_len;
	const char *label; /* of a hook, for the line after the no-return point */
};

/* One decoded argument; .s points into the mapped plan. */
struct arg {
	u8 type;
	u32 len; /* of .s, without a string's NUL */
	u64 u;
	const char *s;
};

struct args {
	u32 n;
	const struct arg *v;
};

/* State that ops leave for later ops.  Descriptors are -1 while they are not open. */
struct init_state {
	int base;   /* first descriptor that is ours: the socket */
	int fds;    /* number of descriptors passed after the plan */
	u32 clones; /* how many OP_CLONE led to this process */
	u64 umask;  /* the caller's; ours is 0 until OP_UMASK */
	int sock;
	int procfs;         /* a procfs of our pid namespace that the container cannot touch */
	int root;           /* O_PATH, the rootfs; after the pivot, "/" */
	int host;           /* O_PATH, the host's "/" (until the pivot) */
	int null;           /* O_PATH, the container's /dev/null, verified */
	int empty;          /* O_PATH, the empty tmpfs that masks directories */
	int idmap;          /* OP_IDMAP: a user namespace for the next mount */
	int idmap_below;    /* ... and for all below it */
	u64 idmap_asked;    /* ... done by the host, which knows the mount by this number */
	int tree;           /* OP_TREE: a mount for the next bind */
	int awaiting;       /* past the no-return line: exec.fifo; before it: 0 */
	const char *filter; /* struct sock_filter[] that OP_SECCOMP loaded */
	u32 filter_size;
	const char *path; /* the program OP_LOOKUP found */
	char home[4096];  /* "HOME=..." that OP_HOME found */
};
extern struct init_state self;

static inline int fail(struct failure *f, long err, u32 step)
{
	f->step = step;
	f->err = (s32)(err < 0 ? -err : err);
	return -1;
}

/* fail() with a number the sentence needs. */
static inline int fail_value(struct failure *f, long err, u32 step, u64 value)
{
	f->value = value;
	return fail(f, err, step);
}

/* fail() with a static text the sentence needs. */
static inline int fail_text(struct failure *f, long err, u32 step, const char *text)
{
	f->text = text;
	f->text_len = (u32)strlen(text);
	return fail(f, err, step);
}

/* The descriptor number of an 'f' argument. */
static inline int arg_fd(const struct args *a, u32 i)
{
	return self.base + 2 + (int)a->v[i].u;
}

static inline int close_fd(int fd)
{
	return (int)sys1(__NR_close, fd);
}

static inline void cleanup_fd_(const int *fd)
{
	if (*fd >= 0)
		(void)close_fd(*fd);
}
#define cleanup_fd __attribute__((cleanup(cleanup_fd_)))

/*
 * init_sync.c: report that op number `op` failed, and `why` ("": nobody knows), to pyrunc or, once
 * that is gone, on stderr.
 */
void report_failure(u32 op, const struct failure *f, const char *why);
/* init_why.c: what is behind the failure of an OP_* with these arguments, in a clause, or "". */
const char *explain(u32 op, const struct args *a, const struct failure *f);
__attribute__((noreturn)) void leave(int status);
/* init_sync.c: tell pyrunc the pid of the next stage. */
int send_pid(u64 pid);
/* init_sync.c: let pyrunc take a descriptor (MSG_LISTENER, MSG_SOURCE), then close it. */
int send_descriptor(u32 type, int fd, struct failure *f);
/*
 * init_sync.c: a descriptor of a bind source that we may not reach, from pyrunc; or -1.  It is an
 * O_PATH one, or if `mapped` is not 0 (see OP_IDMAP) a mount of its own.
 */
int ask_for_source(const char *path, u64 mapped);
/* init_sync.c: report a warning that changes nothing (STEP_*, value). */
void warn(u32 step, s32 err, u64 value);

/*
 * init_process.c: execute `path` with the argv and env that follow argument first - 1, their number.
 * Returns only if that fails: -errno.
 */
long exec_program(const char *path, const struct args *a, u32 first, int append_home);

/* init.c: append decimal `value` at `to`; returns the end (no NUL). */
char *put_u64(char *to, u64 value);

/* init_ns.c */
int op_join(const struct args *a, struct failure *f);
int op_unshare(const struct args *a, struct failure *f);
int op_clone(const struct args *a, struct failure *f);
int op_enter(const struct args *a, struct failure *f);
int op_dumpable(const struct args *a, struct failure *f);
int op_keyring(const struct args *a, struct failure *f);
int op_loopback(const struct args *a, struct failure *f);
int op_hostname(const struct args *a, struct failure *f);
int op_domainname(const struct args *a, struct failure *f);
int op_sysctl(const struct args *a, struct failure *f);
/* init_sync.c */
int op_sync(const struct args *a, struct failure *f);
int op_hook(const struct args *a, struct failure *f);
int op_await(const struct args *a, struct failure *f);
/* init_rootfs.c */
int op_propagate(const struct args *a, struct failure *f);
int op_root(const struct args *a, struct failure *f);
int op_pivot(const struct args *a, struct failure *f);
int op_hide(const struct args *a, struct failure *f);
int op_move(const struct args *a, struct failure *f);
int op_chroot(const struct args *a, struct failure *f);
int op_symlink(const struct args *a, struct failure *f);
int op_mkdir(const struct args *a, struct failure *f);
int op_unmount(const struct args *a, struct failure *f);
int op_relabel(const struct args *a, struct failure *f);
/* init_device.c */
int op_device(const struct args *a, struct failure *f);
int op_nullio(const struct args *a, struct failure *f);
/* init_mask.c */
int op_remount(const struct args *a, struct failure *f);
int op_readonly(const struct args *a, struct failure *f);
int op_mask(const struct args *a, struct failure *f);
/* init_mount.c */
int op_mount(const struct args *a, struct failure *f);
int op_idmap(const struct args *a, struct failure *f);
int op_tree(const struct args *a, struct failure *f);
int op_bind(const struct args *a, struct failure *f);
int op_source(const struct args *a, struct failure *f);
/* init_console.c */
int op_console(const struct args *a, struct failure *f);
int op_pidfd(const struct args *a, struct failure *f);
/* init_sched.c */
int op_scheduler(const struct args *a, struct failure *f);
int op_ioprio(const struct args *a, struct failure *f);
int op_personality(const struct args *a, struct failure *f);
int op_mempolicy(const struct args *a, struct failure *f);
/* init_process.c */
int op_umask(const struct args *a, struct failure *f);
int op_rlimit(const struct args *a, struct failure *f);
int op_label(const struct args *a, struct failure *f);
int op_nnp(const struct args *a, struct failure *f);
int op_seccomp(const struct args *a, struct failure *f);
int op_chdir(const struct args *a, struct failure *f);
int op_bounding(const struct args *a, struct failure *f);
int op_owner(const struct args *a, struct failure *f);
int op_user(const struct args *a, struct failure *f);
int op_caps(const struct args *a, struct failure *f);
int op_home(const struct args *a, struct failure *f);
int op_lookup(const struct args *a, struct failure *f);
int op_exec(const struct args *a, struct failure *f);

#endif

/* init_sync.c - the conversation with pyrunc, hooks, and the wait for start. */
#include "path.h"

#include <linux/prctl.h>

#define SIGKILL 9
#define SIGCHLD 17
#define MFD_CLOEXEC 1
#define SEEK_SET 0
#define SEEK_END 2
#define F_SETFL 4
#define POLLIN 1
#define MSG_CMSG_CLOEXEC 0x40000000
#define EINTR 4
#define P_PID 1
#define WNOHANG 1
#define WEXITED 4
#define WNOWAIT 0x1000000
#define HOOK_TAIL 4000 /* bytes of each of a hook's outputs that a failure carries */

struct message {
	u32 type, op, step;
	s32 err;
	u64 value;
};

struct vector {
	const void *base;
	size_t length;
};

/* Without a text it is write(2): no filter that we accept sends this call to a seccomp agent. */
static long send_message(const struct message *m, const char *text, u32 length)
{
	const struct vector parts[2] = { { m, sizeof(*m) }, { text, length } };
	long ret;

	do
		ret = length ? sys3(__NR_writev, self.sock, parts, 2)
			     : sys3(__NR_write, self.sock, m, sizeof(*m));
	while (ret == -EINTR);
	return ret;
}

void warn(u32 step, s32 err, u64 value)
{
	const struct message m = { .type = MSG_WARN, .step = step, .err = err, .value = value };

	(void)send_message(&m, NULL, 0);
}

int send_pid(u64 pid)
{
	const struct message m = { .type = MSG_PID, .step = self.clones, .value = pid };

	return send_message(&m, NULL, 0) < 0 ? -1 : 0;
}

/* Wait for pyrunc's go-ahead: 0, or a failure. */
static int wait_go(struct failure *f)
{
	char go;
	long ret;

	do
		ret = sys3(__NR_read, self.sock, &go, 1);
	while (ret == -EINTR);
	return ret != 1 ? fail(f, ret, STEP_ORPHAN) : 0;
}

int send_descriptor(u32 type, int fd, struct failure *f)
{
	const struct message m = { .type = type, .value = (u64)fd };
	long ret = send_message(&m, NULL, 0);

	if (ret < 0)
		return fail(f, ret, STEP_PROTOCOL);
	if (wait_go(f) < 0)
		return -1;
	(void)close_fd(fd);
	return 0;
}

int ask_for_source(const char *path, u64 mapped)
{
	const struct message m = { .type = MSG_UNREACHABLE, .step = self.clones, .value = mapped };
	char go;
	struct vector part = { &go, 1 };
	struct {
		size_t length;
		int level, type, fd, padding;
	} control = { .fd = -1 };
	struct {
		void *name;
		u32 name_length;
		void *parts;
		size_t count;
		void *control;
		size_t control_length;
		u32 flags;
	} reply = { NULL, 0, &part, 1, &control, sizeof(control), 0 };
	long ret = send_message(&m, path, (u32)strlen(path));

	if (ret < 0)
		return -1;
	do
		ret = sys3(__NR_recvmsg, self.sock, &reply, MSG_CMSG_CLOEXEC);
	while (ret == -EINTR);
	return ret == 1 && reply.control_length ? control.fd : -1;
}

int op_sync(const struct args *a, struct failure *f)
{
	const struct message m = { .type = MSG_SYNC, .step = self.clones, .value = a->v[0].u };
	long ret;

	if (a->v[0].u == SYNC_READY) {
		/* From here on this process holds no file or directory of the host (CVE-2024-21626). */
		int *const fds[] = { &self.procfs, &self.root, &self.host, &self.null,
				     &self.empty };

		path_close_anchors();
		for (u32 i = 0; i < sizeof(fds) / sizeof(*fds); i++)
			if (*fds[i] >= 0) {
				(void)close_fd(*fds[i]);
				*fds[i] = -1;
			}
	}
	ret = send_message(&m, NULL, 0);
	if (ret < 0)
		return fail(f, ret, STEP_PROTOCOL);
	if (wait_go(f) < 0)
		return -1;
	ret = 0;
	/* It must not fail: the container would die together with pyrunc. */
	if (a->v[0].u == SYNC_READY)
		ret = sys2(__NR_prctl, PR_SET_PDEATHSIG, 0);
	return ret < 0 ? fail(f, ret, STEP_PROTOCOL) : 0;
}

int op_await(const struct args *a, struct failure *f)
{
	char byte;
	long ret;

	/* pyrunc waits for the end of file; a filter that refuses close() must not keep it waiting. */
	ret = close_fd(self.sock);
	if (ret < 0)
		return fail(f, ret, STEP_AWAIT);
	/* ---- No return: pyrunc has finished.  Failures are one line on stderr, status 255. ---- */
	self.sock = -1;
	self.awaiting = arg_fd(a, 0);
	do
		ret = sys3(__NR_read, self.awaiting, &byte, 1);
	while (ret == -EINTR);
	/* The descriptor is closed by the exec, which is how `start` sees that we have exec'ed. */
	return ret != 1 ? fail(f, ret, STEP_AWAIT) : 0;
}

/* ---- hooks ---- */

static char hook_output[2 * HOOK_TAIL + 1]; /* stdout NUL stderr */

/* Child of op_hook: become the hook, or write errno into `report`. */
static void hook_child(const struct args *a, const int fds[3], int report)
{
	s32 err;

	/* Descriptors that are passed on to the program (--preserve-fds) are not for hooks. */
	for (int fd = 3; fd < self.base; fd++)
		(void)close_fd(fd);
	if (self.host >= 0 && self.root >= 0) { /* createContainer: cwd is the rootfs */
		(void)sys1(__NR_fchdir, self.root);
		(void)sys1(__NR_umask, self.umask);
	}
	for (int fd = 0; fd < 3; fd++)
		(void)sys3(__NR_dup3, fds[fd], fd, 0);
	err = (s32)-exec_program(a->v[1].s, a, 7, a->v[5].u != 0);
	(void)sys3(__NR_write, report, &err, sizeof(err));
	leave(127);
}

/* Copy the tail of a captured output to `to`; returns the end. */
static char *read_tail(int fd, char *to)
{
	long size = sys3(__NR_lseek, fd, 0, SEEK_END), n;

	if (size <= 0)
		return to;
	(void)sys3(__NR_lseek, fd, size > HOOK_TAIL ? size - HOOK_TAIL : 0, SEEK_SET);
	n = sys3(__NR_read, fd, to, HOOK_TAIL);
	return n > 0 ? to + n : to;
}

/* Linux before 5.3 has no pidfd: look every millisecond.  1 once the child has ended, 0: too late. */
static int watch_child(long pid, u64 timeout_ms)
{
	const u64 moment[2] = { 0, 1000000 };
	s32 info[32]; /* siginfo_t, which begins with the signal, or 0 */

	for (u64 i = 0;; i++) {
		info[0] = 0;
		/* It stays to be reaped. */
		if (sys5(__NR_waitid, P_PID, pid, info, WEXITED | WNOHANG | WNOWAIT, 0) < 0 ||
		    info[0])
			return 1;
		if (i >= timeout_ms)
			return 0;
		(void)sys2(__NR_nanosleep, moment, 0);
	}
}

/* Wait for the hook; 1 if it ran past its timeout (and was killed). */
static int wait_hook(long pid, u64 timeout_ms, int *ret_status)
{
	int late = 0;
	long ret;

	if (timeout_ms != ~0ULL) {
		cleanup_fd int pidfd = (int)sys2(__NR_pidfd_open, pid, 0);
		struct {
			int fd;
			short events, revents;
		} item = { .fd = pidfd, .events = POLLIN };
		const u64 limit[2] = { timeout_ms / 1000, timeout_ms % 1000 * 1000000 };

		do
			ret = pidfd < 0 ? watch_child(pid, timeout_ms)
					: sys5(__NR_ppoll, &item, 1, limit, 0, 8);
		while (ret == -EINTR);
		if (!ret) {
			late = 1;
			(void)sys2(__NR_kill, pid, SIGKILL);
		}
	}
	do
		ret = sys4(__NR_wait4, pid, ret_status, 0, 0);
	while (ret == -EINTR);
	return late;
}

/* The state JSON with our pid between its halves, as a file to read from its start. */
static int hook_stdin(const struct args *a)
{
	char pid[20];
	int fd = (int)sys2(__NR_memfd_create, "state", MFD_CLOEXEC);

	if (fd < 0)
		return fd;
	(void)sys3(__NR_write, fd, a->v[2].s, a->v[2].len);
	(void)sys3(__NR_write, fd, pid, put_u64(pid, (u64)sys0(__NR_getpid)) - pid);
	(void)sys3(__NR_write, fd, a->v[3].s, a->v[3].len);
	(void)sys3(__NR_lseek, fd, 0, SEEK_SET);
	return fd;
}

/* A hook may open its own once more: `> /dev/stderr`. */
static int hook_output_file(void)
{
	int fd = (int)sys2(__NR_memfd_create, "output", MFD_CLOEXEC);

	if (fd >= 0)
		(void)sys3(__NR_fcntl, fd, F_SETFL, O_APPEND);
	return fd;
}

int op_hook(const struct args *a, struct failure *f)
{
	cleanup_fd int in = hook_stdin(a);
	cleanup_fd int out = hook_output_file();
	cleanup_fd int err = hook_output_file();
	const int fds[3] = { in, out, err };
	int report[2] = { -1, -1 }, status = 0, late;
	s32 failed = 0;
	char *end;
	long pid, n;

	f->label = a->v[0].s;
	if (in < 0 || out < 0 || err < 0)
		return fail_text(f, in < 0 ? in : out < 0 ? out : err, STEP_HOOK_START, a->v[1].s);
	n = sys2(__NR_pipe2, report, O_CLOEXEC);
	pid = n < 0 ? n : sys5(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		hook_child(a, fds, report[1]);
	if (n >= 0)
		(void)close_fd(report[1]);
	if (pid < 0) {
		if (n >= 0)
			(void)close_fd(report[0]);
		return fail_text(f, pid, STEP_HOOK_START, a->v[1].s);
	}
	n = sys3(__NR_read, report[0], &failed, sizeof(failed));
	(void)close_fd(report[0]);
	late = wait_hook(pid, a->v[4].u, &status);
	if (n == sizeof(failed))
		return fail_text(f, failed, STEP_HOOK_START, a->v[1].s);
	if (!late && !status)
		return 0;
	end = read_tail(out, hook_output);
	*end++ = 0;
	end = read_tail(err, end);
	f->text = hook_output;
	f->text_len = (u32)(end - hook_output);
	if (late)
		return fail_value(f, 0, STEP_HOOK_TIMEOUT, a->v[4].u);
	return fail_value(f, 0, STEP_HOOK_EXIT, (u64)(u32)status);
}

/* ---- failures ---- */

/* The errors an execve can meet, in runc's words; pyrunc, which knows them all, is gone by then. */
static const char *error_text(s32 err)
{
	static const struct {
		s32 err;
		const char *text;
	} words[] = {
		{ 1, "operation not permitted" },
		{ 2, "no such file or directory" },
		{ 5, "input/output error" },
		{ 7, "argument list too long" },
		{ 8, "exec format error" },
		{ 11, "resource temporarily unavailable" },
		{ 12, "cannot allocate memory" },
		{ 13, "permission denied" },
		{ 20, "not a directory" },
		{ 21, "is a directory" },
		{ 22, "invalid argument" },
		{ 23, "too many open files in system" },
		{ 24, "too many open files" },
		{ 26, "text file busy" },
		{ 36, "file name too long" },
		{ 38, "function not implemented" },
		{ 40, "too many levels of symbolic links" },
		{ 80, "accessing a corrupted shared library" },
	};

	for (u32 i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (words[i].err == err)
			return words[i].text;
	return "unknown error";
}

static char line[3 * HOOK_TAIL];

/* Append text to the line, keeping room for its end; newlines would make it two lines. */
static char *put_text(char *to, const char *text, u32 length)
{
	while (length-- && to < line + sizeof(line) - 64) {
		*to++ = *text == '\n' ? ' ' : *text;
		text++;
	}
	return to;
}

static char *put(char *to, const char *text)
{
	return put_text(to, text, (u32)strlen(text));
}

static char *put_hook_end(char *at, const struct failure *f)
{
	const u32 status = (u32)f->value;
	u32 split = 0;

	if (f->step == STEP_HOOK_TIMEOUT) {
		at = put_u64(put(at, "hook ran past specified timeout of "), f->value / 1000);
		at = put_u64(put(at, "."), f->value % 1000 / 100);
		return put(at, "s");
	}
	if ((status & 127) == SIGKILL)
		at = put(at, "signal: killed");
	else if (status & 127)
		at = put_u64(put(at, "signal: "), status & 127);
	else
		at = put_u64(put(at, "exit status "), status >> 8 & 255);
	while (split < f->text_len && f->text[split])
		split++;
	at = put_text(put(at, ", stdout: "), f->text, split);
	return put_text(put(at, ", stderr: "), f->text + split + 1, f->text_len - split - 1);
}

/* After the no-return line: `exec /x: exec format error`, or which hook failed and how. */
static void say_failure(const struct failure *f, const char *label, const char *why)
{
	char *at = line;

	if (f->step == STEP_HOOK_EXIT || f->step == STEP_HOOK_TIMEOUT ||
	    f->step == STEP_HOOK_START) {
		at = put(at, "error running ");
		at = put(at, label);
		at = put(at, ": ");
	}
	if (f->step == STEP_HOOK_EXIT || f->step == STEP_HOOK_TIMEOUT) {
		at = put_hook_end(at, f);
	} else {
		at = put(at, f->step == STEP_SECCOMP      ? "seccomp"
			     : f->step == STEP_HOOK_START ? "fork/exec "
			     : f->step == STEP_AWAIT      ? "unable to wait for start"
							  : "exec ");
		if (f->text)
			at = put(at, f->text);
		at = put(at, ": ");
		at = put(at, error_text(f->err));
		if (*why)
			at = put(put(at, ": "), why);
	}
	*at++ = '\n';
	/* A `start` that waits for the exec finds it in the fifo; nobody else has that open. */
	(void)sys3(__NR_write, self.awaiting, line, at - line);
	/* Last: a reader that has gone would kill us. */
	(void)sys3(__NR_write, 2, line, at - line);
}

void report_failure(u32 op, const struct failure *f, const char *why)
{
	const struct message m = {
		.type = MSG_FAIL, .op = op, .step = f->step, .err = f->err, .value = f->value
	};
	const struct message clause = { .type = MSG_WHY };

	if (self.sock < 0) {
		say_failure(f, f->label, why);
		return;
	}
	if (*why)
		(void)send_message(&clause, why, (u32)strlen(why));
	(void)send_message(&m, f->text, f->text_len);
}

/*
 * front_exec.c - exec of what Python has planned before.
 *
 * Probes and health checks send the same bytes every few seconds.  So after an exec that worked
 * replay.py leaves its plan in the container's directory, together with all that it was made of; what
 * is the same again leads to the same plan, and the same init runs it.
 *
 *	exec-HASH	struct head, given, config, lines, plan
 *
 * given: the file of --process, or the words of the command line; HASH is its.  config: that of the
 * bundle, if the words are put over it.  lines, each with its NUL: "cPATH" that config, "nNAME" a
 * namespace, "wPATH" and "dPATH" files and directories of cgroups, in the order of the plan's
 * descriptors; "oN" the OOM score.
 *
 * Until the program is executed nothing of an exec outlasts its init, so whatever goes wrong, DECLINE
 * is the answer, and Python does it all again and has the words for it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"
#include "front.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
	MAX_FILE = 1 << 20,
	MAX_FDS = 64,
	BASE = 3,      /* handshake.BASE */
	ROOM = 256,    /* attributes.ROOM */
	IDLE_MS = 200, /* handshake.IDLE */
	MAX_CPUS = 1024,
};

/* Which init and which record the plan is for, and the sizes of the parts. */
struct head {
	uint64_t init_inode, init_time, record_inode, record_time;
	uint64_t given, config, lines, plan;
};

struct message {
	uint32_t type, op, step;
	int32_t err;
	uint64_t value;
};

struct bytes {
	const char *s;
	size_t len;
};

struct entry {
	const struct request *request;
	struct record record;
	struct foreground *foreground; /* NULL: detached */
	struct head head;
	struct bytes given, config, lines, plan;
	const char *score;
	int lock, fds[2 + MAX_FDS], n_fds; /* the socket's other end, the plan, what it names */
	int sock, pidfd;
	pid_t first, pid;
	char init[PATH_MAX], temp[PATH_MAX]; /* temp: the pid file before it has its name */
};

static bool same(const struct bytes *a, const struct bytes *b)
{
	return a->len == b->len && !memcmp(a->s, b->s, a->len);
}

/* All of a regular file; anything else may be gone once it has been read. */
static bool read_file(int at, const char *path, struct bytes *ret)
{
	cleanup_fd int fd = -1;
	size_t size;
	struct stat st;
	ssize_t n;
	char *to;

	if (fstatat(at, path, &st, 0) < 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE)
		return false;
	size = (size_t)st.st_size + 1;
	to = malloc(size);
	fd = openat(at, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || !to)
		return false;
	ret->s = to;
	for (ret->len = 0; ret->len < size; ret->len += (size_t)n) {
		n = read(fd, to + ret->len, size - ret->len);
		if (n <= 0)
			return !n;
	}
	return false; /* it grows */
}

/* --- the stored plan --- */

static bool find_given(struct entry *e)
{
	const struct request *request = e->request;
	char *const *word;
	char *to;

	if (request->process)
		return read_file(AT_FDCWD, request->process, &e->given);
	for (word = request->words; *word; word++)
		e->given.len += strlen(*word) + 1;
	e->given.s = to = malloc(e->given.len);
	for (word = request->words; to && *word; word++)
		to = stpcpy(to, *word) + 1;
	return to && *request->words;
}

static bool is_identity(int at, const char *path, uint64_t inode, uint64_t time)
{
	struct stat st;

	return fstatat(at, path, &st, 0) == 0 && st.st_ino == inode &&
	       (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec == time;
}

static bool take_part(struct bytes *from, uint64_t size, struct bytes *ret)
{
	if (size > from->len)
		return false;
	ret->s = from->s;
	ret->len = size;
	from->s += size;
	from->len -= size;
	return true;
}

/* The plan of the same process in the same container, by the same pyrunc. */
static bool find_plan(struct entry *e)
{
	struct bytes rest, given;
	struct head *head = &e->head;
	char name[32];

	(void)snprintf(name, sizeof(name), "exec-%016llx",
		       (unsigned long long)core_hash64(e->given.s, e->given.len));
	if (!read_file(e->lock, name, &rest) || rest.len < sizeof(*head))
		return false;
	memcpy(head, rest.s, sizeof(*head));
	rest.s += sizeof(*head);
	rest.len -= sizeof(*head);
	return take_part(&rest, head->given, &given) && same(&given, &e->given) &&
	       take_part(&rest, head->config, &e->config) &&
	       take_part(&rest, head->lines, &e->lines) && take_part(&rest, head->plan, &e->plan) &&
	       !rest.len && e->lines.len && !e->lines.s[e->lines.len - 1] &&
	       !e->config.len == !!e->request->process &&
	       is_identity(AT_FDCWD, e->init, head->init_inode, head->init_time) &&
	       is_identity(e->lock, "state.json", head->record_inode, head->record_time);
}

static bool is_config(const struct entry *e, const char *path)
{
	struct bytes now;

	return read_file(AT_FDCWD, path, &now) && same(&now, &e->config);
}

/* Follow the lines: open what the plan will name. */
static bool open_all(struct entry *e)
{
	const char *line, *end = e->lines.s + e->lines.len;
	cleanup_fd int process = -1;
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%llu/ns", (unsigned long long)e->record.pid);
	process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (line = e->lines.s; line < end; line += strlen(line) + 1) {
		switch (*line) {
		case 'c':
			if (!is_config(e, line + 1))
				return false;
			continue;
		case 'o':
			e->score = line + 1;
			continue;
		case 'n':
			fd = openat(process, line + 1, O_RDONLY | O_CLOEXEC);
			break;
		case 'w':
			fd = open(line + 1, O_WRONLY | O_CLOEXEC);
			break;
		case 'd':
			fd = open(line + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			break;
		default:
			return false;
		}
		if (fd < 0 || e->n_fds == 2 + MAX_FDS)
			return false;
		e->fds[e->n_fds++] = fd;
	}
	/* The number named the right process before the first was opened; does it still? */
	return process_alive(&e->record) == 1;
}

/* --- the pid file --- */

static bool prepare_pid_file(struct entry *e)
{
	const char *path = e->request->pid_file, *slash;
	struct stat st;
	int n;

	if (!path)
		return true;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return false;
	slash = strrchr(path, '/');
	slash = slash ? slash + 1 : path;
	n = snprintf(e->temp, sizeof(e->temp), "%.*s.%s", (int)(slash - path), path, slash);
	return *slash && n < (int)sizeof(e->temp);
}

static bool write_pid(const struct entry *e)
{
	cleanup_fd int fd = -1;

	if (!*e->temp)
		return true;
	if (unlink(e->temp) < 0 && errno != ENOENT)
		return false;
	fd = open(e->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	return fd >= 0 && dprintf(fd, "%d", e->pid) > 0;
}

/* --- init --- */

static bool spawn(struct entry *e)
{
	const int ours[3] = { -1, -1, -1 };
	cleanup_fd int exe = -1;
	int pair[2], i;

	exe = core_seal(e->init);
	e->fds[1] = memfd_create("pyrunc-plan", MFD_CLOEXEC);
	if (exe < 0 || e->fds[1] < 0 ||
	    write(e->fds[1], e->plan.s, e->plan.len) != (ssize_t)e->plan.len ||
	    core_socketpair(pair) < 0)
		return false;
	e->sock = pair[0];
	e->fds[0] = pair[1];
	e->first = core_spawn(exe, BASE, e->fds, e->n_fds,
			      e->foreground ? e->foreground->stdio : ours);
	for (i = 0; i < e->n_fds; i++)
		(void)close(e->fds[i]);
	e->n_fds = 0;
	return e->first > 0;
}

/* It is in the container's cgroups: the OOM score, and all CPUs that these allow. */
static bool joined(const struct entry *e)
{
	static cpu_set_t all[MAX_CPUS / CPU_SETSIZE];
	cleanup_fd int fd = -1;
	char path[64];

	if (e->score) {
		(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", e->pid);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, e->score, strlen(e->score)) < 0)
			return false;
	}
	memset(all, 0xff, sizeof(all));
	return sched_setaffinity(e->pid, sizeof(all), all) == 0;
}

static bool answer(struct entry *e, uint64_t point)
{
	if (point == SYNC_JOINED ? !joined(e) : !write_pid(e))
		return false;
	if (point == SYNC_READY && e->foreground)
		foreground_spawned(e->foreground);
	(void)!write(e->sock, "g", 1); /* if it is gone, the next read says so */
	return true;
}

/* Its process has been cloned, and the first stage ends. */
static bool succeed(struct entry *e, uint64_t pid)
{
	e->pid = (pid_t)pid;
	e->pidfd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	(void)waitpid(e->first, NULL, 0);
	e->first = 0;
	return e->pidfd >= 0;
}

/* While init has nothing to say: if it was paused, the `resume` it waits for must not wait for us. */
static bool keep_waiting(struct entry *e, bool ahead)
{
	siginfo_t info = { 0 };

	if (e->lock >= 0 && !cgroup_thawed(&e->record)) {
		(void)close(e->lock);
		e->lock = -1;
	}
	/* A stage has spoken whose pid the one before has yet to tell, unless that was killed. */
	return !ahead || waitid(P_PID, (id_t)e->first, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	       !info.si_pid;
}

/* The conversation of handshake.py; false unless the program has been executed. */
static bool converse(struct entry *e)
{
	struct pollfd in = { .fd = e->sock, .events = POLLIN };
	uint64_t waiting = 0;
	bool ready = false;
	struct message m;
	ssize_t n;

	for (;;) {
		if (!poll(&in, 1, IDLE_MS) && !keep_waiting(e, waiting && !e->pid))
			return false;
		n = recv(e->sock, &m, sizeof(m), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (!n)
			return ready;
		if (n != sizeof(m))
			return false;
		if (m.type == MSG_PID && !e->pid && !m.step) {
			if (!succeed(e, m.value))
				return false;
		} else if (m.type == MSG_SYNC && m.step == 1 && !ready &&
			   (m.value == SYNC_JOINED || m.value == SYNC_READY)) {
			waiting = m.value;
		} else {
			return false;
		}
		if (waiting && e->pid) {
			if (!answer(e, waiting))
				return false;
			ready = waiting == SYNC_READY;
			waiting = 0;
		}
	}
}

/* Nothing is left of an init that failed. */
static void abandon(const struct entry *e)
{
	const pid_t pids[] = { e->pid, e->first };

	for (int i = 0; i < 2; i++)
		if (pids[i] > 0) {
			(void)kill(pids[i], SIGKILL);
			(void)waitpid(pids[i], NULL, 0);
		}
	if (*e->temp)
		(void)unlink(e->temp);
	if (e->foreground)
		(void)sigprocmask(SIG_SETMASK, &e->foreground->mask, NULL);
}

/* --- the story --- */

static bool start(struct entry *e)
{
	if (e->foreground && !foreground_open(e->foreground))
		return false;
	if (!spawn(e) || !converse(e))
		return false;
	return !*e->temp || rename(e->temp, e->request->pid_file) == 0;
}

int verb_exec(const struct request *request)
{
	static struct foreground foreground;
	static struct entry e;
	char path[PATH_MAX];
	struct rlimit files;
	int status;

	e.request = request;
	e.n_fds = 2;
	if (geteuid() || getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur < ROOM ||
	    !locate("/pyrunc/_init", e.init) || !find_given(&e))
		return DECLINE;
	e.lock = lock_directory(request, path, true);
	if (e.lock < 0 || !find_plan(&e) || !record_load(e.lock, request->id, &e.record))
		return DECLINE;
	status = observe(e.lock, &e.record);
	if ((status != RUNNING && status != CREATED) || !open_all(&e) || !prepare_pid_file(&e))
		return DECLINE;
	if (!request->detach)
		e.foreground = &foreground;
	(void)signal(SIGCHLD, SIG_DFL); /* where it is ignored, the kernel would reap them */
	if (!start(&e)) {
		abandon(&e);
		return DECLINE;
	}
	if (!e.foreground)
		return DONE;
	if (e.lock >= 0)
		(void)close(e.lock);
	status = foreground_serve(&foreground, e.pid, e.pidfd);
	foreground_drain(&foreground);
	return exit_code(status);
}

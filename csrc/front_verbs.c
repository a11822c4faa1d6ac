/*
 * front_verbs.c - what container.py does, for the plain case.
 *
 * The plain case: the record is there and simple (no hooks to run, a pid namespace of its own),
 * nobody else holds the lock, the container is not paused, and the verb is allowed in its status.
 * Everything else is DECLINE, and so is `delete` where systemd has to be told.  `delete` may also give
 * up in the middle: each of its steps can be repeated, so Python carries on from there.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define SPEC_VERSION "1.3.0"           /* commands.SPEC_VERSION */
#define INIT_EXE "/memfd:pyrunc-init"  /* container.INIT_EXE */
#define PATIENCE_MS 10000              /* processes.PATIENCE */
#define UNIT_MS 100                    /* systemd forgets a unit of which all processes are gone */
#define UNITS "/run/systemd/transient" /* a file for each such unit of the system's manager */

int open_directory(const struct request *request, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s", request->root, request->id);

	if (n < 0 || n >= PATH_MAX)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The container's directory, locked; -1 if it is gone or another command is at work. */
int lock_directory(const struct request *request, char path[PATH_MAX], bool shared)
{
	int fd = open_directory(request, path);
	struct stat ours, now;

	if (fd < 0)
		return -1;
	if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0 || fstat(fd, &ours) < 0 ||
	    stat(path, &now) < 0 || ours.st_dev != now.st_dev || ours.st_ino != now.st_ino) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* Read a small file into a string; its length, or -errno. */
ssize_t read_small(const char *path, char *to, size_t size)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, to, size - 1);
	if (n < 0)
		return -errno;
	to[n] = '\0';
	return n;
}

/* Is this very process (not a later one of the same number) there?  1, 0, or -1: cannot tell. */
int process_alive(const struct record *record)
{
	char path[64], text[4096], *at, *save = NULL;
	ssize_t n;
	int i;

	(void)snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)record->pid);
	n = read_small(path, text, sizeof(text));
	if (n < 0)
		return n == -ENOENT || n == -ESRCH ? 0 : -1;
	/* The command name, field 2, may hold anything, parentheses included. */
	at = strrchr(text, ')');
	at = at ? strtok_r(at + 1, " ", &save) : NULL;
	if (!at)
		return -1;
	if (*at == 'Z' || *at == 'X')
		return 0;
	for (i = 3; i < 22 && at; i++)
		at = strtok_r(NULL, " ", &save);
	if (!at)
		return -1;
	return strtoull(at, NULL, 10) == record->start;
}

enum status observe(int directory, const struct record *record)
{
	const ssize_t len = sizeof(INIT_EXE) - 1;
	char path[64], exe[64];
	struct stat st;
	ssize_t n;

	if (!cgroup_thawed(record))
		return UNSURE;
	switch (process_alive(record)) {
	case 0:
		return STOPPED;
	case 1:
		break;
	default:
		return UNSURE;
	}
	if (fstatat(directory, "exec.fifo", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? RUNNING : UNSURE;
	(void)snprintf(path, sizeof(path), "/proc/%llu/exe", (unsigned long long)record->pid);
	n = readlink(path, exe, sizeof(exe));
	if (n < 0)
		return UNSURE;
	/* The fifo goes a moment after its byte was read; init's own program is the proof. */
	return n < len || memcmp(exe, INIT_EXE, (size_t)len) ? RUNNING : CREATED;
}

/* A pidfd of init, whoever may have got its number since; -1 if it is gone. */
static int open_init(const struct record *record)
{
	int fd = (int)syscall(SYS_pidfd_open, (pid_t)record->pid, 0);

	if (fd >= 0 && process_alive(record) != 1) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

int send_signal(int pidfd, int number)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

/* --- start --- */

int verb_start(const struct request *request)
{
	static struct record record;
	char path[PATH_MAX];
	cleanup_fd int directory = lock_directory(request, path, false);
	cleanup_fd int fifo = -1;

	if (directory < 0 || !record_load(directory, request->id, &record) ||
	    observe(directory, &record) != CREATED)
		return DECLINE;
	fifo = openat(directory, "exec.fifo", O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fifo < 0 || write(fifo, "0", 1) != 1)
		return DECLINE;
	/* From here on it runs, and the status says so whether the fifo is there or not. */
	(void)unlinkat(directory, "exec.fifo", 0);
	return DONE;
}

/* --- state --- */

struct output {
	char data[(1 << 20) + (1 << 17)]; /* a record, and the blanks between its members */
	size_t len;
};

static void put(struct output *out, const char *s, size_t len)
{
	if (len <= sizeof(out->data) - out->len)
		memcpy(out->data + out->len, s, len);
	out->len += len <= sizeof(out->data) - out->len ? len : sizeof(out->data);
}

static void put_string(struct output *out, const char *before, const struct text *text,
		       const char *after)
{
	put(out, before, strlen(before));
	put(out, "\"", 1);
	put(out, text->s, text->len);
	put(out, "\"", 1);
	put(out, after, strlen(after));
}

struct annotation {
	struct text key, value;
};

static int compare(const void *a, const void *b)
{
	const struct text *x = &((const struct annotation *)a)->key;
	const struct text *y = &((const struct annotation *)b)->key;
	int order = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);

	if (order)
		return order;
	return x->len < y->len ? -1 : x->len > y->len;
}

/* Labels are `key=value`; returns the number of annotations, or -1. */
static int split_labels(const struct record *record, struct annotation *ret,
			struct text *ret_bundle)
{
	bool found = false;
	unsigned int i;
	int n = 0, j;

	for (i = 0; i < record->n_labels; i++) {
		const struct text *label = &record->labels[i];
		const char *equals = memchr(label->s, '=', label->len);
		struct text key, value;

		if (!equals)
			return -1;
		key.s = label->s;
		key.len = (size_t)(equals - label->s);
		value.s = equals + 1;
		value.len = label->len - key.len - 1;
		if (memchr(key.s, '\\', key.len)) /* its bytes would not sort as it does */
			return -1;
		if (!text_is(&key, "bundle")) {
			ret[n].key = key;
			ret[n++].value = value;
		} else if (found) {
			return -1;
		} else {
			*ret_bundle = value;
			found = true;
		}
	}
	qsort(ret, (size_t)n, sizeof(*ret), compare);
	for (j = 1; j < n; j++)
		if (!compare(&ret[j - 1], &ret[j]))
			return -1;
	return found ? n : -1;
}

int print_all(const char *data, size_t len)
{
	struct pollfd room = { .fd = STDOUT_FILENO, .events = POLLOUT };
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = write(STDOUT_FILENO, data + done, len - done);
		if (n < 0 && errno == EAGAIN) /* others have the pipe, too, and made it so */
			n = poll(&room, 1, -1) < 0 ? -1 : 0;
		if (n < 0 && errno != EINTR)
			return done ? 1 : DECLINE;
		done += n > 0 ? (size_t)n : 0;
	}
	return DONE;
}

int verb_state(const struct request *request)
{
	static const char *const names[] = { "", "stopped", "created", "running" };
	static struct record record;
	static struct output out;
	static struct annotation annotations[MAX_LABELS];
	char path[PATH_MAX], number[64];
	cleanup_fd int directory = open_directory(request, path);
	struct text bundle, status;
	enum status now;
	int i, n;

	if (directory < 0 || !record_load(directory, request->id, &record))
		return DECLINE;
	now = observe(directory, &record);
	n = split_labels(&record, annotations, &bundle);
	if (now == UNSURE || n < 0)
		return DECLINE;
	status.s = names[now];
	status.len = strlen(names[now]);
	(void)snprintf(number, sizeof(number), "  \"pid\": %llu,\n",
		       now == STOPPED ? 0ULL : (unsigned long long)record.pid);
	put_string(&out, "{\n  \"ociVersion\": \"" SPEC_VERSION "\",\n  \"id\": ", &record.id,
		   ",\n");
	put(&out, number, strlen(number));
	put_string(&out, "  \"status\": ", &status, ",\n");
	put_string(&out, "  \"bundle\": ", &bundle, ",\n");
	put_string(&out, "  \"rootfs\": ", &record.rootfs, ",\n");
	put_string(&out, "  \"created\": ", &record.created, ",\n");
	for (i = 0; i < n; i++) {
		put_string(&out, i ? ",\n    " : "  \"annotations\": {\n    ", &annotations[i].key,
			   ": ");
		put_string(&out, "", &annotations[i].value, i == n - 1 ? "\n  },\n" : "");
	}
	put(&out, "  \"owner\": \"\"\n}", strlen("  \"owner\": \"\"\n}"));
	return out.len > sizeof(out.data) ? DECLINE : print_all(out.data, out.len);
}

/* --- kill --- */

/* Numbers and the names every system has; anything more is for signals.py. */
static int parse_signal(const char *text)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {
		{ "HUP", SIGHUP },   { "INT", SIGINT },     { "QUIT", SIGQUIT },
		{ "ABRT", SIGABRT }, { "KILL", SIGKILL },   { "USR1", SIGUSR1 },
		{ "USR2", SIGUSR2 }, { "TERM", SIGTERM },   { "CONT", SIGCONT },
		{ "STOP", SIGSTOP }, { "WINCH", SIGWINCH },
	};
	size_t i;

	if (!text || !*text)
		return SIGTERM;
	if (strspn(text, "0123456789") == strlen(text))
		return strlen(text) < 3 && atoi(text) <= 64 ? atoi(text) : -1;
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcasecmp(text, known[i].name))
			return known[i].number;
	return -1;
}

int verb_kill(const struct request *request)
{
	static struct record record;
	char path[PATH_MAX];
	cleanup_fd int directory = open_directory(request, path);
	cleanup_fd int pidfd = -1;
	int number = parse_signal(request->signal);
	enum status now;

	if (directory < 0 || number < 0 || !record_load(directory, request->id, &record))
		return DECLINE;
	now = observe(directory, &record);
	if (now != CREATED && now != RUNNING)
		return DECLINE;
	pidfd = open_init(&record);
	if (pidfd < 0 || send_signal(pidfd, number) < 0)
		return DECLINE;
	return DONE;
}

/* --- delete --- */

/* SIGKILL, then wait until it is gone. */
static bool kill_init(const struct record *record)
{
	cleanup_fd int pidfd = open_init(record);
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0)
		return process_alive(record) == 0;
	if (send_signal(pidfd, SIGKILL) < 0 && errno != ESRCH)
		return false;
	return poll(&poll_fd, 1, PATIENCE_MS) == 1;
}

/*
 * rmdir(2), waiting some milliseconds for processes that are dead but not yet out.  Sub-cgroups and
 * processes that stay are Python's to look at.
 */
static bool remove_cgroup(const char *path)
{
	struct timespec pause = { 0, 100000 };
	struct stat st;
	int i;

	for (i = 0; i < 9; i++) {
		if (!rmdir(path) || errno == ENOENT)
			return true;
		if (errno != EBUSY || stat(path, &st) < 0 || st.st_nlink > 2)
			return false;
		(void)nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
	}
	return false;
}

/* Wait until a file in UNITS is not there (any more).  inotify(7) takes longer to be closed. */
static bool wait_for_end(const char *file)
{
	const struct timespec pause = { 0, 1000000 };
	int i;

	if (access(UNITS, F_OK) < 0)
		return false; /* nor can we tell anything from a file that is not there */
	for (i = 0; !access(file, F_OK); i++) {
		if (i == UNIT_MS)
			return false;
		(void)nanosleep(&pause, NULL);
	}
	return errno == ENOENT;
}

/*
 * Has systemd ended the scope by itself, as it does when all processes are gone?  One that failed
 * stays until it is told to forget that; and a user's systemd keeps its files elsewhere.
 */
static bool scope_ended(const struct record *record)
{
	char file[PATH_MAX];
	bool ended = false;
	unsigned int i;

	for (i = 0; i < record->n_paths; i++) {
		const char *path = record->paths[i], *name = strrchr(path, '/') + 1;
		size_t len = strlen(name);

		if (!text_is(&record->names[i], "") && !text_is(&record->names[i], "name=systemd"))
			continue;
		/* A name that begins so may be another one's in the file system (units.escape). */
		if (*name == '_' || len < 6 || strcmp(name + len - 6, ".scope") ||
		    strstr(path, "/user@"))
			return false;
		(void)snprintf(file, sizeof(file), "%s/%s", UNITS, name);
		if (!wait_for_end(file) || !access(path, F_OK) || errno != ENOENT)
			return false;
		ended = true;
	}
	return ended;
}

static bool is_plan(const char *name)
{
	return !strncmp(name, "exec-", 5);
}

/*
 * Does the directory hold the record, the fifo and plans of exec, and nothing else?  The plans are
 * removed here: they are never missed.
 */
static bool only_ours(int directory)
{
	int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	bool ours = true;

	if (!list) {
		if (copy >= 0)
			(void)close(copy);
		return false;
	}
	while (ours && (entry = readdir(list))) {
		if (is_plan(entry->d_name) && !unlinkat(directory, entry->d_name, 0))
			continue;
		ours = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		       !strcmp(entry->d_name, "state.json") || !strcmp(entry->d_name, "exec.fifo");
	}
	(void)closedir(list);
	return ours;
}

int verb_delete(const struct request *request)
{
	static struct record record;
	char path[PATH_MAX];
	cleanup_fd int directory = lock_directory(request, path, false);
	enum status now;
	unsigned int i;

	if (directory < 0 || !record_load(directory, request->id, &record))
		return DECLINE;
	if (request->pid && (record.pid != request->pid || record.start != request->start))
		return DONE; /* another one has got its name meanwhile */
	if (!only_ours(directory))
		return DECLINE;
	now = observe(directory, &record);
	if (now == UNSURE || (now == RUNNING && !request->force))
		return DECLINE;
	if (now != STOPPED && !kill_init(&record))
		return DECLINE;
	if (record.unit && !scope_ended(&record))
		return DECLINE;
	for (i = 0; i < record.n_paths; i++)
		if (!remove_cgroup(record.paths[i]))
			return DECLINE;
	/* The record goes last: as long as it is there, Python can take over. */
	if ((unlinkat(directory, "exec.fifo", 0) < 0 && errno != ENOENT) ||
	    unlinkat(directory, "state.json", 0) < 0 || rmdir(path) < 0)
		return DECLINE;
	return DONE;
}

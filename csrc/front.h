/*
 * front.h - what the files of the `pyrunc` command share.
 *
 *     front.c         argv; start the interpreter
 *     front_record.c  read a container's record
 *     front_verbs.c   start, state, kill, delete
 *     front_cgroup.c  ps, pause, resume
 *     front_exec.c    exec of what Python has planned before
 *     front_relay.c   its foreground
 *
 * Rule: the front may decline, it may never differ.  Whatever it does not know to the last detail it
 * leaves to Python, which gets the same argv.  It says so by returning DECLINE.
 */
#ifndef PYRUNC_FRONT_H
#define PYRUNC_FRONT_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

enum {
	DONE = 0,
	DECLINE = -1
};

#define MAX_PATHS 32 /* cgroup hierarchies of one container */
#define MAX_LABELS 512

/* What argv asked for.  Strings belong to argv. */
struct request {
	const char *root, *verb, *id, *log;
	const char *signal;             /* kill: as typed; NULL: SIGTERM */
	const char *format;             /* ps: as typed */
	bool force;                     /* delete */
	const char *process, *pid_file; /* exec; NULL: not given */
	char *const *words;             /* exec: the command, which ends with NULL */
	bool detach;                    /* exec */
	uint64_t pid, start;            /* delete: only the container of this process; 0: any */
};

enum status {
	UNSURE,
	STOPPED,
	CREATED,
	RUNNING
};

/* A string of the record: JSON text without its quotes, escapes as they are. */
struct text {
	const char *s;
	size_t len;
};

/* The parts of state.json that these verbs need; the texts point into the file's content. */
struct record {
	struct text id, created, rootfs;
	uint64_t pid, start;
	bool simple;
	bool unit; /* its cgroups are a systemd unit's */
	struct text labels[MAX_LABELS];
	unsigned int n_labels;
	struct text names[MAX_PATHS]; /* cgroup hierarchy: "" is v2 */
	char *paths[MAX_PATHS];       /* its directory */
	unsigned int n_paths;
};

static inline void cleanup_fd_(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
#define cleanup_fd __attribute__((cleanup(cleanup_fd_)))

/* One direction: what was read from `source` and still has to go to `sink`. */
struct copy {
	int source, sink;
	bool ended;
	bool held; /* what is there to read is typed to another job */
	const char *at;
	size_t left;
	char data[65536];
};

struct foreground {
	struct copy copies[3];
	int stdio[3]; /* the container's */
	int events;
	sigset_t mask; /* as it was */
};

bool text_is(const struct text *text, const char *s);

/* front.c: the path of a file of the package, as "/pyrunc/cli.py". */
bool locate(const char *file, char path[PATH_MAX]);

/* front_record.c: false for anything but a record exactly as container.py writes it. */
bool record_parse(char *data, size_t len, struct record *ret);
bool record_load(int directory, const char *id, struct record *ret);

/* front_verbs.c.  A directory is -1 if it is gone or, to be locked, in another command's hands. */
int open_directory(const struct request *request, char path[PATH_MAX]);
int lock_directory(const struct request *request, char path[PATH_MAX], bool shared);
ssize_t read_small(const char *path, char *to, size_t size);
int process_alive(const struct record *record);
int send_signal(int pidfd, int number);
enum status observe(int directory, const struct record *record);
int print_all(const char *data, size_t len);

/* front_cgroup.c: surely not frozen? */
bool cgroup_thawed(const struct record *record);

/* front_relay.c */
int exit_code(int status);
bool foreground_open(struct foreground *f);
void foreground_spawned(const struct foreground *f);
int foreground_serve(struct foreground *f, pid_t pid, int pidfd);
void foreground_drain(struct foreground *f);

/* DONE, or DECLINE; exec: or its exit status. */
int verb_start(const struct request *request);
int verb_state(const struct request *request);
int verb_kill(const struct request *request);
int verb_delete(const struct request *request);
int verb_ps(const struct request *request);
int verb_pause(const struct request *request);
int verb_resume(const struct request *request);
int verb_exec(const struct request *request);

#endif

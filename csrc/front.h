/*
 * front.h - what the files of the `pyrunc` command share.
 *
 *     front.c         argv; start the interpreter
 *     front_record.c  read a container's record
 *     front_verbs.c   start, state, kill, delete
 *
 * Rule: the front may decline, it may never differ.  Whatever it does not know to the last detail it
 * leaves to Python, which gets the same argv.  It says so by returning DECLINE.
 */
#ifndef PYRUNC_FRONT_H
#define PYRUNC_FRONT_H

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
	const char *signal; /* kill: as typed; NULL: SIGTERM */
	bool force;         /* delete */
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

bool text_is(const struct text *text, const char *s);

/* front_record.c: false for anything but a record exactly as container.py writes it. */
bool record_parse(char *data, size_t len, struct record *ret);
bool record_load(int directory, const char *id, struct record *ret);

/* front_verbs.c: DONE, or DECLINE. */
int verb_start(const struct request *request);
int verb_state(const struct request *request);
int verb_kill(const struct request *request);
int verb_delete(const struct request *request);

#endif

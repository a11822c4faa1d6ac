/*
 * front_cgroup.c - the verbs that only look at a container's cgroup, or freeze it: ps, pause, resume.
 *
 * The plain case of cgroups/fs.py: no cgroup below it, and a freeze that takes a moment at most.  On
 * DECLINE after a failed freeze it is thawed again, so that Python starts from the beginning.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	MAX_PIDS = 4096,
	ATTEMPTS = 20, /* v1: each lasts a millisecond */
	SOON_MS = 100, /* v2: until all have stopped */
};

static const char *find(const struct record *record, const char *name)
{
	unsigned int i;

	for (i = 0; i < record->n_paths; i++)
		if (text_is(&record->names[i], name))
			return record->paths[i];
	return NULL;
}

static bool join(char path[PATH_MAX], const char *directory, const char *file)
{
	return snprintf(path, PATH_MAX, "%s/%s", directory, file) < PATH_MAX;
}

/* A file of a cgroup as a string; its length, or -errno. */
static ssize_t get(const char *directory, const char *file, char *to, size_t size)
{
	char path[PATH_MAX];

	return join(path, directory, file) ? read_small(path, to, size) : -ENAMETOOLONG;
}

static bool contains(const char *directory, const char *file, const char *text)
{
	char content[32];

	return get(directory, file, content, sizeof(content)) > 0 && !strcmp(content, text);
}

static bool put_value(const char *directory, const char *file, const char *value)
{
	cleanup_fd int fd = -1;
	char path[PATH_MAX];

	if (!join(path, directory, file))
		return false;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
}

/* v1 and hybrid hosts freeze through a hierarchy of its own. */
bool cgroup_thawed(const struct record *record)
{
	const char *v1 = find(record, "freezer"), *v2 = find(record, "");
	char text[32];
	ssize_t n;

	if (!v1 && !v2)
		return true;
	n = v1 ? get(v1, "freezer.state", text, sizeof(text))
	       : get(v2, "cgroup.freeze", text, sizeof(text));
	return n == -ENOENT || n == -ENODEV || (n > 0 && !strcmp(text, v1 ? "THAWED\n" : "0\n"));
}

/* --- ps --- */

static int compare(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The numbers in cgroup.procs in order, each once; 0 for anything unusual. */
static size_t list_pids(const char *directory, unsigned long pids[MAX_PIDS])
{
	static char text[MAX_PIDS * 8];
	char path[PATH_MAX], *at = text, *end;
	cleanup_fd int fd = -1;
	size_t len = 0, n = 0, kept = 0, i;
	ssize_t part;

	if (!join(path, directory, "cgroup.procs"))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	do { /* the kernel hands out a page at a time */
		part = read(fd, text + len, sizeof(text) - 1 - len);
		len += part > 0 ? (size_t)part : 0;
	} while (part > 0 && len < sizeof(text) - 1);
	if (part)
		return 0;
	for (; *at; at = end + 1) {
		pids[n] = strtoul(at, &end, 10);
		if (end == at || *end != '\n' || ++n == MAX_PIDS)
			return 0;
	}
	qsort(pids, n, sizeof(*pids), compare);
	for (i = 0; i < n; i++)
		if (!i || pids[i] != pids[i - 1])
			pids[kept++] = pids[i];
	return kept;
}

int verb_ps(const struct request *request)
{
	static struct record record;
	static unsigned long pids[MAX_PIDS];
	static char out[MAX_PIDS * 21];
	char path[PATH_MAX];
	cleanup_fd int directory = open_directory(request, path);
	const char *cgroup;
	struct stat st;
	size_t n, i;
	int len = 0;

	if (directory < 0 || !request->format || strcmp(request->format, "json") ||
	    !record_load(directory, request->id, &record))
		return DECLINE;
	cgroup = find(&record, "devices");
	if (!cgroup)
		cgroup = find(&record, "");
	/* Two links: its name and its own `.`, so there is nothing below it. */
	if (!cgroup || stat(cgroup, &st) < 0 || st.st_nlink != 2)
		return DECLINE;
	n = list_pids(cgroup, pids);
	if (!n)
		return DECLINE;
	for (i = 0; i < n; i++)
		len += sprintf(out + len, "%c%lu", i ? ',' : '[', pids[i]);
	len += sprintf(out + len, "]\n");
	return print_all(out, (size_t)len);
}

/* --- pause and resume --- */

static bool freeze_v1(const char *directory)
{
	const struct timespec pause = { 0, 1000000 };
	int i;

	for (i = 0; i < ATTEMPTS; i++) {
		if (!put_value(directory, "freezer.state", "FROZEN"))
			break;
		if (contains(directory, "freezer.state", "FROZEN\n"))
			return true;
		(void)nanosleep(&pause, NULL);
	}
	(void)put_value(directory, "freezer.state", "THAWED");
	return false;
}

static bool freeze_v2(const char *directory)
{
	cleanup_fd int fd = -1;
	char path[PATH_MAX], text[256];
	struct pollfd change;
	ssize_t n;

	if (!join(path, directory, "cgroup.events"))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !put_value(directory, "cgroup.freeze", "1"))
		return false;
	change = (struct pollfd){ .fd = fd, .events = POLLPRI };
	do {
		n = pread(fd, text, sizeof(text) - 1, 0);
		if (n <= 0)
			break;
		text[n] = '\0';
		if (strstr(text, "frozen 1\n"))
			return true;
	} while (poll(&change, 1, SOON_MS) == 1);
	(void)put_value(directory, "cgroup.freeze", "0");
	return false;
}

int verb_pause(const struct request *request)
{
	static struct record record;
	char path[PATH_MAX];
	cleanup_fd int directory = lock_directory(request, path, true);
	const char *v1, *v2;
	enum status now;

	if (directory < 0 || !record_load(directory, request->id, &record))
		return DECLINE;
	now = observe(directory, &record);
	if (now != CREATED && now != RUNNING)
		return DECLINE;
	v1 = find(&record, "freezer");
	v2 = find(&record, "");
	if (!v1 && !v2)
		return DECLINE;
	return (v1 ? freeze_v1(v1) : freeze_v2(v2)) ? DONE : DECLINE;
}

int verb_resume(const struct request *request)
{
	static struct record record;
	char path[PATH_MAX];
	cleanup_fd int directory = open_directory(request, path);
	const char *v1, *v2;
	bool done = false;

	if (directory < 0 || !record_load(directory, request->id, &record))
		return DECLINE;
	v1 = find(&record, "freezer");
	v2 = find(&record, "");
	if (v1 && contains(v1, "freezer.state", "FROZEN\n") &&
	    contains(v1, "freezer.self_freezing", "1\n"))
		done = put_value(v1, "freezer.state", "THAWED");
	else if (!v1 && v2 && contains(v2, "cgroup.freeze", "1\n"))
		done = put_value(v2, "cgroup.freeze", "0");
	return done ? DONE : DECLINE;
}

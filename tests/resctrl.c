/*
 * resctrl.c - the kernel's part in a directory that stands for a mounted resctrl.
 *
 * Few machines have one.  Preloaded, it shows $RESCTRL as a mount of resctrl, fills a new group as
 * the kernel does, merges what is written to `schemata`, and lets go of a group with its files.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root(void)
{
	const char *path = getenv("RESCTRL");

	return path ? path : "/nonexistent";
}

static int is_below(const char *path)
{
	return !strncmp(path, root(), strlen(root()));
}

static int real_open(const char *path, int flags, mode_t mode)
{
	int (*call)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");

	return call(path, flags, mode);
}

static ssize_t real_write(int fd, const void *data, size_t size)
{
	ssize_t (*call)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");

	return call(fd, data, size);
}

static void put(const char *folder, const char *name, const char *text)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = real_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || real_write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static int open_file(const char *path, int flags, mode_t mode)
{
	char shown[4096];

	snprintf(shown, sizeof(shown), "%s/../mountinfo", root());
	return real_open(strcmp(path, "/proc/self/mountinfo") ? path : shown, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
	va_end(list);
	return open_file(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
	va_end(list);
	return open_file(path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
	int (*call)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
	int ret = call(path, mode), monitor = !!strstr(path, "/mon_groups/");
	char below[4096];

	if (ret < 0 || !is_below(path))
		return ret;
	put(path, "tasks", "");
	if (!monitor) {
		put(path, "schemata", "    MB:0=100\n    L3:0=ff;1=ff\n");
		snprintf(below, sizeof(below), "%s/mon_groups", path);
		call(below, 0755);
	}
	snprintf(below, sizeof(below), "%s/mon_data", path);
	call(below, 0755);
	strcat(below, "/mon_L3_00");
	call(below, 0755);
	put(below, "llc_occupancy", monitor ? "7\n" : "4096\n");
	put(below, "mbm_total_bytes", "2000\n");
	put(below, "mbm_local_bytes", "Unavailable\n");
	return 0;
}

int rmdir(const char *path)
{
	int (*call)(const char *) = dlsym(RTLD_NEXT, "rmdir");
	struct dirent *entry;
	char below[4096];
	DIR *dir;

	if (is_below(path) && (dir = opendir(path))) {
		while ((entry = readdir(dir))) {
			if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
				continue;
			snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
			if (unlink(below) < 0)
				rmdir(below);
		}
		closedir(dir);
	}
	return call(path);
}

/* Replace the line of the same resource. */
static int set_line(const char *path, const char *line)
{
	char old[4096] = "", new[8192] = "", *at, *next;
	size_t name = strcspn(line, ":") + 1;
	int fd = real_open(path, O_RDONLY, 0), found = 0;

	if (fd < 0 || read(fd, old, sizeof(old) - 1) < 0)
		abort();
	close(fd);
	for (at = strtok_r(old, "\n", &next); at; at = strtok_r(NULL, "\n", &next)) {
		const char *text = at + strspn(at, " ");

		if (!strncmp(text, line, name)) {
			found = 1;
			text = line;
		}
		sprintf(new + strlen(new), "    %s\n", text);
	}
	fd = real_open(path, O_WRONLY | O_TRUNC, 0);
	if (fd < 0 || real_write(fd, new, strlen(new)) < 0)
		abort();
	close(fd);
	return found;
}

ssize_t write(int fd, const void *data, size_t size)
{
	char link[64], path[4096], text[4096], *line, *next;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0 || size >= sizeof(text))
		return real_write(fd, data, size);
	path[n] = 0;
	if (!is_below(path))
		return real_write(fd, data, size);
	memcpy(text, data, size);
	text[size] = 0;
	if (strstr(path, "/tasks")) {
		strcat(text, "\n");
		lseek(fd, 0, SEEK_END);
		return real_write(fd, text, strlen(text)) > 0 ? (ssize_t)size : -1;
	}
	if (!strstr(path, "/schemata"))
		return real_write(fd, data, size);
	for (line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
		line += strspn(line, " ");
		if (!set_line(path, line)) {
			snprintf(path, sizeof(path), "%s/info", root());
			put(path, "last_cmd_status", "Unknown or unsupported resource name\n");
			errno = EINVAL;
			return -1;
		}
	}
	return (ssize_t)size;
}

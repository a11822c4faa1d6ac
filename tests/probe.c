/*
 * probe.c - runs in a container and prints, as one JSON object, what it sees of itself.
 *
 *     probe            print and exit 0
 *     probe wait       print, then sleep until a signal ends it
 *     probe notify TEXT...   send each text to $NOTIFY_SOCKET instead; exit 0 if all arrived
 *     probe lock FILE  lock the file instead, and hold the lock until a signal ends it
 *
 * Linked statically: the container's root filesystem needs nothing else.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *separator = "";

static void string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void key(const char *name)
{
	printf("%s", separator);
	string(name);
	putchar(':');
	separator = ",\n";
}

static void number(const char *name, long value)
{
	key(name);
	printf("%ld", value);
}

static void text(const char *name, const char *value)
{
	key(name);
	string(value);
}

static void strings(const char *name, char *const *list)
{
	key(name);
	putchar('[');
	for (char *const *s = list; *s; s++) {
		if (s != list)
			putchar(',');
		string(*s);
	}
	putchar(']');
}

/* A file's lines as a list; an absent file is an empty list. */
static void lines(const char *name, const char *path)
{
	static char line[65536];
	const char *comma = "";
	FILE *file = fopen(path, "re");

	key(name);
	putchar('[');
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		printf("%s", comma);
		string(line);
		comma = ",";
	}
	putchar(']');
	if (file)
		fclose(file);
}

/* A directory of symbolic links as an object; the descriptor that lists it is left out. */
static void links(const char *name, const char *path)
{
	char target[4096];
	const char *comma = "";
	DIR *dir = opendir(path);
	struct dirent *entry;

	key(name);
	putchar('{');
	while (dir && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (n < 0 || (strcmp(name, "fds") == 0 && atoi(entry->d_name) == dirfd(dir)))
			continue;
		target[n] = 0;
		printf("%s", comma);
		string(entry->d_name);
		putchar(':');
		string(target);
		comma = ",";
	}
	putchar('}');
	if (dir)
		closedir(dir);
}

static void status(void)
{
	static const char *const wanted[] = {
		"CapInh",
		"CapPrm",
		"CapEff",
		"CapBnd",
		"CapAmb",
		"NoNewPrivs",
		"Seccomp",
		"SigBlk",
		"SigIgn",
		"NSpid",
		"Cpus_allowed_list",
	};
	char line[4096];
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');

		if (!value)
			continue;
		*value++ = 0;
		value += strspn(value, "\t ");
		value[strcspn(value, "\n")] = 0;
		for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
			if (strcmp(line, wanted[i]) == 0)
				text(line, value);
	}
	if (file)
		fclose(file);
}

static void limits(void)
{
	static const char *const names[] = {
		"CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
		"MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	};

	key("rlimits");
	putchar('{');
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct rlimit limit = { 0, 0 };

		getrlimit((__rlimit_resource_t)i, &limit);
		printf("%s\"RLIMIT_%s\":[%lld,%lld]", i ? "," : "", names[i],
		       (long long)limit.rlim_cur, (long long)limit.rlim_max);
	}
	putchar('}');
}

static void groups(void)
{
	static gid_t list[65536];
	int n = getgroups(65536, list);

	key("groups");
	putchar('[');
	for (int i = 0; i < n; i++)
		printf("%s%u", i ? "," : "", list[i]);
	putchar(']');
}

static int notify(char **texts)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", getenv("NOTIFY_SOCKET"));
	for (; *texts; texts++)
		if (sendto(sock, *texts, strlen(*texts), 0, (struct sockaddr *)&address,
			   sizeof(address)) < 0) {
			perror(address.sun_path);
			return 1;
		}
	return 0;
}

/* Policies of CPU, I/O and memory; -1 where the kernel has none. */
static void scheduling(void)
{
	struct sched_param param = { 0 };
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	(void)sched_getparam(0, &param);
	number("sched_policy", sched_getscheduler(0));
	number("sched_priority", param.sched_priority);
	number("ioprio", syscall(SYS_ioprio_get, 1, 0));
	number("personality", syscall(SYS_personality, 0xffffffff));
	if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof(nodes) * 8, NULL, 0) < 0)
		mode = -1;
	number("mempolicy", mode);
	number("mempolicy_nodes", (long)nodes[0]);
}

static int lock(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return 1;
	for (;;)
		pause();
}

/* SELinux's label of the session keyring; empty without one. */
static void keyring(void)
{
	char label[256] = "";

	if (syscall(SYS_keyctl, KEYCTL_GET_SECURITY, KEY_SPEC_SESSION_KEYRING, label,
		    sizeof(label)) < 0)
		*label = 0;
	text("keyring_label", label);
}

int main(int argc, char **argv, char **envp)
{
	char cwd[4096];
	struct utsname name;
	mode_t mask = umask(0);

	if (argc > 1 && strcmp(argv[1], "notify") == 0)
		return notify(argv + 2);
	if (argc > 2 && strcmp(argv[1], "lock") == 0)
		return lock(argv[2]);
	(void)umask(mask);
	(void)uname(&name);
	putchar('{');
	links("fds", "/proc/self/fd"); /* first: nothing of ours is open yet */
	strings("args", argv);
	strings("env", envp);
	number("pid", getpid());
	number("ppid", getppid());
	number("sid", getsid(0));
	number("pgid", getpgid(0));
	number("uid", getuid());
	number("euid", geteuid());
	number("gid", getgid());
	number("egid", getegid());
	groups();
	number("umask", (long)mask);
	text("cwd", getcwd(cwd, sizeof(cwd)) ? cwd : "");
	text("hostname", name.nodename);
	text("domainname", name.domainname);
	text("machine", name.machine);
	number("nice", getpriority(PRIO_PROCESS, 0));
	number("tty", isatty(0));
	keyring();
	scheduling();
	status();
	limits();
	lines("oom_score_adj", "/proc/self/oom_score_adj");
	lines("cgroup", "/proc/self/cgroup");
	lines("uid_map", "/proc/self/uid_map");
	lines("mountinfo", "/proc/self/mountinfo");
	links("ns", "/proc/self/ns");
	puts("}");
	fflush(stdout);
	if (argc > 1 && strcmp(argv[1], "wait") == 0)
		for (;;)
			pause();
	return 0;
}

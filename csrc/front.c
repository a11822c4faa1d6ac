/*
 * front.c - the installed `pyrunc` command.
 *
 * It starts the interpreter pyrunc was installed for, isolated (-I: no PYTHON* variable, no user
 * site; -S: no site module, which alone may cost more than everything else), with one entry added to
 * sys.path.  The environment is passed on untouched, for hooks inherit it.
 *
 * The verbs engines call most take a millisecond instead when they have nothing unusual to do: start,
 * state, kill, delete (front_verbs.c), ps, pause, resume (front_cgroup.c), and exec of what it was
 * asked before (front_exec.c).  PYRUNC_FRONT=python
 * switches that off; PYRUNC_FRONT=native makes declining an exit with status 252, for tests.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/*
 * Collecting garbage would take 4 % of a verb, and no loop that runs long makes cycles.  The hook: one
 * line, too, where there is no memory left for cli.py, or for its words.
 */
#define CODE                                                                                       \
	"import gc, sys; gc.disable(); "                                                           \
	"sys.excepthook = lambda _, what, trace: sys.stderr.write(f'pyrunc: unable to run: "       \
	"{what!r}\\n'); "                                                                          \
	"sys.path.insert(0, sys.argv.pop(1)); from pyrunc.cli import main; "
#define UNBLOCK "import _signal; _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT]); "
#define MAIN "sys.exit(main())"

enum {
	EXIT_DECLINED = 252
};

/* --- the interpreter --- */

/* Drop the last component: "/usr/bin/pyrunc" -> "/usr/bin" -> "/usr" -> "". */
static void parent(char *path)
{
	char *slash = strrchr(path, '/');

	*(slash ? slash : path) = '\0';
}

static bool find_site(const char *prefix, char site[PATH_MAX])
{
	static const char *const layouts[] = {
		"%s/lib/python" PYTHON_VERSION "/site-packages",
		"%s/lib/python" PYTHON_VERSION "/dist-packages",
		"%s/lib/python3/dist-packages",
	};
	char probe[PATH_MAX + 32];
	size_t i;

	for (i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		if (snprintf(site, PATH_MAX, layouts[i], prefix) >= PATH_MAX)
			return false;
		(void)snprintf(probe, sizeof(probe), "%s/pyrunc/cli.py", site);
		if (!access(probe, R_OK))
			return true;
	}
	return false;
}

static bool find_self(char path[PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);

	path[len > 0 ? len : 0] = '\0';
	return len > 0;
}

static bool find_prefix(char prefix[PATH_MAX])
{
	if (!find_self(prefix))
		return false;
	parent(prefix);
	parent(prefix);
	return true;
}

bool locate(const char *file, char path[PATH_MAX])
{
	char prefix[PATH_MAX];

	if (!find_prefix(prefix) || !find_site(prefix, path) ||
	    strlen(path) + strlen(file) >= PATH_MAX)
		return false;
	(void)strcat(path, file);
	return true;
}

/*
 * A virtual environment's python is a link to the real one; following it keeps pyvenv.cfg, and what it
 * would have the interpreter do, out of the picture.
 */
static bool find_python(const char *prefix, char python[PATH_MAX])
{
	static const char name[] = "/python" PYTHON_VERSION;
	const char *const places[] = { prefix, prefix, "/usr", "/usr/local" };
	const char *const names[] = { name, "/python3", name, name };
	char candidate[PATH_MAX + 32];
	size_t i, len;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		(void)snprintf(candidate, sizeof(candidate), "%s/bin%s", places[i], names[i]);
		if (!realpath(candidate, python) || access(python, X_OK))
			continue;
		len = strlen(python);
		if (len >= sizeof(name) && !strcmp(python + len - sizeof(name) + 1, name))
			return true;
	}
	return false;
}

/*
 * An interpreter that is interrupted while it starts shows where it was, so that has to wait.
 * Returns whether it is for us to end the wait.
 */
static bool block_interrupts(void)
{
	sigset_t set, before;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	return !sigprocmask(SIG_BLOCK, &set, &before) && !sigismember(&before, SIGINT);
}

/* ended: `ended=`, and whose container has to be removed, if that is what Python is wanted for. */
static int run_python(int argc, char **argv, char **envp, char *ended)
{
	static char prefix[PATH_MAX], site[PATH_MAX], python[PATH_MAX];
	static char self[PATH_MAX + 8] = "front=";
	char *const code = block_interrupts() ? CODE UNBLOCK MAIN : CODE MAIN;
	char *const fixed[] = { python, "-I", "-S",  "-X", "utf8", "-X",
				self,   "-X", ended, "-c", code,   site };
	const int n = sizeof(fixed) / sizeof(fixed[0]);
	const bool found = find_self(self + strlen(self)) && find_prefix(prefix);
	char **args = calloc((size_t)(argc + n + 2), sizeof(*args));

	if (!found || !args) {
		(void)dprintf(STDERR_FILENO, "pyrunc: %s\n",
			      found ? strerror(ENOMEM) : "/proc/self/exe cannot be read");
		return 1;
	}
	if (!find_site(prefix, site) || !find_python(prefix, python)) {
		(void)dprintf(STDERR_FILENO,
			      "pyrunc: the package pyrunc or its python" PYTHON_VERSION
			      " was not found below %s\n",
			      *prefix ? prefix : "/");
		return 1;
	}
	memcpy(args, fixed, sizeof(fixed));
	if (argc)
		memcpy(args + n, argv, (size_t)argc * sizeof(*argv));
	else
		args[n] = "pyrunc";
	(void)execve(python, args, envp);
	(void)dprintf(STDERR_FILENO, "pyrunc: %s: %s\n", python, strerror(errno));
	free(args);
	return 1;
}

/* --- argv --- */

/* `--name VALUE`, `--name=VALUE`, with one dash or two: 1 taken, 0 another flag, -1 no value. */
static int take_value(char ***at, const char *name, const char **ret)
{
	const char *flag = **at;
	size_t len = strlen(name);

	flag += flag[0] == '-' ? 1 + (flag[1] == '-') : 0;
	if (flag == **at || strncmp(flag, name, len) || (flag[len] && flag[len] != '='))
		return 0;
	if (flag[len] == '=')
		*ret = flag + len + 1;
	else if (!(*ret = *++*at))
		return -1;
	++*at;
	return 1;
}

static bool is_flag(const char *token, const char *name)
{
	return token[0] == '-' && !strcmp(token + 1 + (token[1] == '-'), name);
}

/* The flags before the verb; the ones that change nothing here are checked all the same. */
static bool take_globals(char ***at, struct request *ret)
{
	const char *format = "text";

	while (**at && ***at == '-') {
		const char *token = **at;
		int taken = take_value(at, "root", &ret->root);

		if (!taken)
			taken = take_value(at, "log-format", &format);
		if (!taken)
			taken = take_value(at, "log", &ret->log);
		if (taken < 0)
			return false;
		if (taken)
			continue;
		if (!is_flag(token, "systemd-cgroup"))
			return false;
		++*at;
	}
	/* A colon may name something else than a file. */
	return (!strcmp(format, "text") || !strcmp(format, "json")) &&
	       (!ret->log || !strchr(ret->log, ':'));
}

static bool valid_id(const char *id)
{
	return id && *id && strlen(id) <= NAME_MAX && strcmp(id, ".") && strcmp(id, "..") &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-") ==
		       strlen(id);
}

/* exec's flags come before the id; what comes after it is the command, whatever it looks like. */
static bool take_exec(char **at, struct request *ret)
{
	while (*at && **at == '-') {
		int taken = take_value(&at, "process", &ret->process);

		if (!taken)
			taken = take_value(&at, "p", &ret->process);
		if (!taken)
			taken = take_value(&at, "pid-file", &ret->pid_file);
		if (taken < 0)
			return false;
		if (taken)
			continue;
		if (!is_flag(*at, "detach") && !is_flag(*at, "d"))
			return false;
		ret->detach = true;
		at++;
	}
	ret->id = *at;
	ret->words = at + 1;
	return valid_id(ret->id) && (!ret->process || *ret->process) &&
	       (!ret->pid_file || *ret->pid_file);
}

static bool take_verb(char **at, struct request *ret)
{
	bool kill_verb, delete_verb;
	int taken = 1;

	if (!*at)
		return false;
	ret->verb = *at++;
	if (!strcmp(ret->verb, "exec"))
		return take_exec(at, ret);
	kill_verb = !strcmp(ret->verb, "kill");
	delete_verb = !strcmp(ret->verb, "delete");
	while (!strcmp(ret->verb, "ps") && *at && taken > 0) {
		taken = take_value(&at, "format", &ret->format);
		if (!taken)
			taken = take_value(&at, "f", &ret->format);
	}
	for (; *at; at++) {
		if (delete_verb && (is_flag(*at, "force") || is_flag(*at, "f")))
			ret->force = true;
		else if (kill_verb && (is_flag(*at, "all") || is_flag(*at, "a")))
			continue; /* means something for a stopped container only */
		else if (**at == '-')
			return false;
		else if (!ret->id)
			ret->id = *at;
		else if (kill_verb && !ret->signal)
			ret->signal = *at;
		else
			return false;
	}
	return valid_id(ret->id);
}

/* Root, and not only in a user namespace, where $XDG_RUNTIME_DIR may have a say. */
static bool real_root(void)
{
	unsigned long inside, outside, count;
	FILE *map;
	bool whole;

	if (geteuid())
		return false;
	map = fopen("/proc/self/uid_map", "re");
	if (!map)
		return false;
	whole = fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && !inside && !outside &&
		count == 4294967295;
	(void)fclose(map);
	return whole;
}

/* An absolute --root without dots; the default is cli.default_root()'s. */
static bool settle_root(struct request *request)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (request->root)
		return request->root[0] == '/' && request->root[strspn(request->root, "/")] &&
		       !strstr(request->root, "/.");
	request->root = "/run/pyrunc";
	return !runtime || !*runtime ? !geteuid() : real_root();
}

/* Python opens the log before it does anything, so an empty one is there after a success. */
static bool touch_log(const char *path)
{
	cleanup_fd int fd = -1;

	if (!path || !*path)
		return true;
	fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
	return fd >= 0;
}

static int run_native(char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct request *request);
	} verbs[] = {
		{ "start", verb_start },   { "state", verb_state }, { "kill", verb_kill },
		{ "delete", verb_delete }, { "ps", verb_ps },       { "pause", verb_pause },
		{ "resume", verb_resume }, { "exec", verb_exec },
	};
	struct request request = { 0 };
	const char *notify = getenv("NOTIFY_SOCKET");
	size_t i;

	if (!*argv)
		return DECLINE;
	argv++;
	if (!take_globals(&argv, &request) || !take_verb(argv, &request) || !settle_root(&request))
		return DECLINE;
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(request.verb, verbs[i].name)) {
			if (verbs[i].run == verb_start && notify && *notify)
				return DECLINE;
			return touch_log(request.log) ? verbs[i].run(&request) : DECLINE;
		}
	return DECLINE;
}

/*
 * A descriptor opened later must not become somebody's stdout.  A directory is nothing to read
 * from, no container's business, and Python refuses to start with one.
 */
static void fill_stdio(void)
{
	struct stat st;
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return;
	for (int i = 0; i <= STDERR_FILENO; i++)
		if (fstat(i, &st) == 0 && S_ISDIR(st.st_mode))
			(void)dup2(fd, i);
	(void)close(fd);
}

/* --- the foreground of a process that stays --- */

/* A container whose process has ended goes, by itself or with Python. */
static void remove_ended(char **argv, char *path, struct request *request)
{
	char *slash = strrchr(path, '/'), ended[PATH_MAX + 64], cwd[PATH_MAX];
	pid_t child;
	int argc = 0;

	if (!slash)
		return;
	(void)snprintf(ended, sizeof(ended), "ended=%llu %llu %s", (unsigned long long)request->pid,
		       (unsigned long long)request->start, path);
	*slash = '\0';
	request->root = path;
	request->id = slash + 1;
	if (verb_delete(request) == DONE)
		return;
	child = fork();
	if (!child) {
		/* The bundle may be gone, and a relative --root be made absolute once more. */
		if (!getcwd(cwd, sizeof(cwd)))
			(void)!chdir("/");
		while (argv[argc])
			argc++;
		_exit(run_python(argc, argv, environ, ended));
	}
	(void)waitpid(child, NULL, 0);
}

static void keep_private(int fd)
{
	if (fd > STDERR_FILENO)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool is_child(pid_t pid)
{
	siginfo_t info;

	return pid > 0 && !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
}

/*
 * handover.py has made us of the Python that ran or executed a process; we go on with its relay.
 * DECLINE: that was somebody else, for the process is none of ours.
 */
static int take_over(char **argv, char *told)
{
	static struct foreground f;
	struct request request = { 0 };
	struct copy *c = f.copies;
	unsigned long long start;
	int pid, pidfd, status, n = 0;
	char *path;

	(void)unsetenv("PYRUNC_FOREGROUND");
	if (sscanf(told, "%d %d %d %d %d %d %d %d %d %llu %n", &c[0].source, &c[0].sink,
		   &c[1].source, &c[1].sink, &c[2].source, &c[2].sink, &f.events, &pidfd, &pid,
		   &start, &n) != 10 ||
	    !is_child(pid))
		return DECLINE;
	path = told + n;
	/* Python keeps them to itself, and so do we. */
	for (int i = 0; i < 3; i++) {
		c[i].ended = c[i].source < 0;
		keep_private(c[i].source);
		keep_private(c[i].sink);
	}
	keep_private(f.events);
	keep_private(pidfd);
	status = foreground_serve(&f, pid, pidfd);
	request.pid = (uint64_t)pid;
	request.start = start;
	if (*path)
		remove_ended(argv, path, &request);
	foreground_drain(&f);
	return exit_code(status);
}

int main(int argc, char **argv, char **envp)
{
	const char *side = getenv("PYRUNC_FRONT");
	/* A write that fails is told in words; Python sees to that by itself. */
	struct sigaction ignore = { .sa_handler = SIG_IGN }, pipe, size;
	char ended[] = "ended=";
	char *told = getenv("PYRUNC_FOREGROUND");
	int status = DECLINE;

	fill_stdio();
	if (told && (status = take_over(argv, told)) != DECLINE)
		return status;
	if (!side || strcmp(side, "python")) {
		(void)sigaction(SIGPIPE, &ignore, &pipe);
		(void)sigaction(SIGXFSZ, &ignore, &size);
		status = run_native(argv);
		(void)sigaction(SIGPIPE, &pipe, NULL);
		(void)sigaction(SIGXFSZ, &size, NULL);
		if (status == DECLINE && side && !strcmp(side, "native"))
			status = EXIT_DECLINED;
	}
	return status == DECLINE ? run_python(argc, argv, envp, ended) : status;
}

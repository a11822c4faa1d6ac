/*
 * front_relay.c - the foreground of exec without a terminal: relay.py and console.py's serve().
 *
 * Backpressure is kept: only what could be passed on is read, and it is written in pieces that a pipe
 * which poll(2) called writable takes whole.  So nothing blocks, and the flags of descriptors that
 * others share stay as they are.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

enum {
	PIECE = 4096,       /* PIPE_BUF */
	HOLD_MS = 200,      /* until a terminal of another job is asked again */
	LINGER_MS = 1000,   /* of silence after which nobody else uses a dead process's output */
	UNKNOWN = 255 << 8, /* the wait status of a process that somebody else has reaped */
};

static void end(struct copy *copy)
{
	copy->ended = true;
	copy->left = 0;
	if (copy->source > STDERR_FILENO)
		(void)close(copy->source);
	if (copy->sink > STDERR_FILENO)
		(void)close(copy->sink);
}

/* Whether it is our controlling terminal, but belongs to another job at the moment. */
static bool in_background(int fd)
{
	pid_t group = tcgetpgrp(fd);

	return group >= 0 && group != getpgrp();
}

static void fill(struct copy *copy)
{
	ssize_t n = read(copy->source, copy->data, sizeof(copy->data));

	if (n > 0) {
		copy->at = copy->data;
		copy->left = (size_t)n;
	} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return; /* somebody shares the descriptor and made it non-blocking */
	} else if (n < 0 && in_background(copy->source)) {
		copy->held = true; /* EIO, as SIGTTIN is blocked */
	} else {
		end(copy);
	}
}

/* Do the one thing that poll(2) said would not block. */
static void move(struct copy *copy)
{
	ssize_t n;

	if (!copy->left) {
		fill(copy);
		return;
	}
	n = write(copy->sink, copy->at, copy->left < PIECE ? copy->left : PIECE);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			end(copy); /* nobody reads any more, and the writer shall learn it */
		return;
	}
	copy->at += n;
	copy->left -= (size_t)n;
}

/*
 * Wait until something can move, and move it; or until there are signals.  False if nothing happened
 * for so many milliseconds.
 */
static bool step(struct copy *copies, int n, int events, int patience)
{
	struct pollfd fds[4] = { { .fd = events, .events = POLLIN } };
	int ready, i;

	for (i = 0; i < n; i++) {
		struct copy *copy = &copies[i];

		fds[1 + i].fd = -1;
		if (copy->held) {
			copy->held =
				false; /* once: poll(2) would say again that there is something */
			patience = patience < 0 || patience > HOLD_MS ? HOLD_MS : patience;
		} else if (!copy->ended) {
			fds[1 + i].fd = copy->left ? copy->sink : copy->source;
			fds[1 + i].events = copy->left ? POLLOUT : POLLIN;
		}
	}
	ready = poll(fds, 1 + (nfds_t)n, patience);
	for (i = 0; i < n && ready > 0; i++)
		if (fds[1 + i].revents)
			move(&copies[i]);
	return ready;
}

/* The next signal that has arrived; 0 if there is none. */
static int next_signal(int events)
{
	struct signalfd_siginfo info;

	while (read(events, &info, sizeof(info)) == sizeof(info))
		/* A reader of ours that vanished is no news for the container. */
		if (info.ssi_signo != SIGPIPE || info.ssi_pid != (uint32_t)getpid())
			return (int)info.ssi_signo;
	return 0;
}

/* Reap every child that ended: whether ours is among them. */
static bool reap(pid_t main, int *ret_status)
{
	bool found = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == main) {
			*ret_status = status;
			found = true;
		}
	return found;
}

/* Relay and forward until the process has ended; its wait status. */
int foreground_serve(struct foreground *f, pid_t pid, int pidfd)
{
	int status = 0, number;

	for (;;) {
		(void)step(f->copies, 3, f->events, -1);
		while ((number = next_signal(f->events))) {
			if (number == SIGCHLD) {
				if (reap(pid, &status))
					return status;
			} else if (number != SIGURG && number != SIGWINCH &&
				   send_signal(pidfd, number) < 0 && errno == ESRCH) {
				return UNKNOWN; /* no SIGCHLD will come */
			}
		}
	}
}

/*
 * Pass on what is still on its way out, however slow our reader is, until told to end.  Others than
 * the dead process may have more to say; one that is silent keeps nobody waiting.
 */
void foreground_drain(struct foreground *f)
{
	struct copy *outward = f->copies + 1;
	int number;

	while (!outward[0].ended || !outward[1].ended) {
		if (!step(outward, 2, f->events, LINGER_MS) && !outward[0].left && !outward[1].left)
			return;
		while ((number = next_signal(f->events)))
			if (number == SIGHUP || number == SIGINT || number == SIGQUIT ||
			    number == SIGTERM)
				return;
	}
}

/* N, or 128+S for a death by signal S. */
int exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Where to write instead of fd.  A terminal takes less than a piece, so it is opened for us alone. */
static int outlet(int fd)
{
	char path[32];
	int own;

	if (!isatty(fd))
		return fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return own < 0 ? fd : own;
}

/* Three pipes, and every signal is one of our events from now on. */
bool foreground_open(struct foreground *f)
{
	int pipes[3][2], i;

	for (i = 0; i < 3; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			return false;
		f->stdio[i] = pipes[i][i ? 1 : 0];
		f->copies[i].source = i ? pipes[i][0] : STDIN_FILENO;
		f->copies[i].sink = i ? outlet(i) : pipes[i][1];
	}
	(void)sigprocmask(SIG_SETMASK, NULL, &f->mask);
	f->events = core_signalfd();
	return f->events >= 0;
}

/* The process has them: with our own copies we would wait for ourselves. */
void foreground_spawned(const struct foreground *f)
{
	for (int i = 0; i < 3; i++)
		(void)close(f->stdio[i]);
}

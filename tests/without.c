/*
 * without.c - run a program on a kernel that lacks some system calls, as far as the program can tell.
 *
 *     without NUMBER[,NUMBER...] PROGRAM [ARG...]
 *
 * A seccomp filter answers these calls with ENOSYS, for the program and all that it starts.
 */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <errno.h>

#define MOST 32

int main(int argc, char **argv)
{
	struct sock_filter filter[2 * MOST + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog program = { .filter = filter };
	unsigned short n = 1;

	if (argc < 3)
		return 2;
	for (char *at = argv[1]; *at && n < 2 * MOST; at += *at == ',') {
		const unsigned int number = (unsigned int)strtoul(at, &at, 10);

		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
		filter[n++] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program.len = n;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
		perror("without: seccomp");
		return 2;
	}
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}

/*
 * init_filter.c - what our own seccomp filter would make of a call: it may kill, or ask an agent.
 */
#include "why.h"
#include <linux/audit.h>
#include <linux/errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#else
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

/* Runs the program as the kernel would. */
static int is_allowed(const struct seccomp_data *call)
{
	const u32 count = self.filter_size / sizeof(struct sock_filter);
	u32 value = 0, pc = 0;
	struct sock_filter op;

	if (!count)
		return 1;
	while (pc < count) {
		memcpy(&op, self.filter + pc++ * sizeof(op), sizeof(op));
		switch (op.code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (op.k > sizeof(*call) - sizeof(value))
				return 0;
			memcpy(&value, (const char *)call + op.k, sizeof(value));
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			value &= op.k;
			break;
		case BPF_JMP | BPF_JA:
			pc += op.k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += value == op.k ? op.jt : op.jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += value > op.k ? op.jt : op.jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += value >= op.k ? op.jt : op.jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += value & op.k ? op.jt : op.jf;
			break;
		case BPF_RET | BPF_K:
			op.k &= SECCOMP_RET_ACTION_FULL;
			return op.k == SECCOMP_RET_ALLOW || op.k == SECCOMP_RET_LOG;
		default:
			return 0;
		}
	}
	return 0;
}

long call_if_allowed(long n, long a, long b, long c, long d, long e)
{
	const struct seccomp_data call = {
		.nr = (int)n,
		.arch = OUR_ARCH,
		.args = { (u64)a, (u64)b, (u64)c, (u64)d, (u64)e },
	};

	return is_allowed(&call) ? sys6(n, a, b, c, d, e, 0) : -ENOSYS;
}

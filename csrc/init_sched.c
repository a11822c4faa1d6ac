/* init_sched.c - how the kernel treats the process: CPU, I/O and memory policy, personality. */
#include "init.h"

#define IOPRIO_WHO_PROCESS 1

/* linux/sched/types.h, as of its first version: no utilisation clamps */
struct sched_attr {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};

int op_scheduler(const struct args *a, struct failure *f)
{
	const struct sched_attr attr = {
		.size = sizeof(attr),
		.policy = (u32)a->v[0].u,
		.flags = a->v[1].u,
		.nice = (s32)a->v[2].u,
		.priority = (u32)a->v[3].u,
		.runtime = a->v[4].u,
		.deadline = a->v[5].u,
		.period = a->v[6].u,
	};
	long ret = sys3(__NR_sched_setattr, 0, &attr, 0);

	return ret < 0 ? fail(f, ret, STEP_SCHEDULER) : 0;
}

int op_ioprio(const struct args *a, struct failure *f)
{
	long ret = sys3(__NR_ioprio_set, IOPRIO_WHO_PROCESS, 0, a->v[0].u);

	return ret < 0 ? fail(f, ret, STEP_IOPRIO) : 0;
}

int op_personality(const struct args *a, struct failure *f)
{
	long ret = sys1(__NR_personality, a->v[0].u);

	return ret < 0 ? fail(f, ret, STEP_PERSONALITY) : 0;
}

int op_mempolicy(const struct args *a, struct failure *f)
{
	const u32 bytes = a->v[1].len;
	/* The kernel takes one bit less than it is told. */
	long ret = sys3(__NR_set_mempolicy, a->v[0].u, bytes ? a->v[1].s : NULL,
			bytes ? bytes * 8 + 1 : 0);

	return ret < 0 ? fail(f, ret, STEP_MEMPOLICY) : 0;
}

#!/bin/sh
# guest.sh [ARG...] - in the machine of run.sh: pytest with the tests that concern it, or with ARG.
# LSM says which machine it is.
set -eu

# Emulation takes twenty times as long, and so do the tests' patience and pytest's.
export PATIENCE=20 PYRUNC_CYCLES="${PYRUNC_CYCLES:-10}"
if [ $# = 0 ] && [ "$LSM" = selinux ]; then
	set -- tests/integration/test_selinux.py
elif [ $# = 0 ]; then
	# shellcheck disable=SC2046  # one word per test
	set -- $(sed 's/#.*//' tests/vm/tests)
fi
exec .venv/bin/pytest -p no:cacheprovider --override-ini=timeout=1200 --durations=20 "$@"

"""An op is a line in plan.h, a function in C and a method of Plan, and a golden plan has it."""

import glob
import os
import re

import pytest

from pyrunc.plan import Plan

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")


def read(*names):
    texts = []
    for name in names:
        with open(name) as file:
            texts.append(file.read())
    return "\n".join(texts)


def ops():
    header = read(f"{ROOT}/csrc/plan.h")
    body = re.search(r"enum plan_op \{(.*?)\n\};", header, re.S).group(1)
    return [name.lower() for name in re.findall(r"^\tOP_(\w+)", body, re.M) if name != "LAST"]


def test_plan_h_is_read():
    assert {"mount", "clone", "exec"} <= set(ops())


# Not of a recipe: visit.py looks into a namespace with it.
VISITS = {"source"}


@pytest.mark.parametrize("op", ops())
def test_op_is_complete(op):
    sources = read(*glob.glob(f"{ROOT}/csrc/init*.c"))
    assert re.search(
        rf"^int op_{op}\(const struct args \*\w+, struct failure \*\w+\)$", sources, re.M
    )
    assert hasattr(Plan, op) or hasattr(Plan, f"{op}_"), f"Plan has no method for {op}"
    if op in VISITS:
        return
    golden = read(*glob.glob(f"{ROOT}/tests/plans/*/plan.txt"))
    assert re.search(rf"^\s*(\d+\s+)?{op}\b", golden, re.M), f"no golden plan contains {op}"

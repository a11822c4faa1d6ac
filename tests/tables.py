"""Tables in the documents: rows that name the tests that prove them."""

import os
import re

ROOT = os.path.join(os.path.dirname(__file__), "..")
TEST = re.compile(r"`((?:unit|integration)[\w/]*/test_\w+\.py)::(test_\w+)`")


def read(path):
    with open(f"{ROOT}/{path}") as file:
        return file.read()


def rows(path):
    """The cells of every row, but of headings, which end in `Tests`, and rules."""
    table = [line for line in read(path).splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in re.split(r" (?<!\\)\| ", line.strip("|"))]
        for line in table
        if not line.rstrip("| ").lower().endswith("| tests")
    ]


def named(path):
    """(file, function) of every test that a document names."""
    return sorted(set(TEST.findall(read(path))))


def exists(path, name):
    """Is this function there, in this file below tests/?"""
    return re.search(rf"^def {name}\(", read(f"tests/{path}"), re.M) is not None

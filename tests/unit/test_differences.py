"""docs/differences.md: every row names a test, and the test is there."""

import pytest

from tables import TEST, exists, named, rows

DOCUMENT = "docs/differences.md"


def test_there_are_rows():
    assert len(rows(DOCUMENT)) > 60
    assert all(len(row) == 5 for row in rows(DOCUMENT))


@pytest.mark.parametrize("row", rows(DOCUMENT), ids=lambda row: row[0].replace("`", "")[:60])
def test_a_row_has_a_test(row):
    assert TEST.findall(row[-1])


@pytest.mark.parametrize(("path", "name"), named(DOCUMENT))
def test_the_tests_exist(path, name):
    assert exists(path, name)


def test_nothing_is_told_twice():
    subjects = [row[0] for row in rows(DOCUMENT)]
    assert len(set(subjects)) == len(subjects)

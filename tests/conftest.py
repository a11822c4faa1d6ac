"""Options that all tests share, and the place of their files."""

import os
import shutil
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Directories of our own: pytest locks everybody else out of the usual ones at each start,
    and some containers are somebody else's."""
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ:
        config.stash[ROOM] = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp(prefix="pt")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What failed tests have left can be looked at."""
    if exitstatus == 0 and ROOM in session.config.stash:
        shutil.rmtree(session.config.stash[ROOM], ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The notes of tests that measured something: record_property("note", text)."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "note":
                terminalreporter.write_line(f"NOTE {text}")


ROOM = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the golden plans")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """True: write what the code produces to the golden file instead of comparing."""
    return bool(request.config.getoption("--bless"))

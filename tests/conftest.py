"""Options that all tests share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the golden plans")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """True: write what the code produces to the golden file instead of comparing."""
    return bool(request.config.getoption("--bless"))

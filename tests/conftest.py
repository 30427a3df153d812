"""Options that the whole suite knows."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` rewrites the expected results; read the diff before it is committed."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected results in tests/golden")

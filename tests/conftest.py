"""Options that the whole suite knows."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` rewrites the expected results; read the diff before it is committed.

    `--iptables-dir` and `--iptables-writer` name other iptables than the machine's, as `make matrix` fetches them.
    """
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected results in tests/golden")
    parser.addoption("--iptables-dir", type=Path, help="where the iptables is that all tests use")
    parser.addoption(
        "--iptables-writer",
        type=Path,
        action="append",
        help="where an iptables is that writes the rules in test_iptables_versions; may be given several times",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tests and agent find iptables by PATH, so the chosen one stands first there.

    A shell starts what runs in the background with SIGINT ignored, and so would be what tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = config.getoption("--iptables-dir")
    if chosen is not None:
        os.environ["PATH"] = f"{chosen}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

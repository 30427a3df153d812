"""python-iptables is loaded without a word, in whatever state its bytecode is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_LOAD = "from c2c_auditor.sources.rules import libiptc; libiptc.load()"
_WARN = "import warnings; warnings.warn('invalid escape sequence', SyntaxWarning)"


def _compiled_anew(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with every warning an error and without cached bytecode.

    Each module is compiled, which is when Python warns of its text.
    """
    command = (sys.executable, "-W", "error", "-X", f"pycache_prefix={tmp_path}", "-c", code)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(shutil.which("iptables-legacy") is None, reason="needs libip4tc and libxtables (package iptables)")
def test_loading_warns_of_nothing(tmp_path: Path) -> None:
    """Neither python-iptables' invalid escape sequences nor anything else of it reaches an operator's log."""
    done = _compiled_anew(tmp_path, _LOAD)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("iptables-legacy") is None, reason="needs libip4tc and libxtables (package iptables)")
def test_only_that_import_is_exempt(tmp_path: Path) -> None:
    """After it the same warning counts again."""
    done = _compiled_anew(tmp_path, f"{_LOAD}\n{_WARN}")
    assert done.returncode != 0
    assert "SyntaxWarning: invalid escape sequence" in done.stderr


@pytest.mark.skipif(shutil.which("iptables-legacy") is None, reason="needs libip4tc and libxtables (package iptables)")
def test_loading_brings_nothing_else_along() -> None:
    """A hundred modules of setuptools would stay in memory. Whoever asks for one later gets it, where it is."""
    code = f"import sys; {_LOAD}; print([name for name in sys.modules if name.startswith(('distutils', 'setuptools'))])"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_program_starts_without_a_warning(tmp_path: Path) -> None:
    """Every module of the command line and of its libraries compiles and loads with every warning an error."""
    done = _compiled_anew(
        tmp_path, "import sys; sys.argv[1:] = ['--version']; from c2c_auditor.cli import main; main()"
    )
    assert (done.returncode, done.stderr) == (0, "")

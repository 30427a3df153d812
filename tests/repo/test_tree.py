"""What the files of the project, code or not, must not hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from repo.code import ROOT

# Written so that this file does not match itself: a class of one letter stands for the letter.
ANYWHERE = {
    "a path of somebody's machine": re.compile(rb"(?<![\w.~-])/(?:[r]oot|[h]ome|[w]ork)/|/tmp/[b]ash"),
    "a path out of the project": re.compile(rb"\.\./[s]hared"),
    "a package registry's host": re.compile(
        rb"\b(?:[p]ypi\.org|[p]ythonhosted\.org|[r]egistry\.npmjs\.org|[c]rates\.io|[p]roxy\.golang\.org"
        rb"|[r]epo1?\.maven|[d]eb\.debian\.org|[a]rchive\.ubuntu\.com)\b"
    ),
}
IN_CODE = {"a note to self": re.compile(rb"\b(?:[T]ODO|[F]IXME|[X]XX)\b")}
# By suffix; a file without one is a script or a Makefile.
CODE = frozenset({"", ".py", ".sh", ".toml", ".cfg", ".yml", ".yaml", ".erb", ".html", ".css", ".js"})

# Data that real programs recorded: whatever is in it stays.
RECORDED = ("tests/golden/",)
# Namespaces only: a package of either name would hide a library's.
NO_PACKAGE = ("tests/", "packaging/")


def project_files() -> tuple[str, ...]:
    """The files of the project, those that git does not know yet included, by path below the root."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a git checkout: the files of the project are those that git lists")
    # A checkout may belong to another user than the one who runs the tests: reading it is harmless.
    command = ("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return tuple(sorted(path for path in set(listed.split("\0")) if path and (ROOT / path).is_file()))


def check_content(path: str, content: bytes) -> Iterator[str]:
    """What the file must not hold, one line for each place."""
    is_code = PurePosixPath(path).suffix in CODE and not path.startswith(RECORDED)
    patterns = ANYWHERE | IN_CODE if is_code else ANYWHERE
    for what, pattern in patterns.items():
        for found in pattern.finditer(content):
            line = content.count(b"\n", 0, found.start()) + 1
            yield f"{path}:{line}: {what}: {found.group().decode()}"


def test_no_file_holds_what_it_must_not() -> None:
    """No file names a developer's machine or a registry's host, and no code is left unfinished."""
    files = project_files()
    assert [line for path in files for line in check_content(path, (ROOT / path).read_bytes())] == []


def test_no_package_hides_a_library() -> None:
    """Neither `tests` nor `packaging` is an importable package, at any depth."""
    assert [path for path in project_files() if path.startswith(NO_PACKAGE) and path.endswith("__init__.py")] == []


@pytest.mark.parametrize(
    ("path", "content", "found"),
    [
        ("docs/a.md", "see /{}oot/x".format("r"), ["docs/a.md:1: a path of somebody's machine: /{}oot/".format("r")]),
        ("a.json", '\n"/{}ork/x"'.format("w"), ["a.json:2: a path of somebody's machine: /{}ork/".format("w")]),
        (
            "a.txt",
            "https://{}ypi.org/simple".format("p"),
            ["a.txt:1: a package registry's host: {}ypi.org".format("p")],
        ),
        ("agent/a.py", "# {}ODO: later".format("T"), ["agent/a.py:1: a note to self: {}ODO".format("T")]),
        ("Makefile", "# {}IXME".format("F"), ["Makefile:1: a note to self: {}IXME".format("F")]),
        ("docs/a.md", "{}ODO".format("T"), []),
        ("packaging/a.sh", "mktemp /tmp/aXXXXXX; cd src/work/lib", []),
    ],
)
def test_a_slip_is_caught(path: str, content: str, found: list[str]) -> None:
    """Each pattern finds what it is for, where it is for it."""
    assert list(check_content(path, content.encode())) == found

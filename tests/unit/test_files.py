"""Files are read whole or not at all, and nothing that stands in a file's place holds the agent up."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.sources.files import is_empty_file, read_text_file


def _failure(path: Path, most: int = 1 << 20) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_text_file(path, source="store", most=most)
    assert caught.value.source == "store"
    assert caught.value.remedy
    return caught.value


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a FIFO"), (os.mkdir, "a directory"), (_socket, "a socket"), (None, "a device")]
)
def test_what_is_no_regular_file_is_refused_by_what_it_is(
    make: Callable[[Path], None] | None, kind: str, tmp_path: Path
) -> None:
    """A FIFO without a writer would be waited for, for ever; a link to a device is the device."""
    path = tmp_path / "x"
    if make is None:
        path.symlink_to("/dev/zero")
    else:
        make(path)
    error = _failure(path)
    assert f"it is {kind}, no regular file" in error.problem
    assert error.reason is Reason.FAILED


def test_a_fifo_that_comes_after_the_first_look_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened is looked at, not only what the path named before."""
    regular, fifo = tmp_path / "regular", tmp_path / "fifo"
    regular.touch()
    os.mkfifo(fifo)
    before = regular.stat()
    monkeypatch.setattr(Path, "stat", lambda _: before)
    assert "a FIFO" in _failure(fifo).problem


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_what_is_no_path_is_that_readers_error(path: str) -> None:
    """A setting may hold any text."""
    assert "no path" in _failure(Path(path)).problem


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    """Exactly as many bytes are taken, one more is too many."""
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 10)
    assert read_text_file(path, source="store", most=10) == "\udcff" * 10
    assert _failure(path, most=9).reason is Reason.TOO_LARGE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_that_windows_saved_is_read(tmp_path: Path, encoding: str) -> None:
    """Its byte order mark says how; without one it is UTF-8."""
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    (tmp_path / "f").write_bytes(f"{mark}*filter\n# ü\n".encode(encoding))
    assert read_text_file(tmp_path / "f", source="rules").removeprefix("\ufeff") == "*filter\n# ü\n"


def test_a_missing_file_and_a_path_through_a_file_are_errors(tmp_path: Path) -> None:
    """Of the system's own kinds."""
    (tmp_path / "x").touch()
    assert _failure(tmp_path / "absent").reason is Reason.MISSING
    assert _failure(tmp_path / "x" / "y").reason is Reason.FAILED


def test_a_service_that_may_hide_a_folder_says_what_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the whole folder is out of sight, and only in a service of systemd's."""
    folder = tmp_path / "silk"
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    assert "BindReadOnlyPaths" not in _failure(folder / "store.json").remedy
    monkeypatch.setenv("INVOCATION_ID", "5e1c")
    assert f"BindReadOnlyPaths={folder}" in _failure(folder / "store.json").remedy
    folder.mkdir()
    assert "BindReadOnlyPaths" not in _failure(folder / "store.json").remedy


def test_an_empty_file_is_known_without_reading_it(tmp_path: Path) -> None:
    """Only a regular one; a FIFO has the size 0 as well."""
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    assert [is_empty_file(tmp_path / name) for name in ("empty", "full", "fifo", "absent", "a\0b")] == [
        True,
        False,
        False,
        False,
        False,
    ]

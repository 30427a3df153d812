"""Faults of a file, for every reader of it; the file itself is a link to one that stays whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from faults.bench import Bench
from faults.driver import meanwhile
from faults.row import BOTH, Row, Sees

Inject = Callable[[Bench], AbstractContextManager[None]]
Make = Callable[[Path, bytes], None]
_FLAP = 0.15
_HUGE = 1 << 30


def _missing(path: Path, _: bytes) -> None:
    del path


def _empty(path: Path, _: bytes) -> None:
    path.touch()


def _torn(path: Path, whole: bytes) -> None:
    path.write_bytes(whole[: len(whole) * 2 // 3])


def _huge(path: Path, whole: bytes) -> None:
    """As large as a gibibyte without taking room."""
    path.write_bytes(whole)
    os.truncate(path, _HUGE)


def _wrong_shape(path: Path, _: bytes) -> None:
    path.write_text("[[1, null], true]")


def _unreadable(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    path.chmod(0)


def _directory(path: Path, _: bytes) -> None:
    path.mkdir()


def _fifo(path: Path, _: bytes) -> None:
    """Nobody writes to it: opening it for reading blocks for ever."""
    os.mkfifo(path)


def replaced(name: str, make: Make) -> Inject:
    """Another thing in the place of the file ``name`` that the agent reads."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        path = bench.path(name)
        target, whole = path.readlink(), path.read_bytes()
        path.unlink()
        make(path, whole)
        try:
            yield
        finally:
            _put_back(path, target)

    return inject


@contextmanager
def _silent_fifo(path: Path) -> Iterator[None]:
    """A pipe with a writer that says nothing: it opens at once and gives nothing to read."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(descriptor)


def hanging(name: str) -> Inject:
    """A file whose content never comes."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        path = bench.path(name)
        target = path.readlink()
        path.unlink()
        try:
            with _silent_fifo(path):
                yield
        finally:
            _put_back(path, target)

    return inject


def flapping(name: str) -> Inject:
    """A file that is there and not there by turns."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        path = bench.path(name)
        target = path.readlink()

        def turn() -> None:
            if path.is_symlink():
                path.unlink()
            else:
                path.symlink_to(target)

        try:
            with meanwhile(turn, pause=_FLAP):
                yield
        finally:
            _put_back(path, target)

    return inject


def rewritten(name: str) -> Inject:
    """A file that vanishes while it is read: truncated, written and truncated again without a pause."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        path = bench.path(name)
        target, whole = path.readlink(), path.read_bytes()
        path.unlink()
        path.write_bytes(whole)

        def again() -> None:
            with path.open("r+b") as opened:
                opened.truncate(0)
                opened.write(whole[: len(whole) // 2])
                opened.flush()
                opened.write(whole[len(whole) // 2 :])

        try:
            with meanwhile(again, pause=0.002):
                yield
        finally:
            _put_back(path, target)

    return inject


def _put_back(path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
    path.symlink_to(target)


_WRONG: Sequence[tuple[str, Make, str, bool]] = (
    ("missing", _missing, "missing", True),
    ("empty", _empty, "malformed", False),
    ("torn", _torn, "malformed", True),
    ("huge", _huge, "", False),
    ("wrong shape", _wrong_shape, "malformed", False),
    ("wrong permissions", _unreadable, "permission", True),
    ("a directory", _directory, "", False),
    ("a FIFO", _fifo, "", True),
)
"""Fault, how it is made, the reason that must be given where there is one only, and whether every test run shows it."""


def _of_file(source: str, name: str, down: tuple[str, ...]) -> Iterator[Row]:
    for fault, make, reason, daily in _WRONG:
        yield Row(
            source=source,
            fault=fault,
            inject=replaced(name, make),
            sees=Sees(down=down, reason=reason),
            daily=daily,
            # That silk's own changes are still distinguished from damage is tested once per source, as it takes long.
            change=fault == "missing",
        )
    yield Row(source=source, fault="hanging", inject=hanging(name), sees=Sees(down=down), daily=False)
    yield Row(source=source, fault="flapping", inject=flapping(name), daily=False)
    yield Row(source=source, fault="vanishing while read", inject=rewritten(name), daily=False)


def with_reload(inject: Inject) -> Inject:
    """Certificates are read at the start and on SIGHUP: as `monit reload` after a bad deployment."""

    @contextmanager
    def reloading(bench: Bench) -> Iterator[None]:
        with inject(bench):
            bench.daemon.signal(signal.SIGHUP)
            yield
        bench.daemon.signal(signal.SIGHUP)

    return reloading


def rows() -> Iterator[Row]:
    """The rows of files: container metadata, its version, VPA's configuration, certificates and key."""
    yield from _of_file("store", "store.json", ("store",))
    for fault, make, _, daily in _WRONG:
        # The version only tells a reader whether it was disturbed: what it says otherwise is no reason to be blind.
        yield Row(
            source="store version",
            fault=fault,
            inject=replaced("store.json_version", make),
            daily=daily and fault == "a FIFO",
        )
    yield from _of_file("VPA config", "vpa.json", ("vpa_config",))
    for fault, make, reason, daily in _WRONG:
        yield Row(
            source="client key",
            fault=fault,
            inject=with_reload(replaced("client.key", make)),
            sees=Sees(down=("policy_server",), reason=reason if reason in ("missing", "permission") else ""),
            daily=daily and fault in ("missing", "wrong permissions", "a FIFO"),
        )
    for name, file in (("client certificate", "client.crt"), ("policy server's CA", "ca.crt")):
        for fault, make, _, _ in _WRONG[:4]:
            yield Row(
                source=name,
                fault=fault,
                inject=with_reload(replaced(file, make)),
                sees=Sees(down=("policy_server",)),
                daily=False,
            )
    yield Row(
        source="store",
        fault="missing on a legacy cell",
        inject=replaced("store.json", _missing),
        sees=Sees(down=("store",), reason="missing"),
        on=BOTH[1:],
    )

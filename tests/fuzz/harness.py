"""Runs one target on one input, and tells a hang from slowness: some seconds for 64 KiB are no parser's to take."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fuzz.targets import Target

CORPUS = Path(__file__).parent / "corpus"
HANG_SECONDS = 20


class Hang(BaseException):
    """The parser did not come back; no parser catches this."""


def seeds(target: Target) -> dict[str, bytes]:
    """The corpus of one target, by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target.name).iterdir())}


def check(target: Target, data: bytes) -> None:
    """Raises what the target must not raise, and Hang."""
    with _alarm(HANG_SECONDS):
        target.check(data)


def signature(error: BaseException) -> str:
    """The place of a failure, equal for inputs that meet it: the exception and the innermost function."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/c2c_auditor/" in frame.filename]
    where = f"{Path(frames[-1].filename).stem}.{frames[-1].name}" if frames else "the target"
    return f"{type(error).__name__} in {where}"


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

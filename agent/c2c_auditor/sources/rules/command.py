"""Runs one of iptables' programs, bounded in time and output.

Callers must check the output: exit status 0 is no proof.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError

_CHUNK = 1 << 20
_ERROR_CAP = 1 << 16


# Of one reading, in memory that 768 MB can bear; the largest cell that is known has half of it.
MOST_RULES = 600_000


@frozen(kw_only=True)
class Limits:
    """``seconds`` for one command from start to end, ``bytes`` and ``lines`` of output.

    306,000 rules are 34 MB and 2 s; 600,000 that are all different take 490 MB once they are read.
    """

    seconds: float = 60.0
    bytes: int = 96 << 20
    lines: int = MOST_RULES


@frozen(kw_only=True)
class Output:
    """What a command printed, undecodable bytes kept as surrogates, and its exit status."""

    text: str
    errors: str
    status: int


def run(argv: Sequence[str], limits: Limits) -> Output:
    """Run ``argv`` to its end.

    Raises SourceError when it cannot start, takes too long or prints too much; it is killed then.
    """
    where = " ".join(argv)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C"},
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise _failed(
            Reason.MISSING, where, "there is no such program", "install iptables, or set iptables_bin_dir"
        ) from error
    except OSError as error:
        raise _failed(
            Reason.PERMISSION, where, f"it cannot be run: {error.strerror}", "check the file's permissions"
        ) from error
    try:
        deadline = time.monotonic() + limits.seconds
        text, errors = _collect(process, where, limits, deadline)
        return Output(text=text, errors=errors, status=_ended(process, where, limits, deadline))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _ended(process: subprocess.Popen[bytes], where: str, limits: Limits, deadline: float) -> int:
    """The exit status; a program may close its output and live on."""
    try:
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _too_slow(where, limits) from error


def _collect(process: subprocess.Popen[bytes], where: str, limits: Limits, deadline: float) -> tuple[str, str]:
    chunks: dict[object, list[bytes]] = {process.stdout: [], process.stderr: []}
    sizes = {process.stdout: 0, process.stderr: 0}
    lines = 0
    caps = {process.stdout: limits.bytes, process.stderr: _ERROR_CAP}
    with selectors.DefaultSelector() as selector:
        for stream in chunks:
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]  # both are pipes
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _too_slow(where, limits)
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                sizes[key.fileobj] += len(data)  # type: ignore[index]  # registered above
                if sizes[key.fileobj] > caps[key.fileobj]:  # type: ignore[index]  # registered above
                    raise _failed(
                        Reason.TOO_LARGE,
                        where,
                        f"it printed more than {limits.bytes >> 20} MiB",
                        "find out who adds rules",
                    )
                lines += data.count(b"\n")
                if lines > limits.lines:
                    problem = f"it printed more than {limits.lines} lines"
                    raise _failed(Reason.TOO_LARGE, where, problem, "find out who adds rules")
                chunks[key.fileobj].append(data)
    text, errors = (_text(parts) for parts in chunks.values())
    return text, errors


def _too_slow(where: str, limits: Limits) -> SourceError:
    return _failed(
        Reason.TIMEOUT,
        where,
        f"it did not end within {limits.seconds:g} s",
        "see what holds it up with strace or perf",
    )


def _text(parts: list[bytes]) -> str:
    """The chunks as text; each copy is freed before the next is made, as there may be 34 MB of them."""
    whole = b"".join(parts)
    parts.clear()
    return whole.decode("utf-8", "surrogateescape")


def _failed(reason: Reason, where: str, problem: str, remedy: str) -> SourceError:
    return SourceError(source="rules", reason=reason, where=where, problem=problem, remedy=remedy)

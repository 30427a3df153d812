"""L0: the tree of errors. Every exception that this project raises on purpose is here; nothing else belongs here.

    AuditorError
    ├── ConfigError        a setting is missing, unknown or out of range
    ├── SourceError        something outside could not be read, or what came back cannot be trusted
    │   └── ParseError     one text could not be understood; names line and text
    ├── NotUnderstood      one part of a rule has no value class here; its parser keeps it opaque, or names its line
    ├── EvaluationError    rules that no packet can be walked through: a loop, or more jumps than the kernel allows
    └── UsageError         options of a command that contradict each other

Each message says where it happened, what happened and what to do about it.
A *finding* is never an exception: it is a value (`model.finding`). Nor is blindness: it is a result (`model.report`).
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why a source failed: the closed set that labels ``c2c_auditor_source_errors_total``."""

    MISSING = "missing"
    PERMISSION = "permission"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    STATUS = "status"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    INCOMPATIBLE = "incompatible"
    INCONSISTENT = "inconsistent"
    FAILED = "failed"


class AuditorError(Exception):
    """Root of all errors that are reported to a person in one line, without a traceback."""


class ConfigError(AuditorError):
    """A setting that cannot be used; the message names file, key, value and what is allowed."""


class UsageError(AuditorError):
    """Options that do not go together or name nothing; the message says which to give instead."""


class NotUnderstood(AuditorError):  # noqa: N818 - for a value kept opaque it is no error
    """One part of a rule, as text or bytes, that has no value class here or that no kernel could have given.

    It never leaves a reader: a parser keeps the part as an opaque value, or raises a `ParseError` that names the line.
    """


class EvaluationError(AuditorError):
    """Rules that no kernel would hold, so what they do to a packet cannot be said; the message names the chains."""


class SourceError(AuditorError):
    """One source of rules or facts could not be read.

    ``source`` is the stable name of the source (``rules``, ``store``, ``policies``, ...), ``where`` the file, URL or
    command, ``problem`` what happened and ``remedy`` what a person can do about it.
    """

    def __init__(self, *, source: str, reason: Reason, where: str, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem} ({remedy})")
        self.source = source
        self.reason = reason
        self.where = where
        self.problem = problem
        self.remedy = remedy


class ParseError(SourceError):
    """A text that is not what it should be; ``line`` counts from 1 and ``text`` is the offending line."""

    def __init__(self, *, where: str, line: int, text: str, problem: str, remedy: str, source: str = "rules") -> None:
        excerpt = text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line of a terminal or two
        super().__init__(
            source=source,
            reason=Reason.MALFORMED,
            where=f"{where}, line {line}",
            problem=f"{problem}: {excerpt!r}",
            remedy=remedy,
        )
        self.line = line
        self.text = text

"""Changes to the rules from JSON: what ``/api/v1/changes`` answers, ``changes.json`` of a bundle, parts of a report."""

from __future__ import annotations

from attrs import frozen

from c2c_auditor.decoding import DecodeError, decode
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.change import Act, Author, Change


@frozen(kw_only=True)
class Moment:
    """A time of a report."""

    epoch: float = 0.0


@frozen(kw_only=True)
class WrittenChange:
    """A change as `export.changes.change_document` writes it."""

    author: Author = Author.UNKNOWN
    act: Act = Act.OTHER
    time: Moment = Moment()
    generation: int = 0
    pid: int = 0
    process: str = ""
    command: str = ""
    parent: str = ""
    chains: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left_out: int = 0

    def change(self) -> Change:
        """The change itself."""
        return Change(
            seen=self.time.epoch,
            author=self.author,
            act=self.act,
            generation=self.generation,
            pid=self.pid,
            process=self.process,
            command=self.command,
            parent=self.parent,
            chains=self.chains,
            added=self.added,
            removed=self.removed,
            left_out=self.left_out,
        )


@frozen(kw_only=True)
class _Written:
    changes: tuple[WrittenChange, ...] = ()


def parse_changes(text: str, *, where: str) -> tuple[Change, ...]:
    """The changes, the oldest first; ``text`` has the newest first. Raises SourceError."""
    try:
        written = decode(text, _Written)
    except DecodeError as error:
        raise SourceError(
            source="changes",
            reason=Reason.MALFORMED,
            where=where,
            problem=str(error),
            remedy="it is written by `c2c-auditor capture` and by the agent",
        ) from error
    return tuple(one.change() for one in reversed(written.changes))

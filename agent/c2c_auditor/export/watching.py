"""What happens between two looks at a cell: findings that come, last and go, changes to the rules, blindness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from attrs import frozen

from c2c_auditor.export.changes import change_document, change_rules, described, since_change
from c2c_auditor.export.lines import Cell
from c2c_auditor.export.plain import plain
from c2c_auditor.export.terminal import Page
from c2c_auditor.export.verdict import STYLES
from c2c_auditor.model.change import Act, Author, Change
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect
from c2c_auditor.model.report import Result

# silk creates a container by some thirty commits: for people the first of those that belong together stands for all.
_TOGETHER_SECONDS = 5.0
_INDENT = 9


@frozen(kw_only=True)
class Seen:
    """A finding as a report has it; ``document`` is its JSON."""

    id: str
    kind: str
    effect: Effect
    state: State
    summary: str
    remedy: str
    changed_by: Change | None
    document: Mapping[str, Any]


@frozen(kw_only=True)
class Look:
    """What one report says. ``unknown`` are the kinds that it could not judge; ``changes`` have the oldest first."""

    time: float
    result: Result
    findings: tuple[Seen, ...] = ()
    unknown: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@frozen(kw_only=True)
class Happening:
    """One of: a finding in its new ``state``; a change; another ``result`` of the audits, with what cannot be read."""

    time: float
    finding: Seen | None = None
    state: State = State.PENDING
    change: Change | None = None
    result: Result | None = None
    problems: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """A line of JSON."""
        moment = datetime.fromtimestamp(self.time, timezone.utc).isoformat(timespec="milliseconds")
        head = {"time": {"rfc3339": moment, "epoch": round(self.time, 3)}}
        if self.change is not None:
            return {**head, "event": "change", "change": change_document(self.change)}
        if self.finding is not None:
            told = {**self.finding.document, "state": self.state.value}
            return {**head, "event": "finding", "state": self.state.value, "finding": told}
        result = self.result.value if self.result is not None else None
        return {**head, "event": "result", "result": result, "problems": list(self.problems)}


class Watch:
    """Takes looks one after the other. At the first one all of its findings happen, and none of its changes."""

    def __init__(self) -> None:
        self._known: dict[str, Seen] = {}
        self._changes: frozenset[tuple[float, int]] | None = None
        self._result: tuple[Result, tuple[str, ...]] | None = None

    def look(self, look: Look) -> Iterator[Happening]:
        """What happened since the look before, in the order in which it did."""
        yield from self._new_changes(look)
        result = look.result, look.problems
        if result != self._result:
            self._result = result
            yield Happening(time=look.time, result=look.result, problems=look.problems)
        seen = {finding.id: finding for finding in look.findings}
        for number, finding in seen.items():
            before = self._known.get(number)
            if before is None or before.state is not finding.state:
                yield Happening(time=look.time, finding=finding, state=finding.state)
        for number, finding in self._known.items():
            if number not in seen and finding.kind in look.unknown:
                seen[number] = finding  # nobody knows whether it is gone
            elif number not in seen:
                yield Happening(time=look.time, finding=finding, state=State.RESOLVED)
        self._known = seen

    def _new_changes(self, look: Look) -> Iterator[Happening]:
        keys = {(change.seen, change.generation): change for change in look.changes}
        if self._changes is not None:
            for key, change in keys.items():
                if key not in self._changes:
                    yield Happening(time=change.seen, change=change)
        self._changes = frozenset(keys)


class Printer:
    """Writes what happens for people at a terminal."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._last: tuple[Author, Act] | None = None
        self._until = 0.0

    def print(self, happening: Happening) -> None:
        """One happening: a line with its time, and what belongs to it below."""
        if happening.change is not None:
            self._change(happening.time, happening.change)
        elif happening.finding is not None:
            self._finding(happening, happening.finding)
        else:
            self._result(happening)

    def _say(self, seconds: float, *parts: Cell) -> None:
        clock = f"{datetime.fromtimestamp(seconds, timezone.utc):%H:%M:%S}"
        self._page.say(*parts, indent=_INDENT, label=clock)

    def _change(self, seconds: float, change: Change) -> None:
        of = change.author, change.act
        if change.author.silks and of == self._last and seconds < self._until:
            self._until = seconds + _TOGETHER_SECONDS
            return
        self._last, self._until = of, seconds + _TOGETHER_SECONDS
        self._say(seconds, ("CHANGE ", "dim" if change.author.silks else "bold"), (described(change), ""))
        for rule in change_rules(change) if not change.author.silks else ():
            self._page.say((plain(rule), "dim"), indent=_INDENT)

    def _finding(self, happening: Happening, finding: Seen) -> None:
        resolved = happening.state is State.RESOLVED
        style = "green" if resolved else STYLES[finding.effect]
        label = "RESOLVED" if resolved else finding.effect.value.upper()
        pending = " (pending: silk may correct it)" if happening.state is State.PENDING else ""
        self._say(
            happening.time,
            (f"{label} {finding.kind}", style),
            (f": {plain(finding.summary)}", ""),
            (pending, "dim"),
        )
        if finding.changed_by is not None and not resolved:
            self._page.say((f"changed {since_change(finding.changed_by)}", ""), indent=_INDENT)
        if finding.remedy and happening.state is State.CONFIRMED:
            self._page.say(("→ ", "bold green"), (plain(finding.remedy), ""), indent=_INDENT)

    def _result(self, happening: Happening) -> None:
        if happening.result is Result.BLIND:
            why = "; ".join(map(plain, happening.problems))
            self._say(happening.time, ("COULD NOT LOOK", "bold magenta"), (f" at everything: {why}" if why else "", ""))
        elif happening.result is not None:
            clean = happening.result is Result.CLEAN
            self._say(happening.time, (happening.result.value.upper(), "bold green" if clean else "bold"))

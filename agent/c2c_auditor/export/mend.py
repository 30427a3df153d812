"""A mend as text that a shell takes, and as JSON. Nothing here or behind it is run."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from c2c_auditor.audit.mend.mend import Mend
from c2c_auditor.audit.mend.refusals import Refusal
from c2c_auditor.export.document import finding_document, identifier
from c2c_auditor.export.mend_commands import MARK, Block, blocks
from c2c_auditor.export.plain import plain
from c2c_auditor.model import rule as r
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk.chain_names import author

# Of one kind and for one reason so many are told.
_MOST_REFUSED = 3
# So many sentences say what is opened, and what is closed.
_MOST_TOLD = 12
_GENTLER = (
    "The gentler way first: vxlan-policy-agent writes {what} afresh at its start (monit restart vxlan-policy-agent), "
    "and at the next change of what it plans from. That does the same without these commands, unless what made it fail "
    "is still there."
)
_WRITTEN_ONCE = (
    "No gentler way: silk writes {what} once, when the container is created. Without these commands only recreating it "
    "(cf restart-app-instance) brings that back; no restart of vxlan-policy-agent does."
)


def script(
    mend: Mend,
    command: Sequence[str],
    *,
    undo: bool,
    review: bool,
    saving: Mapping[AddressFamily, str] | None = None,
) -> str:
    """The whole text. ``command`` are the words that run this program's ``mend`` here; ``saving`` as for `blocks`.

    With ``review`` the rules are a recording's, so there is no check and nothing to run.
    """
    found = blocks(mend, undo=undo, saving=saving)
    lines = ["#!/bin/sh", *(f"# {line}" if line else "#" for line in _head(mend, undo=undo))]
    for block in found:
        lines.append("")
        if review:
            lines.append(f"# for {block.program} -w --noflush; the recording is not this cell's present state")
            lines += block.lines
            continue
        lines.append("# Whether it still fits; the commands run only if it does.")
        lines.append(f"{shlex.join([*command, '--fits', block.fits])} &&")
        lines += [f"{shlex.quote(block.program)} -w --noflush <<'{MARK}'", *block.lines, MARK]
    return "\n".join([*lines, ""])


def _head(mend: Mend, *, undo: bool) -> Iterator[str]:
    when = _time(mend.time) or "an unknown time"
    what = "The way back from what c2c-auditor mend printed" if undo else "What c2c-auditor mend worked out"
    yield f"{what} for the rules as read at {when}. Nothing was run."
    if mend.blocked is not None:
        yield f"No commands: {plain(mend.blocked.reason)}"
        yield f"→ {plain(mend.blocked.remedy)}"
        return
    if not (mend.commands or mend.refused):
        yield "Nothing to mend: the rules are as they should be."
    for number, finding in mend.causes.items():
        yield f"{number}. {finding.effect.value.upper()} {finding.kind.value} {identifier(finding)}"
    if mend.commands and not undo:
        yield from _gentler(mend)
        yield from _afterwards(mend)
    seen: Counter[tuple[Kind, str]] = Counter()
    for refusal in mend.refused:
        seen[refusal.finding.kind, refusal.reason] += 1
        if refusal.foreign is not None or seen[refusal.finding.kind, refusal.reason] <= _MOST_REFUSED:
            yield from _refused(refusal)
    for (kind, _), count in seen.items():
        if count > _MOST_REFUSED:
            yield f"Not mended: {count} findings of kind {kind.value} in all; --format json has each."
    if mend.commands and not undo:
        yield "The way back: the same command with --undo. Ask for it and keep it before these commands are run."


def _gentler(mend: Mend) -> Iterator[str]:
    """What silk would do by itself, for the chains that it writes again and for those that it writes once."""
    chains = {edit.chain: edit for commands in mend.commands for edit in commands.edits}
    jumped = [
        rule.target.chain
        for commands in mend.commands
        for edit in commands.edits
        for rule in (edit.rule, edit.before)
        if rule is not None and isinstance(rule.target, r.Jump)
    ]
    by = {who: sorted(name for name in {*chains, *jumped} if author([name]) == who) for who in ("vpa", "cni")}
    for who, text in (("vpa", _GENTLER), ("cni", _WRITTEN_ONCE)):
        if by[who]:
            more = f" and {len(by[who]) - 1} more chains" if len(by[who]) > 1 else ""
            yield text.format(what=f"{plain(by[who][0])}{more}")


def _afterwards(mend: Mend) -> Iterator[str]:
    left = [finding for finding in mend.left if finding.effect.harms]
    rest = len(mend.left) - len(left)
    state = "clean" if not mend.left else f"{len(left)} outages and breaches left, {rest} left-overs and hints"
    yield f"Afterwards: {state}. No other finding is new, and no other flow is decided otherwise:"
    outcome = mend.outcome
    if outcome is not None:
        for sentences, nothing in ((outcome.opens, "opens nothing"), (outcome.closes, "closes nothing")):
            yield from (f"  {plain(sentence)}" for sentence in sentences[:_MOST_TOLD] or (nothing,))
            if len(sentences) > _MOST_TOLD:
                yield f"  and {len(sentences) - _MOST_TOLD} more; --format json has all"


def _refused(refusal: Refusal) -> Iterator[str]:
    finding = refusal.finding
    yield f"Not mended: {finding.effect.value.upper()} {finding.kind.value} {identifier(finding)}"
    yield f"  {plain(finding.summary)}"
    yield f"  {plain(refusal.reason)}."
    if refusal.foreign is not None:
        yield f"  to take it out: --remove-foreign {shlex.quote(plain(foreign_text(refusal)))}"
    yield f"  → {plain(finding.remedy)}"


def foreign_text(refusal: Refusal) -> str:
    """The rule of others as ``--remove-foreign`` takes it."""
    place = refusal.finding.place
    if refusal.foreign is None or place is None:
        return ""
    table = f"-t {place.table} " if place.table != "filter" else ""
    return f"{table}{render_rule(refusal.foreign, place.chain)}"


def mend_document(mend: Mend, *, undo: bool, saving: Mapping[AddressFamily, str] | None = None) -> dict[str, Any]:
    """The mend as JSON values; ``saving`` as for `blocks`."""
    outcome = mend.outcome
    return {
        "time": _time(mend.time),
        "blocked": {"reason": mend.blocked.reason, "remedy": mend.blocked.remedy} if mend.blocked is not None else None,
        "causes": {str(number): finding_document(finding) for number, finding in mend.causes.items()},
        "gentler": list(_gentler(mend)),
        "commands": [
            {"ip": block.family.value, "program": block.program, "fits": block.fits, "text": _text(block)}
            for block in blocks(mend, undo=undo, saving=saving)
        ],
        "afterwards": {
            "clean": not mend.left,
            "findings": [identifier(finding) for finding in mend.left],
            "opens": list(outcome.opens) if outcome is not None else [],
            "closes": list(outcome.closes) if outcome is not None else [],
        },
        "refused": [
            {
                "id": identifier(refusal.finding),
                "kind": refusal.finding.kind.value,
                "summary": refusal.finding.summary,
                "reason": refusal.reason,
                "remedy": refusal.remedy,
                "remove_foreign": foreign_text(refusal) or None,
            }
            for refusal in mend.refused
        ],
    }


def _text(block: Block) -> str:
    return "\n".join([*block.lines, ""])


def _time(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds") if seconds else None


def harms_left(mend: Mend) -> bool:
    """Whether an outage or a breach is left that was asked for."""
    return any(refusal.finding.effect in (Effect.BREACH, Effect.OUTAGE) for refusal in mend.refused)

"""Findings about rules that contradict each other, for listings and bundles without policies.

An app has one tag. So the mark that its MARK rule sets must be the one that every ACCEPT for it matches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.extra_rules import comment_guids
from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import PolicyChains
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Difference, Finding
from c2c_auditor.model.kind import Effect, Kind


def consistency(inputs: Inputs) -> Iterator[Finding]:
    """Contradictions among MARK and ACCEPT rules. None if there is a plan, whose comparison shows more."""
    if inputs.planned is not None:
        return
    entries = _entries(inputs.ruleset, inputs.chains)
    elsewhere = [entry for other in inputs.others for entry in _entries(other, PolicyChains.of(other))]
    marks = [
        entry
        for entry in (*entries, *elsewhere)
        if isinstance(entry.rule.target, r.SetMark) and comment_guids(entry.rule)[0]
    ]
    accepts = [entry for entry in entries if entry.rule.target == r.ACCEPT and all(comment_guids(entry.rule))]
    tags = _tags(marks)
    yield from _double_tags(tags)
    yield from _unlike_marks(accepts, tags)
    yield from _unlike_siblings(accepts, tags)
    yield from _repeated(entries)


def _entries(ruleset: r.Ruleset, chains: PolicyChains) -> Sequence[Entry]:
    """The rules of the policy chains, and those without a chain's header in a listing, under the listing's name."""
    anonymous = ruleset.chains("filter").get("", r.Chain(name=""))
    pasted = (Entry(chain=ruleset.origin, position=at, rule=rule) for at, rule in enumerate(anonymous.rules, 1))
    return [*chains.entries, *pasted]


def _tags(marks: Sequence[Entry]) -> Mapping[str, dict[int, Entry]]:
    """For each source guid the tags that it is marked with, and the first rule that does."""
    tags: dict[str, dict[int, Entry]] = {}
    for entry in marks:
        if isinstance(entry.rule.target, r.SetMark):
            tags.setdefault(comment_guids(entry.rule)[0], {}).setdefault(entry.rule.target.value, entry)
    return tags


def _double_tags(tags: Mapping[str, dict[int, Entry]]) -> Iterator[Finding]:
    for guid, found in tags.items():
        if len(found) > 1:
            entry = list(found.values())[-1]
            listed = ", ".join(f"0x{tag:x}" for tag in sorted(found))
            yield describe.finding(
                Kind.TAG_CONFLICT,
                subject=(guid,),
                summary=f"app {guid} is marked with {len(found)} different tags ({listed}); an app has one.",
                remedy=describe.REPLAN,
                entry=entry,
            )


def _unlike_marks(accepts: Sequence[Entry], tags: Mapping[str, dict[int, Entry]]) -> Iterator[Finding]:
    for entry in accepts:
        source, _ = comment_guids(entry.rule)
        mark = fields.only(entry.rule, r.MarkMatch)
        known = tags.get(source)
        if known and (mark is None or mark.value not in known):
            tag, marking = next(iter(known.items()))
            yield _changed(entry, tag, f"its source is marked 0x{tag:x} (rule {marking.position} of {marking.chain})")


def _unlike_siblings(accepts: Sequence[Entry], tags: Mapping[str, dict[int, Entry]]) -> Iterator[Finding]:
    """ACCEPT rules of one source that disagree, where no MARK rule shows the right mark.

    The rarer mark counts as wrong.
    """
    by_source: dict[str, list[tuple[int, Entry]]] = {}
    for entry in accepts:
        mark = fields.only(entry.rule, r.MarkMatch)
        source = comment_guids(entry.rule)[0]
        if mark is not None and source not in tags:
            by_source.setdefault(source, []).append((mark.value, entry))
    for found in by_source.values():
        usual, _ = Counter(tag for tag, _ in found).most_common(1)[0]
        for tag, entry in found:
            if tag != usual:
                yield _changed(entry, usual, f"other ACCEPT rules for the same source carry 0x{usual:x}")


def _changed(entry: Entry, tag: int, because: str) -> Finding:
    source, destination = comment_guids(entry.rule)
    ports = fields.shown(entry.rule, fields.PORTS).removeprefix("--dport ")
    found = fields.shown(entry.rule, fields.MARK)
    changed = describe.finding(
        Kind.ACCEPT_CHANGED,
        subject=(describe.text(entry.rule),),
        summary=(
            f"The ACCEPT for {fields.shown(entry.rule, fields.PROTOCOL)} {ports} from app {source} to app "
            f"{destination} carries mark {found}, but {because}: packets of this source are rejected there, and "
            f"packets with mark {found} pass."
        ),
        remedy=describe.REPLAN,
        entry=entry,
        differences=(Difference(field=fields.MARK, expected=f"0x{tag:x}", found=found),),
    )
    return evolve(changed, effects=frozenset({Effect.BREACH, Effect.OUTAGE}))


def _repeated(entries: Sequence[Entry]) -> Iterator[Finding]:
    seen: set[tuple[str, r.Rule]] = set()
    for entry in entries:
        if (entry.chain, entry.rule) in seen:
            yield describe.finding(
                Kind.RULE_DUPLICATE,
                subject=(describe.text(entry.rule),),
                summary=f"The same rule stands more than once in {entry.chain}; only the first copy has an effect.",
                remedy=describe.REPLAN,
                entry=entry,
            )
        seen.add((entry.chain, entry.rule))

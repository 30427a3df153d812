"""Rules of the policy chain that are all there but stand where they do not work.

Order decides in two cases only: a local source must be marked before its mark is matched, and a LOG must come before
the ACCEPT that ends the walk. Any other order of silk's rules lets the same packets pass; those moves are harmless and
no finding (docs/findings.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from c2c_auditor.audit.comparison.compare import Matched
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.sequence import longest_increasing
from c2c_auditor.silk.policy import Planned, Purpose


@frozen(kw_only=True)
class Standing:
    """A planned rule where it stands: its index in the plan and in the walk of a packet."""

    planned: Planned
    entry: Entry
    plan: int
    walk: int


@frozen(kw_only=True)
class Misplaced:
    """``moved`` is the rule that was moved; ``late`` must come before ``early`` but does not."""

    moved: Standing
    late: Standing
    early: Standing


def misplaced(matched: Matched[Planned]) -> tuple[Misplaced, ...]:
    """Violations of order among rules that are there; a packet meets them in the order of their places.

    One violation per moved rule.
    """
    if sorted(matched.places) == list(matched.places) or _in_order(matched):
        return ()
    standing = [
        Standing(planned=plan, entry=entry, plan=index, walk=walk)
        for index, ((plan, entry), walk) in enumerate(zip(matched, matched.places, strict=True))
    ]
    standing.sort(key=lambda one: one.walk)
    violations = _violations(standing)
    kept = longest_increasing([one.plan for one in standing])
    settled = {standing[index].plan for index in kept}
    found: dict[int, Misplaced] = {}
    for late, early in violations:
        moved = early if early.plan not in settled and late.plan in settled else late
        found.setdefault(moved.plan, Misplaced(moved=moved, late=late, early=early))
    return tuple(found.values())


def _in_order(matched: Matched[Planned]) -> bool:
    """Whether there is no violation at all, as nearly always: one pass without making anything.

    A LOG's ACCEPT follows it in the plan.
    """
    marks: list[tuple[int, int]] = []
    accepts: dict[int, int] = {}
    log: tuple[Planned, int] | None = None
    for plan, walk in zip(matched.plans, matched.places, strict=True):
        if plan.purpose is Purpose.MARK:
            marks.append((getattr(plan.rule.target, "value", -1), walk))
        elif plan.purpose is Purpose.LOG:
            log = plan, walk
        elif plan.policy is not None:
            tag = plan.policy.source_tag
            accepts[tag] = min(walk, accepts.get(tag, walk))
            if (
                log is not None
                and log[0].policy is plan.policy
                and log[0].container is plan.container
                and log[1] > walk
            ):
                return False
    return all(walk < accepts.get(tag, walk + 1) for tag, walk in marks)


def _violations(standing: Sequence[Standing]) -> list[tuple[Standing, Standing]]:
    """Pairs (late, early): ``late`` had to come first.

    Linear: only the first ACCEPT per tag and per container's policy is remembered.
    """
    found = []
    accepted: dict[int, Standing] = {}
    ended: dict[tuple[object, object], Standing] = {}
    for one in standing:
        policy, container = one.planned.policy, one.planned.container
        if one.planned.purpose is Purpose.ACCEPT and policy is not None:
            accepted.setdefault(policy.source_tag, one)
            ended.setdefault((container, policy), one)
        elif one.planned.purpose is Purpose.LOG and (container, policy) in ended:
            found.append((one, ended[(container, policy)]))
        elif one.planned.purpose is Purpose.MARK:
            early = accepted.get(getattr(one.planned.rule.target, "value", -1))
            if early is not None:
                found.append((one, early))
    return found

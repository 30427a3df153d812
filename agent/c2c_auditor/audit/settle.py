"""The only memory of the audit: which findings last. A pure reducer; the time is given.

silk is never done at once: it polls, it swaps chains in six steps, it creates containers one chain at a time. So a
finding is *pending* until it was seen in two readings and has outlived what silk needs to mend it by itself, then
*confirmed*, and *resolved* when a reading no longer shows it. The clock of a finding starts when it is first seen,
which is never before its expectation was known: a policy added a second ago is not missing yet. Kinds that an audit
could not judge keep their findings as they were: what cannot be seen has neither gone nor lasted.

A finding lasts only while it is looked at: two passing states of two swaps look like one difference to a reader who
saw nothing in between. So its clock starts again when two sightings are further apart than `Grace.closeness`, whatever
delayed the second one: sources that were away, a stopped process, a slow machine. It stays known all the same, and a
confirmed finding stays confirmed as long as no reading is without it. A machine whose every reading comes late must
not wait for ever, so what still stands there after `_MOST_PAUSES` such pauses is confirmed as well.

A finding that a change would explain which the agent cannot know of, because a source is away (`staleness`), is not
confirmed, and its clock starts when the source is back. It says since when what should be is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve, field, frozen

from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.staleness import FRESH, Staleness
from c2c_auditor.model.cell import Policy
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Family, Kind

# How much longer than two polls silk may take: planning, six iptables commands, and an auditor that looks a moment too
# early.
_MARGIN_SECONDS = 5.0
# A policy is often made before the app that it opens a port of is pushed with that port.
_HINT_SECONDS = 600.0
# Of the grace: readings may be this far apart, so that at least three of them confirm a finding.
_CLOSE_SHARE = 2 / 3
# The agent looks every 5 s while something is pending (`daemon.Loop`); a machine under load takes its time over that.
_CLOSE_SECONDS = 10.0
# Six distant sightings, and no reading in between without it: silk's passing states take moments, so it is none.
_MOST_PAUSES = 5


@frozen(kw_only=True)
class Grace:
    """Seconds that a finding must last before it is confirmed: what two polls of VPA and a margin take.

    Longer for security groups and hints.
    """

    policy: float = 15.0
    security_group: float = 125.0
    hint: float = _HINT_SECONDS

    @classmethod
    def for_polls(cls, *, policy: float, security_group: float) -> Grace:
        """The grace for VPA's two poll intervals, in seconds."""
        return cls(policy=2 * policy + _MARGIN_SECONDS, security_group=2 * security_group + _MARGIN_SECONDS)

    def of(self, kind: Kind) -> float:
        """The grace for one kind of finding."""
        if kind is Kind.PORT_NOT_EXPOSED:
            return self.hint
        return self.security_group if kind.family is Family.SECURITY_GROUP else self.policy

    def closeness(self, kind: Kind) -> float:
        """How many seconds may lie between two readings that show a finding of ``kind`` for it to have lasted."""
        return max(_CLOSE_SHARE * self.of(kind), _CLOSE_SECONDS)


@frozen(kw_only=True)
class Track:
    """One finding over time.

    ``seen`` is when a reading last showed it, ``lasting`` the first of the readings up to then that were close to each
    other, ``pauses`` how often they were not. ``since`` is when it was confirmed.
    """

    finding: Finding
    first_seen: float
    seen: float
    lasting: float
    pauses: int = 0
    since: float | None = None


@frozen(kw_only=True)
class Memory:
    """What is remembered from one reading to the next.

    ``known`` is None before the first judgement of policies; ``waiting`` since when, per policy.
    """

    tracks: Mapping[tuple[str, ...], Track] = field(factory=dict)
    known: frozenset[Policy] | None = None
    waiting: Mapping[Policy, float] = field(factory=dict)


@frozen(kw_only=True)
class Settlement:
    """One reading, settled.

    ``findings`` are those known now; ``confirmed`` and ``resolved`` those that this reading confirmed or ended;
    ``converged`` the seconds that policies took to arrive.
    """

    memory: Memory
    findings: tuple[Finding, ...] = ()
    confirmed: tuple[Finding, ...] = ()
    resolved: tuple[Finding, ...] = ()
    converged: tuple[float, ...] = ()


def settle(
    memory: Memory, judgement: Judgement, now: float, grace: Grace, *, staleness: Staleness = FRESH
) -> Settlement:
    """What has lasted, by ``judgement`` of a consistent reading taken at ``now`` (seconds, any epoch, never backwards).

    ``staleness`` tells of the sources whose last answers ``judgement`` rests on because they are away.
    """
    tracks: dict[tuple[str, ...], Track] = {
        key: track for key, track in memory.tracks.items() if track.finding.kind in judgement.unknown
    }
    confirmed: list[Finding] = []
    for finding in _distinct(judgement.findings):
        unknown = staleness.unknown_since(finding, judgement)
        stated = finding if unknown is None else evolve(finding, unknown_since=unknown)
        track = _seen(memory.tracks.get(finding.key), stated, now, grace)
        tracks[finding.key] = track
        if track.since is not None and _was_pending(memory.tracks.get(finding.key)):
            confirmed.append(_state_of(track))
    resolved = [
        track.finding.settled(State.RESOLVED, first_seen=track.first_seen, since=now)
        for key, track in memory.tracks.items()
        if key not in tracks and track.since is not None
    ]
    known, waiting, converged = _converge(memory, judgement, now)
    return Settlement(
        memory=Memory(tracks=tracks, known=known, waiting=waiting),
        findings=tuple(_state_of(track) for track in tracks.values() if track.finding.kind not in judgement.unknown),
        confirmed=tuple(confirmed),
        resolved=tuple(resolved),
        converged=converged,
    )


def confirmed_at_once(judgement: Judgement, now: float) -> tuple[Finding, ...]:
    """The findings of a reading that stands for itself: a recording, or what the two readings of one audit agree on."""
    return tuple(
        finding.settled(State.CONFIRMED, first_seen=now, since=now) for finding in _distinct(judgement.findings)
    )


def agreed(first: Judgement, second: Judgement) -> Judgement:
    """``second`` without the findings that ``first`` did not have: what two readings agree on."""
    keys = {finding.key for finding in first.findings}
    return evolve(
        second,
        findings=tuple(finding for finding in second.findings if finding.key in keys),
        unknown=second.unknown | first.unknown,
        unmet=second.unmet & first.unmet,
    )


def _distinct(findings: Iterable[Finding]) -> Iterable[Finding]:
    """Findings by key; of several with one key the first stands for all."""
    found: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        found.setdefault(finding.key, finding)
    return found.values()


def _seen(track: Track | None, finding: Finding, now: float, grace: Grace) -> Track:
    """The track of a finding that this reading shows."""
    if track is None:
        return Track(finding=finding, first_seen=now, seen=now, lasting=now)
    if track.since is not None:
        return evolve(track, finding=finding, seen=now)
    if finding.unknown_since is not None or track.finding.unknown_since is not None:
        return evolve(track, finding=finding, seen=now, lasting=now, pauses=0)
    if now - track.seen > grace.closeness(finding.kind):
        pauses = track.pauses + 1
        since = now if pauses >= _MOST_PAUSES else None
        return evolve(track, finding=finding, seen=now, lasting=now, pauses=pauses, since=since)
    since = now if now - track.lasting >= grace.of(finding.kind) else None
    return evolve(track, finding=finding, seen=now, since=since)


def _was_pending(track: Track | None) -> bool:
    return track is not None and track.since is None


def _state_of(track: Track) -> Finding:
    state = State.PENDING if track.since is None else State.CONFIRMED
    return track.finding.settled(
        state, first_seen=track.first_seen, since=track.since if track.since is not None else track.first_seen
    )


def _converge(
    memory: Memory, judgement: Judgement, now: float
) -> tuple[frozenset[Policy] | None, Mapping[Policy, float], tuple[float, ...]]:
    """How long policies took from being known to being carried out.

    Those that were there at the first look are not measured unless they are late.
    """
    if judgement.carried is None:
        return memory.known, memory.waiting, ()
    waiting = {policy: since for policy, since in memory.waiting.items() if policy in judgement.carried}
    fresh = judgement.carried - memory.known if memory.known is not None else judgement.unmet
    waiting.update((policy, now) for policy in fresh if policy not in waiting)
    arrived = [policy for policy in waiting if policy not in judgement.unmet]
    converged = tuple(now - waiting.pop(policy) for policy in arrived)
    return judgement.carried, waiting, converged

"""What happens between two looks: each finding once in each state, each change once, blindness and its end."""

from __future__ import annotations

import io
import json

from attrs import evolve
from rich.console import Console

from c2c_auditor.assembly.watched import look_of_report
from c2c_auditor.export.terminal import Page
from c2c_auditor.export.watching import Happening, Look, Printer, Watch
from c2c_auditor.model.change import Act, Author, Change
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import Report, Result
from support.reports import NOW, blind_report, clean_report, flushed_report

FLUSH = Change(
    seen=NOW,
    author=Author.FOREIGN,
    generation=7,
    pid=4711,
    process="iptables",
    command="iptables -F FORWARD",
    parent="bash (4700)",
    removed=("-t filter -A FORWARD -j overlay--1",),
)


def _flushed(state: State) -> Report:
    report = flushed_report()
    findings = tuple(evolve(finding, state=state, changed_by=FLUSH) for finding in report.findings)
    return evolve(report, findings=findings, journal=(FLUSH,))


def _told(watch: Watch, report: Report) -> list[tuple[str, str]]:
    """Event and state or result."""
    documents = [happening.document() for happening in watch.look(look_of_report(report))]
    assert all(json.loads(json.dumps(document))["time"]["epoch"] for document in documents)
    return [(one["event"], one.get("state") or one.get("result") or "") for one in documents]


def test_each_finding_is_told_once_in_each_state() -> None:
    """Pending, confirmed, resolved; and the change that caused it."""
    watch, count = Watch(), len(flushed_report().findings)
    assert _told(watch, clean_report()) == [("result", "clean")]
    assert _told(watch, clean_report()) == []
    pending = _told(watch, evolve(_flushed(State.PENDING), result=Result.UNSETTLED))
    assert pending == [("change", ""), ("result", "unsettled"), *[("finding", "pending")] * count]
    assert _told(watch, evolve(_flushed(State.PENDING), result=Result.UNSETTLED)) == []
    confirmed = _told(watch, _flushed(State.CONFIRMED))
    assert confirmed == [("result", "findings"), *[("finding", "confirmed")] * count]
    assert _told(watch, evolve(clean_report(), journal=(FLUSH,))) == [
        ("result", "clean"),
        *[("finding", "resolved")] * count,
    ]


def test_a_blind_audit_ends_no_finding() -> None:
    """What could not be judged may still be there; blindness is said, with what cannot be read."""
    watch = Watch()
    _told(watch, _flushed(State.CONFIRMED))
    (blind,) = watch.look(look_of_report(evolve(blind_report(), time=NOW, journal=(FLUSH,))))
    assert blind.document()["problems"] == ["rules: iptables-nft-save -t filter: exit status 4"]
    assert _told(watch, _flushed(State.CONFIRMED)) == [("result", "findings")]


def test_what_is_there_at_the_beginning_is_told_and_what_was_done_is_not() -> None:
    """The journal is for `status`; a change that has the time of another is another one."""
    watch = Watch()
    events = _told(watch, _flushed(State.CONFIRMED))
    assert {event for event, _ in events} == {"result", "finding"}
    look = look_of_report(evolve(_flushed(State.CONFIRMED), journal=(FLUSH, evolve(FLUSH, generation=8))))
    (happening,) = watch.look(look)
    assert happening.change == evolve(FLUSH, generation=8)


def _printed(*happenings: Happening) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    printer = Printer(Page(console))
    with console.capture() as captured:
        for happening in happenings:
            printer.print(happening)
    return captured.get()


def test_for_people_it_is_lines_with_the_time() -> None:
    """Who did what, what it does to traffic, since when, and the mend once silk does not correct it."""
    pending, confirmed = (look_of_report(_flushed(state)).findings[0] for state in (State.PENDING, State.CONFIRMED))
    text = _printed(
        Happening(time=NOW, change=FLUSH),
        Happening(time=NOW, finding=pending, state=State.PENDING),
        Happening(time=NOW + 15, finding=confirmed, state=State.CONFIRMED),
        Happening(time=NOW + 60, finding=confirmed, state=State.RESOLVED),
        Happening(time=NOW + 60, result=Result.CLEAN),
        Happening(time=NOW + 70, result=Result.BLIND, problems=("rules: netlink: denied\x1b",)),
    )
    lines = text.splitlines()
    assert lines[0] == "02:13:20 CHANGE `iptables -F FORWARD` by pid 4711 (iptables), parent bash (4700)"
    assert lines[1] == "         - -t filter -A FORWARD -j overlay--1"
    assert lines[2].startswith(f"02:13:20 {pending.effect.value.upper()} {pending.kind}: ")
    assert lines[2].endswith(" (pending: silk may correct it)")
    assert lines[3].startswith("         changed 2026-11-23 02:13:20 UTC, `iptables -F FORWARD` by pid 4711")
    assert lines[4].startswith("02:13:35 ")
    assert lines[6].startswith("         → ")
    assert lines[7].startswith(f"02:14:20 RESOLVED {pending.kind}: ")
    assert lines[8:] == ["02:14:20 CLEAN", "02:14:30 COULD NOT LOOK at everything: rules: netlink: denied\\x1b"]


def test_silks_commits_that_belong_together_are_one_line() -> None:
    """A container is created by some thirty."""
    created = Change(seen=NOW, author=Author.CNI, act=Act.CONTAINER_CREATED, pid=1, process="iptables")
    swapped = evolve(created, author=Author.VPA, act=Act.POLICY_SWAP)
    text = _printed(
        *(Happening(time=NOW + n, change=created) for n in range(20)),
        Happening(time=NOW + 20, change=swapped),
        Happening(time=NOW + 21, change=created),
        Happening(time=NOW + 27, change=created),
    )
    assert [line.split(" by ")[0] for line in text.splitlines()] == [
        "02:13:20 CHANGE container created",
        "02:13:40 CHANGE policy swap",
        "02:13:41 CHANGE container created",
        "02:13:47 CHANGE container created",
    ]


def test_a_look_is_of_a_report_of_bounded_size() -> None:
    """A cell with twenty thousand findings of one kind is watched all the same."""
    report = flushed_report()
    many = [evolve(report.findings[0], kind=Kind.ACCEPT_STALE, subject=(str(n),)) for n in range(1000)]
    look: Look = look_of_report(evolve(report, findings=tuple(many)))
    assert len(look.findings) == 200

"""What can be wrong with the policy server, as seen from one cell: its connections, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import bottle
from attrs import evolve, field, frozen

from demo.policy_server import Truth
from faults.bench import Bench
from faults.files import Inject
from faults.front import Mode
from faults.row import Row, Sees

_SLOW_SECONDS = 0.6
_HANGS_SECONDS = 3.0
_BEYOND_EVERY_LIMIT = 65 << 20
_BOTH = ("policy_server", "security_groups")


@frozen(kw_only=True)
class Odd(Truth):
    """A server that answers something else in one place: each function gets the true answer."""

    about_policies: Callable[[Any], Any] = field(default=lambda answer: answer)
    about_groups: Callable[[Any], Any] = field(default=lambda answer: answer)

    def policies_for(self, guids: Collection[str] | None) -> dict[str, Any]:
        """The odd answer about policies."""
        answer: dict[str, Any] = self.about_policies(super().policies_for(guids))
        return answer

    def groups_for(self, spaces: Collection[str], *, start: int, count: int) -> dict[str, Any]:
        """The odd answer about security groups."""
        answer: dict[str, Any] = self.about_groups(super().groups_for(spaces, start=start, count=count))
        return answer


def _relay(mode: Mode) -> Inject:
    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        with bench.front.being(mode):
            yield

    return inject


def answering(*, policies: Callable[[Any], Any] | None = None, groups: Callable[[Any], Any] | None = None) -> Inject:
    """Odd answers, requested anew because the server says that something changed."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        server = bench.cell.server
        truth = server.truth
        odd = {"about_policies": policies, "about_groups": groups}
        server.truth = Odd(
            policies=truth.policies,
            tags=truth.tags,
            groups=truth.groups,
            last_updated=truth.last_updated + 1000,
            **{name: answer for name, answer in odd.items() if answer is not None},
        )
        try:
            yield
        finally:
            server.truth = evolve(truth, last_updated=truth.last_updated + 2000)

    return inject


def _slowly(seconds: float) -> Callable[[Any], Any]:
    def answer(true: Any) -> Any:  # noqa: ANN401 - JSON
        time.sleep(seconds)
        return true

    return answer


def _broken(_: Any) -> Any:  # noqa: ANN401 - JSON
    raise bottle.HTTPError(500, "the database is away")


def _padded(true: Any) -> Any:  # noqa: ANN401 - JSON
    return {**true, "padding": "x" * _BEYOND_EVERY_LIMIT}


def _one_policy_odd(true: Any) -> Any:  # noqa: ANN401 - JSON
    odd = {"source": {"id": "a", "tag": "zz"}, "destination": {"id": "b", "protocol": "icmp", "ports": None}}
    return {**true, "policies": [*true["policies"], odd]}


def _rules_odd(true: Any) -> Any:  # noqa: ANN401 - JSON
    groups = [{**group, "rules": "[{]"} for group in true["security_groups"]]
    return {**true, "security_groups": groups}


@contextmanager
def _restored_from_yesterday(bench: Bench) -> Iterator[None]:
    """The database goes back in time: a policy of today is gone, the time of change is older, and VPA follows."""
    server = bench.cell.server
    truth = server.truth
    server.truth = evolve(truth, policies=truth.policies[1:], last_updated=truth.last_updated - 86_400_000_000_000)
    bench.cell.replan()
    try:
        yield
    finally:
        server.truth = evolve(truth, last_updated=truth.last_updated + 3000)
        bench.cell.replan()


def rows() -> Iterator[Row]:
    """The rows of the policy server and of security groups."""
    down = Sees(down=_BOTH)
    for fault, mode, sees, daily in (
        ("missing", Mode.REFUSE, Sees(down=_BOTH), True),
        ("hanging", Mode.HANG, Sees(down=_BOTH, reason="timeout"), True),
        ("slow", Mode.SLOW, Sees(), True),
        ("torn", Mode.TORN, down, False),
        ("flapping", Mode.FLAP, Sees(), False),
    ):
        yield Row(
            source="policy server",
            fault=fault,
            inject=_relay(mode),
            sees=sees,
            daily=daily,
            change=fault == "missing",
        )
    only = Sees(down=("policy_server",), reason="malformed")
    for fault, answer, sees in (
        ("empty answer", lambda _: "", only),
        ("wrong shape", lambda _: {"policies": {"a": 1}}, only),
        ("huge answer", _padded, Sees(down=("policy_server",))),
        ("answers 500", _broken, Sees(down=("policy_server",), reason="status")),
    ):
        yield Row(
            source="policy server",
            fault=fault,
            inject=answering(policies=answer),
            sees=sees,
            daily=fault == "wrong shape",
        )
    yield Row(
        source="policy server",
        fault="one policy of wrong shape",
        inject=answering(policies=_one_policy_odd),
        sees=Sees(finding="policy_unreadable"),
        daily=False,
    )
    yield Row(source="policy server", fault="restored from yesterday", inject=_restored_from_yesterday)
    groups = Sees(down=("security_groups",))
    for fault, answer, sees in (
        ("empty answer", lambda _: "", groups),
        ("wrong shape", lambda _: {"next": "x", "security_groups": 1}, groups),
        ("huge answer", _padded, groups),
        ("answers 500", _broken, groups),
        ("hanging", _slowly(_HANGS_SECONDS), groups),
        ("slow", _slowly(_SLOW_SECONDS), Sees()),
    ):
        yield Row(
            source="security groups",
            fault=fault,
            inject=answering(groups=answer),
            sees=sees,
            daily=fault in ("wrong shape", "hanging"),
        )
    yield Row(
        source="security groups",
        fault="rules of wrong shape",
        inject=answering(groups=_rules_odd),
        sees=Sees(finding="asg_missing"),  # VPA cannot convert them either, and says nothing of it
        daily=False,
    )

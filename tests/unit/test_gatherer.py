"""The facts of a cell over time: the last good ones are used while a source is away, by a clock that never steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trustme
from attrs import define

from c2c_auditor.config import Config, PolicyServerSettings
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import PolicySet
from c2c_auditor.model.report import SourceStatus
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.known import Known
from c2c_auditor.sources.facts.policy_fetcher import PolicyKnowledge, PolicyQuery
from support.recordings import CELLS

PAIR = CELLS / "pair"
AWAY = SourceError(source="policy_server", reason=Reason.TIMEOUT, where="x", problem="hangs", remedy="look")


@define
class Time:
    """Two clocks that a test moves."""

    wall: float = 1_795_400_000.0
    steady: float = 100.0

    @property
    def clocks(self) -> Clocks:
        """Both, as the agent reads them."""
        return Clocks(wall=lambda: self.wall, steady=lambda: self.steady)


@define
class ScriptedPolicies:
    """Policies as a test says; the last query."""

    latest: PolicyKnowledge
    query: PolicyQuery | None = None

    def read(self, query: PolicyQuery) -> PolicyKnowledge:
        """What is known, without asking."""
        self.query = query
        return self.latest


def _fail() -> PolicySet:
    raise AWAY


def _cell(folder: Path) -> Config:
    """The recorded pair's files in ``folder``, with certificates."""
    authority = trustme.CA()
    leaf = authority.issue_cert("vpa")
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "client.crt"))
    leaf.private_key_pem.write_to_path(str(folder / "client.key"))
    for name in ("store.json", "vxlan-policy-agent.json"):
        shutil.copy(PAIR / name, folder / name)
    return Config(
        vpa_config=folder / "vxlan-policy-agent.json",
        store=folder / "store.json",
        policy_server=PolicyServerSettings(
            url="https://127.0.0.1:1",
            ca=folder / "ca.crt",
            certificate=folder / "client.crt",
            key=folder / "client.key",
        ),
        processes=False,
    )


def test_the_last_good_value_is_used_up_to_an_age() -> None:
    """The source is down at once, and its value is given up only when it is too old."""
    time = Time()
    known = Known[PolicySet](name="policy_server").refreshed(time.clocks, PolicySet)
    assert known.status(time.clocks, 600) == SourceStatus(name="policy_server", up=True, last_success=time.wall)
    time.steady += 600
    known = known.refreshed(time.clocks, _fail)
    status = known.status(time.clocks, 600)
    assert (status.up, status.age_limit_passed, status.last_success) == (False, False, time.wall)
    assert known.usable(time.clocks, 600) == PolicySet()
    time.steady += 1
    assert known.status(time.clocks, 600).age_limit_passed
    assert known.usable(time.clocks, 600) is None


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_wall_clock_that_steps_changes_no_age(step: float) -> None:
    """Set back, old policies would never age; set forward, good ones would be given up."""
    time = Time()
    known = Known[PolicySet](name="policy_server").refreshed(time.clocks, PolicySet).refreshed(time.clocks, _fail)
    time.wall += step
    time.steady += 60
    assert known.usable(time.clocks, 600) == PolicySet()
    time.steady += 600
    assert known.usable(time.clocks, 600) is None


def test_a_source_that_hangs_is_down_before_its_reading_has_failed() -> None:
    """Its last value is used all the same, up to its age; before the first answer there is none."""
    time = Time()
    known = Known[PolicySet](name="policy_server")
    problem = known.status(time.clocks, 600).problem
    assert problem is not None
    assert problem.reason == "timeout"
    assert known.status(time.clocks, 600).problem is problem
    known = known.refreshed(time.clocks, PolicySet)
    time.steady += 12
    assert known.status(time.clocks, 600, unanswered=8).up
    assert known.status(time.clocks, 600, unanswered=13).up  # it has answered since: something else is under way
    status = known.status(time.clocks, 600, unanswered=9)
    assert (status.up, status.age_limit_passed, known.usable(time.clocks, 600)) == (False, False, PolicySet())


def test_an_equal_value_stays_the_identical_object() -> None:
    """So that comparing facts costs nothing."""
    time = Time()
    known = Known[tuple[int, ...]](name="x").refreshed(time.clocks, lambda: (1, 2))
    assert known.refreshed(time.clocks, lambda: (1, *[2])).value is known.value
    assert known.refreshed(time.clocks, lambda: (1, 3)).value == (1, 3)


def test_two_readings_of_an_unchanged_cell_are_equal_and_share_their_parts(tmp_path: Path) -> None:
    """Files are parsed again, but nothing has to be judged again."""
    time = Time()
    policies = ScriptedPolicies(PolicyKnowledge(policies=Known(name="policy_server", value=PolicySet(), good_at=100.0)))
    reader = CellReader(_cell(tmp_path), policies=policies, clocks=time.clocks)
    first, second = reader.read().facts, reader.read().facts
    assert first == second
    assert (first.store is second.store, first.config is second.config) == (True, True)
    assert first.policies == PolicySet()


def test_policies_are_wanted_for_the_cells_guids_and_with_vpas_timeout(tmp_path: Path) -> None:
    """Apps and spaces of the store; the same client as long as nothing says otherwise, a new one after a reload."""
    policies = ScriptedPolicies(PolicyKnowledge())
    config = _cell(tmp_path)
    reader = CellReader(config, policies=policies)
    reader.read()
    first = policies.query
    assert first is not None
    containers = json.loads((PAIR / "store.json").read_text()).values()
    assert {one["metadata"]["policy_group_id"] for one in containers} <= first.guids
    assert first.spaces == {one["metadata"]["space_id"] for one in containers}
    reader.read()
    assert policies.query == first
    reader.reload(config)
    reader.read()
    assert policies.query is not None
    assert policies.query.client is not first.client


def test_a_store_that_was_never_read_accuses_only_the_store(tmp_path: Path) -> None:
    """Nothing was asked of the policy server."""
    config = _cell(tmp_path)
    assert config.store is not None
    config.store.unlink()
    reading = CellReader(config, policies=ScriptedPolicies(PolicyKnowledge())).read()
    assert {status.name: status.up for status in reading.sources} == {"vpa_config": True, "store": False}


def test_without_a_store_policies_are_not_requested_and_old_ones_are_used(tmp_path: Path) -> None:
    """There are no guids to request them by; the policy server is not to blame for that."""
    time = Time()
    known = Known[PolicySet](name="policy_server").refreshed(time.clocks, PolicySet)
    policies = ScriptedPolicies(PolicyKnowledge(policies=known))
    config = _cell(tmp_path)
    assert config.store is not None
    config.store.unlink()
    time.steady += 180
    time.wall -= 86_400
    reading = CellReader(config, policies=policies, clocks=time.clocks).read()
    assert policies.query is None
    assert reading.facts.policies == PolicySet()
    assert {status.name: status.up for status in reading.sources} == {
        "vpa_config": True,
        "store": False,
        "policy_server": True,
    }

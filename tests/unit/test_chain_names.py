"""What a chain's name says: its family, its container, which of silk's programs wrote it."""

from __future__ import annotations

import pytest
from attrs import asdict

from c2c_auditor.silk import chain_names
from c2c_auditor.silk.chain_names import ChainFamily, ContainerChains, family_of
from support.recordings import CELL_NAMES, recording

HANDLES = ("35bf992d-c9e9-4616-a12e-7696", "check-35bf992d-c9e9-4616-a12e", "executor-healthcheck-35bf992d", "a")
FAMILIES = {
    "overlay": ChainFamily.OVERLAY,
    "netout": ChainFamily.NETOUT,
    "netout_log": ChainFamily.NETOUT_LOG,
    "netout_rate_limit_log": ChainFamily.RATE_LIMIT_LOG,
    "input": ChainFamily.INPUT,
    "netin": ChainFamily.NETIN,
    "asg": ChainFamily.ASG,
    "asg_candidate": ChainFamily.ASG_CANDIDATE,
}


@pytest.mark.parametrize("handle", HANDLES)
def test_each_chain_of_a_container_tells_its_family(handle: str) -> None:
    """Whatever the handle's length."""
    names = asdict(ContainerChains.of(handle))
    assert {kind: family_of(name) for kind, name in names.items()} == FAMILIES
    assert all(len(name) <= 28 for name in names.values())


@pytest.mark.parametrize("name", CELL_NAMES)
def test_every_chain_of_a_recorded_cell_has_a_family_or_is_built_in(name: str) -> None:
    """No other program wrote to those cells."""
    cell = recording(name)
    for table in cell.ruleset.tables:
        for chain in cell.ruleset.chains(table):
            assert (family_of(chain) is None) == chain.isupper(), chain


@pytest.mark.parametrize("name", ["FORWARD", "vpa--", "vpa--soon", "asg", "overlay-x", "netout-x--log", "DOCKER", ""])
def test_other_names_have_none(name: str) -> None:
    """Names that only look like silk's are not its."""
    assert family_of(name) is None
    assert not chain_names.is_container_chain(name)


def test_the_policy_chain_belongs_to_no_container() -> None:
    """It is VPA's, as the security group chains are; the CNI plugin wrote the others."""
    assert family_of("vpa--1795397987815968") is ChainFamily.POLICY
    assert not chain_names.is_container_chain("vpa--1795397987815968")
    assert chain_names.author(["input--a", "casg-a"]) == "vpa"
    assert chain_names.author(["FORWARD", "netout--a--log"]) == "cni"
    assert chain_names.author(["FORWARD", "DOCKER"]) == "foreign"

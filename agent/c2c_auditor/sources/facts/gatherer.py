"""The facts of a live cell, gathered from all their sources.

The last good ones are kept while a source is away, up to an age.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from attrs import evolve, frozen

from c2c_auditor.config import Config, host_service
from c2c_auditor.decoding import parse_tag
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import CellFacts, PolicySet, SecurityGroup, Store, VpaConfig
from c2c_auditor.model.cni import CniConfig
from c2c_auditor.model.report import FactsReading, Problem, ProcessStatus, SourceStatus
from c2c_auditor.sources.facts.cni_config import find_cni_config
from c2c_auditor.sources.facts.lease import LeaseReader
from c2c_auditor.sources.facts.policy_feed import PolicyFeed, SecurityGroupFeed
from c2c_auditor.sources.facts.policy_server import PolicyServer
from c2c_auditor.sources.facts.processes import find_underlay, read_processes
from c2c_auditor.sources.facts.store import StoreReader
from c2c_auditor.sources.facts.vpa_config import read_vpa_config

T = TypeVar("T")
_PROCESSES_SECONDS = 15.0


class LastGood(Generic[T]):
    """The last good value of one source, with when it was good and what is wrong since."""

    def __init__(self, name: str, max_age: float) -> None:
        self._max_age = max_age
        self._value: T | None = None
        self.status = SourceStatus(name=name, up=False)

    def refresh(self, now: float, read: Callable[[], T]) -> T | None:
        """What ``read`` gives.

        When it fails, the last good value as long as that is no older than the limit, else None.
        """
        try:
            value = read()
        except SourceError as error:
            return self._failed(now, error)
        if value != self._value:  # an equal value stays the identical object, so that nothing is judged anew
            self._value = value
        self.status = SourceStatus(name=self.status.name, up=True, last_success=now)
        return self._value

    def _failed(self, now: float, error: SourceError) -> T | None:
        last = self.status.last_success
        old = last is None or now - last > self._max_age
        problem = Problem(
            source=self.status.name,
            reason=error.reason.value,
            where=error.where,
            problem=error.problem,
            remedy=error.remedy,
        )
        self.status = SourceStatus(
            name=self.status.name, up=False, last_success=last, problem=problem, age_limit_passed=old
        )
        return None if old else self._value


@frozen(kw_only=True)
class _Server:
    """The policy server as one configuration describes it."""

    key: tuple[object, ...]
    client: PolicyServer
    feed: PolicyFeed
    groups: SecurityGroupFeed


class CellReader:
    """Reads store, VPA's configuration, policies and processes. Failures are part of the reading."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._vpa: LastGood[VpaConfig] = LastGood("vpa_config", config.max_age)
        self._cni: LastGood[CniConfig | None] = LastGood("cni_config", config.max_age)
        self._lease = LeaseReader()
        self._store: LastGood[Store] = LastGood("store", config.max_age)
        self._policies: LastGood[PolicySet] = LastGood("policy_server", config.max_age)
        self._groups: LastGood[tuple[SecurityGroup, ...]] = LastGood("security_groups", config.max_age)
        self._server: _Server | None = None
        self._processes: tuple[float, tuple[ProcessStatus, ...]] | None = None
        self._last: CellFacts | None = None

    def reload(self, config: Config) -> None:
        """Take other settings and read certificates anew; what was known stays known."""
        self._config = config
        if self._server is not None:
            self._server.client.close()
        self._server = None

    def read(self, now: float) -> FactsReading:
        """What is known at ``now``, seconds since the epoch."""
        vpa = self._vpa.refresh(now, lambda: read_vpa_config(self._config.vpa_config))
        cni = self._cni.refresh(now, lambda: find_cni_config(self._config.cni_config))
        store_path = self._config.store or Path(vpa.store_file if vpa is not None else VpaConfig().store_file)
        store = self._store.refresh(now, StoreReader(store_path).read)
        policies = self._policies.refresh(now, lambda: self._ask(vpa, store, now))
        groups = self._ask_groups(vpa, store, now)
        facts = CellFacts(
            store=store,
            policies=policies,
            security_groups=groups,
            config=vpa,
            ingress_tag=parse_tag(self._config.ingress_tag) if self._config.ingress_tag is not None else None,
            underlay_interfaces=self._config.underlay_interfaces
            if self._config.underlay_interfaces is not None
            else find_underlay(cni, vpa),
            cni=cni,
            lease=self._lease.read(now, cni).lease,
            host_services=tuple(map(host_service, self._config.host_services))
            if self._config.host_services is not None
            else None,
            notes=self._notes(now),
        )
        if self._last is not None and _same(self._last, facts):
            facts = self._last
        self._last = facts
        sources = [self._vpa.status, self._store.status, self._policies.status]
        if cni is not None or not self._cni.status.up:
            sources.append(self._cni.status)
        if vpa is not None and vpa.asg_syncing:
            sources.append(self._groups.status)
        return FactsReading(facts=facts, sources=tuple(sources), processes=self._running(now))

    def _ask(self, vpa: VpaConfig | None, store: Store | None, now: float) -> PolicySet:
        if store is None:
            raise _cannot(
                f"{self._store.status.name} is not known",
                "policies are asked for by the guids of the cell's containers: mend the store first",
            )
        guids = frozenset(guid for container in store.containers for guid in (container.app, container.space) if guid)
        return self._connected(vpa).feed.read(guids, now)

    def _ask_groups(self, vpa: VpaConfig | None, store: Store | None, now: float) -> tuple[SecurityGroup, ...] | None:
        """Security groups, where silk syncs them at all; no more often than VPA asks."""
        if vpa is None or not vpa.asg_syncing or store is None:
            return None
        spaces = frozenset(container.space for container in store.containers if container.space)
        return self._groups.refresh(now, lambda: self._connected(vpa).groups.read(spaces, now, vpa.asg_poll_interval))

    def _connected(self, vpa: VpaConfig | None) -> _Server:
        """The client for what own settings and VPA's configuration say now; made anew when they say something else."""
        wanted = _address(self._config, vpa)
        if self._server is None or self._server.key != wanted:
            client = connect(self._config, vpa)
            self._server = _Server(key=wanted, client=client, feed=PolicyFeed(client), groups=SecurityGroupFeed(client))
        return self._server

    def _notes(self, now: float) -> tuple[str, ...]:
        """What old knowledge is being used, to the minute, so that equal facts stay equal."""
        kept = (self._vpa.status, self._cni.status, self._store.status, self._policies.status, self._groups.status)
        return tuple(
            f"{status.name} is away; what it said {(now - status.last_success) // 60:.0f} min ago is still used."
            for status in kept
            if not status.up and status.last_success is not None and not status.age_limit_passed
        )

    def _running(self, now: float) -> tuple[ProcessStatus, ...]:
        """Silk's processes; walking /proc costs more than everything else here, so not more often than every 15 s."""
        if not self._config.processes:
            return ()
        if self._processes is None or now - self._processes[0] >= _PROCESSES_SECONDS:
            self._processes = now, read_processes()
        return self._processes[1]


def connect(config: Config, vpa: VpaConfig | None) -> PolicyServer:
    """A client for the policy server that own settings, else VPA's configuration, name. Raises SourceError."""
    url, ca, certificate, key, timeout = _address(config, vpa)
    if not (url and ca and certificate and key):
        raise _cannot(
            "address or certificates are not known",
            "set policy_server in the agent's configuration, or make VPA's configuration readable",
        )
    return PolicyServer(
        url=url, ca_file=Path(ca), certificate_file=Path(certificate), key_file=Path(key), timeout=timeout
    )


def _address(config: Config, vpa: VpaConfig | None) -> tuple[str, str, str, str, float]:
    own, told = config.policy_server, vpa if vpa is not None else VpaConfig()
    return (
        own.url or told.policy_server_url,
        str(own.ca or told.ca_file),
        str(own.certificate or told.certificate_file),
        str(own.key or told.key_file),
        own.timeout,
    )


def _same(left: CellFacts, right: CellFacts) -> bool:
    """Equality by identity of the large parts, which `LastGood` keeps identical while they are equal."""
    large = ("store", "policies", "config", "security_groups")
    small = [evolve(facts, store=None, policies=None, config=None, security_groups=None) for facts in (left, right)]
    return all(getattr(left, name) is getattr(right, name) for name in large) and small[0] == small[1]


def _cannot(problem: str, remedy: str) -> SourceError:
    return SourceError(
        source="policy_server", reason=Reason.MISSING, where="policy server", problem=problem, remedy=remedy
    )

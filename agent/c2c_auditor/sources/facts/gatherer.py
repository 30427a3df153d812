"""Gathers the facts of a live cell from all their sources; uses the last good ones while a source is away.

Files and the process table are read at each reading. Policies come from the `PolicySource` that the caller passes: a
fetcher that waits for them (`policy_fetcher`), or a thread that fetches them on its own (`policy_thread`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.config import Config, host_service
from c2c_auditor.decoding import parse_tag
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import CellFacts, DeclaredRule, Store, VpaConfig
from c2c_auditor.model.cni import CniConfig
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.model.report import ProcessStatus
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts.answer_texts import KeepText, TextKeepingServer
from c2c_auditor.sources.facts.cni_config import SOURCE as CNI
from c2c_auditor.sources.facts.cni_config import parse_cni_config
from c2c_auditor.sources.facts.known import Known
from c2c_auditor.sources.facts.lease import LeaseReader
from c2c_auditor.sources.facts.policy_fetcher import (
    PolicyClient,
    PolicyFetcher,
    PolicyKnowledge,
    PolicyQuery,
    PolicySource,
)
from c2c_auditor.sources.facts.policy_server import PolicyServer
from c2c_auditor.sources.facts.processes import ProcessTable, find_underlay
from c2c_auditor.sources.facts.store import StoreReader
from c2c_auditor.sources.facts.vpa_config import parse_vpa_config
from c2c_auditor.sources.files import read_text_file

_PROCESSES_SECONDS = 15.0
_MOST_CONFIG_BYTES = 16 << 20


@frozen(kw_only=True)
class _Address:
    """The policy server's URL and the agent's certificate files; empty strings are not known."""

    url: str
    ca: str
    certificate: str
    key: str
    timeout: float

    @classmethod
    def of(cls, config: Config, vpa: VpaConfig | None) -> _Address:
        """From the agent's own settings, else from VPA's configuration."""
        own, theirs = config.policy_server, vpa if vpa is not None else VpaConfig()
        return cls(
            url=own.url or theirs.policy_server_url,
            ca=str(own.ca or theirs.ca_file),
            certificate=str(own.certificate or theirs.certificate_file),
            key=str(own.key or theirs.key_file),
            timeout=own.timeout if own.timeout is not None else theirs.client_timeout,
        )

    def connect(self) -> PolicyServer:
        """A client, with certificates read now. Raises SourceError."""
        if not (self.url and self.ca and self.certificate and self.key):
            raise _unavailable(
                "address or certificates are not known",
                "set policy_server in the agent's configuration, or make VPA's configuration readable",
            )
        return PolicyServer(
            url=self.url,
            ca_file=Path(self.ca),
            certificate_file=Path(self.certificate),
            key_file=Path(self.key),
            timeout=self.timeout,
        )


class CellReader:
    """Reads store, VPA's configuration, policies and processes. Failures are part of the reading.

    ``keep`` gets the text of each source under its name in a bundle, also of sources that cannot be parsed.
    """

    def __init__(
        self,
        config: Config,
        *,
        policies: PolicySource | None = None,
        keep: KeepText | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self._config = config
        self._declared = _declared(config)
        self._clocks = clocks if clocks is not None else Clocks()
        self._policies = policies if policies is not None else PolicyFetcher(self._clocks)
        self._keep = keep
        self._vpa: Known[VpaConfig] = Known(name="vpa_config")
        self._cni: Known[CniConfig | None] = Known(name=CNI)
        self._lease = LeaseReader()
        self._store: Known[Store] = Known(name="store")
        self._store_reader: StoreReader | None = None
        self._client: tuple[_Address, PolicyClient] | None = None
        self._table = ProcessTable()
        self._processes: tuple[float, tuple[ProcessStatus, ...]] | None = None

    def reload(self, config: Config) -> None:
        """Take other settings and read certificates anew; what was known stays known."""
        self._config = config
        self._client = None
        self._declared = _declared(config)

    def read(self) -> FactsReading:
        """The facts as they are known now."""
        config, clocks, max_age = self._config, self._clocks, self._config.max_age
        self._vpa = self._vpa.refreshed(clocks, self._read_vpa_config)
        vpa = self._vpa.usable(clocks, max_age)
        self._cni = self._cni.refreshed(clocks, self._read_cni_config)
        cni = self._cni.usable(clocks, max_age)
        store_path = config.store or Path(vpa.store_file if vpa is not None else VpaConfig().store_file)
        if self._store_reader is None or self._store_reader.path != store_path:
            self._store_reader = StoreReader(store_path, keep=self._keeper("store.json"))
        self._store = self._store.refreshed(clocks, self._store_reader.read)
        store = self._store.usable(clocks, max_age)
        known = self._policy_knowledge(vpa, store)
        syncing = vpa is not None and vpa.asg_syncing
        unanswered = clocks.steady() - known.asked_at if known.asked_at is not None else 0.0
        sources: list[Known[Any]] = [self._vpa, self._store]
        # Without a store nothing is asked of the policy server: what was never asked is not said to be down.
        sources += [source for source in (known.policies,) if store is not None or source.tried]
        if cni is not None or self._cni.problem is not None:
            sources.append(self._cni)
        sources += [source for source in (known.groups,) if syncing and (store is not None or source.tried)]
        statuses = tuple(source.status(clocks, max_age, unanswered) for source in sources)
        facts = CellFacts(
            store=store,
            policies=known.policies.usable(clocks, max_age),
            security_groups=known.groups.usable(clocks, max_age) if store is not None and syncing else None,
            config=vpa,
            ingress_tag=parse_tag(config.ingress_tag) if config.ingress_tag is not None else None,
            underlay_interfaces=config.underlay_interfaces
            if config.underlay_interfaces is not None
            else find_underlay(cni, vpa),
            cni=cni,
            lease=self._lease.read(clocks.steady(), cni).lease,
            host_services=tuple(map(host_service, config.host_services)) if config.host_services is not None else None,
            declared_rules=self._declared,
            notes=tuple(
                f"{source.name} is away; its data from {(source.age(clocks) or 0.0) // 60:.0f} min ago is still used."
                for source, status in zip(sources, statuses, strict=True)
                if not status.up and not status.age_limit_passed
            ),
        )
        return FactsReading(facts=facts, sources=statuses, processes=self._process_statuses())

    def _read_vpa_config(self) -> VpaConfig:
        path = self._config.vpa_config
        text = read_text_file(path, source="vpa_config", most=_MOST_CONFIG_BYTES)
        self._keeper("vxlan-policy-agent.json")(text)
        return parse_vpa_config(text, where=str(path))

    def _read_cni_config(self) -> CniConfig | None:
        """None where there is no such file: the rules are then judged without it."""
        path = self._config.cni_config
        try:
            text = read_text_file(path, source=CNI, most=_MOST_CONFIG_BYTES)
        except SourceError as error:
            if error.reason is Reason.MISSING:
                return None
            raise
        self._keeper("cni-wrapper-plugin.conflist")(text)
        return parse_cni_config(text, where=str(path))

    def _keeper(self, name: str) -> Callable[[str], None]:
        """Takes the text that becomes the file ``name`` of a bundle."""
        return partial(self._keep, name) if self._keep is not None else _discard

    def _policy_knowledge(self, vpa: VpaConfig | None, store: Store | None) -> PolicyKnowledge:
        """Policies and security groups as known now; without a store or a client nothing new can be requested."""
        if store is None:
            return self._policies.latest
        try:
            return self._policies.read(self._query(vpa, store))
        except SourceError as error:
            return self._policies.latest.failed(error)

    def _query(self, vpa: VpaConfig | None, store: Store) -> PolicyQuery:
        guids = frozenset(guid for container in store.containers for guid in (container.app, container.space) if guid)
        return PolicyQuery(
            client=self._policy_client(vpa),
            guids=guids,
            spaces=frozenset(container.space for container in store.containers if container.space),
            groups_interval=vpa.asg_poll_interval if vpa is not None and vpa.asg_syncing else None,
        )

    def _policy_client(self, vpa: VpaConfig | None) -> PolicyClient:
        """The client for the server in the settings or in VPA's configuration; a new one when these change.

        It is made here, because reading the key may need a capability that the fetching thread does not hold.
        """
        address = _Address.of(self._config, vpa)
        if self._client is None or self._client[0] != address:
            server = address.connect()
            self._client = address, TextKeepingServer(server, self._keep) if self._keep is not None else server
        return self._client[1]

    def _process_statuses(self) -> tuple[ProcessStatus, ...]:
        """Silk's processes, not more often than every 15 s."""
        if not self._config.processes:
            return ()
        now = self._clocks.steady()
        if self._processes is None or now - self._processes[0] >= _PROCESSES_SECONDS:
            try:
                self._processes = now, self._table.read(now)
            except OSError:
                self._processes = now, ()  # nothing is said of processes that cannot be listed
        return self._processes[1]


def _declared(config: Config) -> tuple[DeclaredRule, ...]:
    return tuple(settings.value() for settings in config.declared_rules)


def _discard(_: str) -> None:
    """Outside of a capture no text is kept."""


def _unavailable(problem: str, remedy: str) -> SourceError:
    return SourceError(
        source="policy_server", reason=Reason.MISSING, where="policy server", problem=problem, remedy=remedy
    )

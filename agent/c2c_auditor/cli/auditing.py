"""The auditing process: puts its parts together and runs the loop.

It is imported only once the listening process is forked (`daemon`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from attrs import evolve

from c2c_auditor import __version__
from c2c_auditor.audit.overdue import overdue_report
from c2c_auditor.audit.scene import Scene
from c2c_auditor.audit.settle import Grace
from c2c_auditor.cli.wiring import Rules, open_rules, policy_pace
from c2c_auditor.collector import Collector
from c2c_auditor.config import Config, load_config
from c2c_auditor.cycle import Cycle
from c2c_auditor.daemon import Hooks, Loop, WatchedAudits
from c2c_auditor.errors import ConfigError
from c2c_auditor.logs import Events, LineWriter, standard_output
from c2c_auditor.model.report import Report
from c2c_auditor.server import Answers, ServerProcess
from c2c_auditor.server.answers import answering
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.policy_fetcher import PolicyFetcher
from c2c_auditor.sources.facts.policy_thread import PolicyThread
from c2c_auditor.supervisor import Supervisor

# The time limit of an audit, as a multiple of that of one iptables command (`Config.read_timeout`): an audit runs a few
# commands, and judging the largest cell takes seconds.
_OVERDUE = 2
# How many audits in a row may be given up before whoever watches the agent takes it for stuck.
_GIVEN_UP = 3


def audit_continuously(config_file: Path, config: Config, server: ServerProcess, answers: Answers) -> int:
    """Audit until a signal or the end of ``server``; the exit status."""
    log = standard_output()
    events = Events(log)
    supervisor, collector = Supervisor(os.environ), Collector()
    with PolicyThread(PolicyFetcher(Clocks()), policy_pace(config)) as policies:
        events.started(version=__version__, address=server.address, config=str(config_file))
        rules = open_rules(config, witness=True, lasting=True)
        cell = CellReader(config, policies=policies)
        output = _Output(events, answers, server, log)
        source, grace = rules.source, _grace(config)
        cycle = Cycle(
            rules=source, facts=cell, version=__version__, grace=grace, on_bug=events.bug, netlink=rules.status
        )

        def reload() -> None:
            try:
                again = load_config(config_file)
                server.reload()
            except ConfigError as error:
                events.refused(str(error))
                return
            cell.reload(again)
            loop.interval, cycle.grace = again.interval, _grace(again)
            events.reloaded(str(config_file))

        def publish(report: Report) -> None:
            policies.heed(report)
            output.publish(report, cycle.scene)

        def alive() -> None:
            supervisor.alive()
            collector.rest(time.monotonic())

        bound = _OVERDUE * config.read_timeout
        audits = WatchedAudits(cycle, bound, output.overdue)
        audits.start()
        loop = Loop(
            hooks=Hooks(
                audit=audits.audit,
                publish=publish,
                reload=reload,
                alive=alive,
                unfinished=_Replacement(rules, policies).unfinished,
            ),
            interval=config.interval,
            changes=tuple(source.fileno() for source in (rules.netlink, policies) if source is not None),
            alive=server.sentinel,
        )
        supervisor.ready(_GIVEN_UP * bound)
        status = loop.run()
        supervisor.stopping()
        events.stopped(status)
        log.close()
        return status


class _Replacement:
    """Silk's replacement of the policy chain. It follows from other policies, so these are asked for first."""

    def __init__(self, rules: Rules, policies: PolicyThread) -> None:
        self._rules = rules
        self._policies = policies

    def unfinished(self) -> bool:
        """Whether an audit should wait for its end, and for the policies behind it."""
        newest = self._rules.policy_chain()
        if newest is None:
            return False
        made, replacing = newest
        self._policies.expect(made)
        return replacing or self._policies.expecting


class _Output:
    """Where reports go: the log, the thread that answers questions, the server."""

    def __init__(self, events: Events, answers: Answers, server: ServerProcess, log: LineWriter) -> None:
        self._events = events
        self._answers = answers
        self._server = server
        self._log = log
        self._last: Report | None = None

    def publish(self, report: Report, scene: Scene | None) -> None:
        """One audit's report and scene."""
        self._last = report
        self._events.report(report)
        self._answers.put(answering(scene))
        self._server.publish(evolve(report, counters=evolve(report.counters, log_lines_dropped=self._log.dropped)))

    def overdue(self, seconds: float) -> None:
        """Say at once that an audit takes longer than ``seconds``; its report follows if it ends."""
        self._events.overdue(seconds)
        self._server.publish(overdue_report(self._last, seconds))


def _grace(config: Config) -> Grace | None:
    return Grace(policy=config.grace, security_group=config.grace) if config.grace is not None else None

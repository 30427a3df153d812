"""``c2c-auditor audit``: once, here or from files."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from attrs import evolve, frozen
from rich.console import Console

from c2c_auditor import __version__
from c2c_auditor.audit.judge import judge, judge_cell
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.settle import agreed, confirmed_at_once
from c2c_auditor.cli.wiring import configured, rules_of
from c2c_auditor.config import Config
from c2c_auditor.cycle import problem_of
from c2c_auditor.errors import SourceError, UsageError
from c2c_auditor.export.document import to_json
from c2c_auditor.export.text import print_report
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import FactsReading, Report, Result, SourceStatus
from c2c_auditor.model.rule import AddressFamily, Ruleset
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.policy_answers import parse_policies
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.facts.vpa_config import read_vpa_config
from c2c_auditor.sources.files import read_text_file
from c2c_auditor.sources.recordings.bundle import read_bundle
from c2c_auditor.sources.rules.text import read_text

_FILE = click.Path(path_type=Path, dir_okay=False)


@frozen(kw_only=True)
class Files:
    """The inputs that were given as files."""

    rules: tuple[Path, ...] = ()
    store: Path | None = None
    policies: Path | None = None
    vpa_config: Path | None = None
    ingress_tag: str | None = None


@click.command()
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    help="Audit a directory made by `c2c-auditor capture`.",
)
@click.option(
    "--rules",
    type=_FILE,
    multiple=True,
    help="Audit iptables-save, -S or -L output from a file (- for standard input); may be repeated.",
)
@click.option("--store", type=_FILE, help="Container metadata (store.json) to hold --rules against.")
@click.option("--policies", type=_FILE, help="The policy server's answer (policies.json) to hold --rules against.")
@click.option("--vpa-config", type=_FILE, help="vxlan-policy-agent.json, where it is not at its usual path.")
@click.option("--ingress-tag", help="The policy server's tag of the ingress router, hexadecimal.")
@click.option("--config", "config_file", type=_FILE, help="The agent's own configuration, for a live audit.")
@click.option("--backend", type=click.Choice(["auto", "nft", "legacy"]), help="Which backend of iptables to read live.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="Seconds between the two live readings that must agree.",
)
@click.option("--strict", is_flag=True, help="Residue and advice count for the exit status too.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def audit(
    *,
    bundle: Path | None,
    rules: tuple[Path, ...],
    store: Path | None,
    policies: Path | None,
    vpa_config: Path | None,
    ingress_tag: str | None,
    config_file: Path | None,
    backend: str | None,
    wait: float,
    strict: bool,
    form: str,
) -> int:
    """Audit once: this cell as it is, a bundle, or rules from files.

    On a cell it needs no options. Exit status: 0 no outage and no breach, 1 outage or breach, 2 could not look.
    """
    files = Files(rules=rules, store=store, policies=policies, vpa_config=vpa_config, ingress_tag=ingress_tag)
    if bundle is not None:
        if rules or store or policies or backend:
            message = "--bundle brings everything with it: leave out --rules, --store, --policies and --backend"
            raise UsageError(message)
        report = _bundle(bundle)
    elif rules:
        report = _files(files)
    elif store or policies:
        message = (
            "--store and --policies are for audits of files: give --rules too, or leave them out to audit this cell"
        )
        raise UsageError(message)
    else:
        report = live(configured(config_file, vpa_config=vpa_config, backend=backend, ingress_tag=ingress_tag), wait)
    _print(report, form)
    return exit_status(report, strict=strict)


def exit_status(report: Report, *, strict: bool) -> int:
    """0 no outage and no breach, 1 outage or breach (with ``strict`` any finding), 2 could not look."""
    if any(strict or finding.effect.harms for finding in report.findings):
        return 1
    return 2 if report.result is Result.BLIND else 0


def live(config: Config, wait: float) -> Report:
    """What two readings ``wait`` seconds apart agree on, of this cell as it is.

    Rules that cannot be read make a blind report, not an error.
    """
    rules = rules_of(config)
    cell = CellReader(config)
    now = time.time()
    reading = cell.read(now)
    try:
        first = judge_cell(reading.facts, rules.source.read(), now)
        if first.findings:
            time.sleep(wait)
            now = time.time()
            reading = cell.read(now)
        rulesets = rules.source.read()
        judgement = agreed(first, judge_cell(reading.facts, rulesets, now))
    except SourceError as error:
        status = SourceStatus(name="rules", up=False, problem=problem_of(error))
        return Report(
            time=now,
            result=Result.BLIND,
            unknown=frozenset(Kind),
            sources=(status, *reading.sources),
            processes=reading.processes,
            version=__version__,
        )
    finally:
        if rules.netlink is not None:
            rules.netlink.close()
    status = SourceStatus(name="rules", up=True, last_success=now)
    return _report(judgement, rulesets[0], now, evolve(reading, sources=(status, *reading.sources)))


def _bundle(directory: Path) -> Report:
    bundle = read_bundle(directory)
    rulesets = tuple(read_text(text, where=f"{directory / name}") for name, text in bundle.rules.items())
    judgement = judge_cell(bundle.facts, rulesets, bundle.time)
    return _report(judgement, rulesets[0], bundle.time or 0.0, FactsReading(facts=bundle.facts, sources=bundle.sources))


def _files(files: Files) -> Report:
    """Rules from files.

    With store and policies the first file is held against them; without, all are held against each other.
    """
    rulesets = [_ruleset(path) for path in files.rules]
    facts = CellFacts(
        store=parse_store(read_text_file(files.store, source="store"), where=str(files.store)) if files.store else None,
        policies=parse_policies(read_text_file(files.policies, source="policies"), where=str(files.policies))
        if files.policies
        else None,
        config=read_vpa_config(files.vpa_config) if files.vpa_config else None,
        ingress_tag=_tag(files.ingress_tag),
    )
    judgements = [
        judge(facts, ruleset, None, tuple(other for other in rulesets if other is not ruleset)) for ruleset in rulesets
    ]
    whole = judgements[0]
    found = tuple(finding for judgement in judgements for finding in judgement.findings)
    notes = tuple(dict.fromkeys(note for judgement in judgements for note in judgement.notes))
    report = _report(evolve(whole, findings=found, notes=notes), rulesets[0], 0.0, FactsReading(facts=facts))
    # Whoever gives single files asks for what they can tell: what is not judged is listed, and is no failure to look.
    return evolve(report, result=Result.FINDINGS if found else Result.CLEAN)


def _tag(text: str | None) -> int | None:
    try:
        return int(text, 16) if text is not None else None
    except ValueError as error:
        message = f"--ingress-tag {text}: give the tag as the policy server does, for example 0003"
        raise UsageError(message) from error


def _ruleset(path: Path) -> Ruleset:
    where = "standard input" if str(path) == "-" else str(path)
    text = sys.stdin.read() if str(path) == "-" else read_text_file(path, source="rules")
    ruleset = read_text(text, where=where)
    if ruleset.family is not AddressFamily.IPV4:
        message = f"{where}: these are rules of ip6tables, and only IPv4 is judged: give the output of iptables-save"
        raise UsageError(message)
    return ruleset


def _report(judgement: Judgement, ruleset: Ruleset, now: float, reading: FactsReading) -> Report:
    findings = confirmed_at_once(judgement, now)
    blind = judgement.unknown or not all(status.up for status in reading.sources)
    result = Result.BLIND if blind else Result.FINDINGS if findings else Result.CLEAN
    return Report(
        time=now,
        result=result,
        backend=ruleset.backend,
        findings=findings,
        unknown=judgement.unknown,
        sources=reading.sources,
        processes=reading.processes,
        tally=judgement.tally,
        notes=judgement.notes,
        statements=judgement.statements,
        version=__version__,
    )


def _print(report: Report, form: str) -> None:
    if form == "json":
        click.echo(to_json(report))
    else:
        print_report(report, Console())

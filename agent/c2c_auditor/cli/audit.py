"""``c2c-auditor audit``: one audit, of this cell or of files."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import evolve
from rich.console import Console

from c2c_auditor import __version__
from c2c_auditor.assembly.history import with_history
from c2c_auditor.assembly.once import audit_once
from c2c_auditor.assembly.recorded import BundleReader, FilesReader
from c2c_auditor.audit.mend.kinds import may_help
from c2c_auditor.cli.options import FILE, output
from c2c_auditor.cli.wiring import live_reader, load_settings
from c2c_auditor.config import BACKENDS
from c2c_auditor.decoding import parse_tag
from c2c_auditor.errors import UsageError
from c2c_auditor.export.document import to_json
from c2c_auditor.export.text import print_report
from c2c_auditor.model.report import Report, Result


@click.command()
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    help="Audit a directory made by `c2c-auditor capture`.",
)
@click.option(
    "--rules",
    type=FILE,
    multiple=True,
    help="Audit iptables-save, -S or -L output from a file (- for standard input); may be repeated.",
)
@click.option("--store", type=FILE, help="Container metadata (store.json) to hold --rules against.")
@click.option("--policies", type=FILE, help="The policy server's answer (policies.json) to hold --rules against.")
@click.option("--vpa-config", type=FILE, help="vxlan-policy-agent.json, where it is not at its usual path.")
@click.option("--cni-config", type=FILE, help="cni-wrapper-plugin.conflist, where it is not at its usual path.")
@click.option("--ingress-tag", help="The policy server's tag of the ingress router, hexadecimal.")
@click.option("--config", "config_file", type=FILE, help="The agent's own configuration, for a live audit.")
@click.option("--backend", type=click.Choice(BACKENDS), help="The iptables backend to read on a live cell.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="Seconds between the two live readings that must agree.",
)
@click.option("--strict", is_flag=True, help="Residue and advice count for the exit status too.")
@output
def audit(
    *,
    bundle: Path | None,
    rules: tuple[Path, ...],
    store: Path | None,
    policies: Path | None,
    vpa_config: Path | None,
    cni_config: Path | None,
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
    if bundle is not None:
        if rules or store or policies or backend:
            message = "--bundle contains rules and facts: leave out --rules, --store, --policies and --backend"
            raise UsageError(message)
        report = audit_once(BundleReader(directory=bundle), wait=None)
    elif rules:
        tag = _tag(ingress_tag)
        files = FilesReader(
            rules=rules,
            store=store,
            policies=policies,
            vpa_config=vpa_config,
            cni_config=cni_config,
            ingress_tag=tag,
        )
        report = audit_once(files, wait=None)
    elif store or policies:
        message = (
            "--store and --policies are for audits of files: give --rules too, or leave them out to audit this cell"
        )
        raise UsageError(message)
    else:
        config = load_settings(
            config_file, vpa_config=vpa_config, cni_config=cni_config, backend=backend, ingress_tag=ingress_tag
        )
        with live_reader(config) as reader:
            report = audit_once(reader, wait=wait)
        if config.server.socket is not None:
            report = with_history(report, config.server.socket)
    _print(evolve(report, version=__version__), form)
    if form == "text" and not rules and may_help(report.findings):
        click.echo("c2c-auditor mend prints the commands that mend this, and runs nothing.")
    return exit_status(report, strict=strict)


def exit_status(report: Report, *, strict: bool) -> int:
    """0 no outage and no breach, 1 outage or breach (with ``strict`` any finding), 2 could not look."""
    if any(strict or finding.effect.harms for finding in report.findings):
        return 1
    return 2 if report.result is Result.BLIND else 0


def _tag(text: str | None) -> int | None:
    try:
        return parse_tag(text) if text is not None else None
    except ValueError as error:
        message = f"--ingress-tag {text}: give the tag as the policy server does, for example 0003"
        raise UsageError(message) from error


def _print(report: Report, form: str) -> None:
    if form == "json":
        click.echo(to_json(report))
    else:
        print_report(report, Console())

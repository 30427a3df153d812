"""``c2c-auditor mend``: the commands that make the kernel agree with the plan, proved and printed, never run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from c2c_auditor.assembly.once import read_agreed
from c2c_auditor.audit.mend.mend import Mend, Request
from c2c_auditor.audit.mend.mend import mend as work_out
from c2c_auditor.audit.mend.rights import parse_named
from c2c_auditor.audit.scene import Scene
from c2c_auditor.cli.options import FILE, output
from c2c_auditor.cli.wiring import cell_reader, load_settings, open_rules, saving_programs
from c2c_auditor.errors import UsageError
from c2c_auditor.export.document import identifier
from c2c_auditor.export.mend import harms_left, mend_document, script
from c2c_auditor.export.mend_commands import fits as still_fits
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind

_COULD_NOT_LOOK = 2
# A reading may be this old before the commands for it are refused.
_MOST_SECONDS = 60.0


@click.command()
@click.option(
    "--finding", "findings", multiple=True, metavar="ID", help="Only this finding (its id, or the beginning)."
)
@click.option(
    "--cause",
    "causes",
    multiple=True,
    metavar="NAME",
    help="Only findings of this kind, or of this cause, as the report names it.",
)
@click.option(
    "--remove-foreign",
    "foreign",
    multiple=True,
    metavar="RULE",
    help="Take this rule out, which silk did not write; as mend prints it: '-A CHAIN RULE'.",
)
@click.option("--undo", is_flag=True, help="Print the way back from the commands instead of the commands.")
@click.option("--fits", metavar="STATE", help="Only say whether commands that were printed still fit (exit status 0).")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    help="Read a directory made by `c2c-auditor capture` instead of this cell.",
)
@click.option("--review", is_flag=True, help="Allow a bundle that is older than a minute: to be read, not to be run.")
@click.option("--config", "config_file", type=FILE, help="The agent's own configuration.")
@click.option("--vpa-config", type=FILE, help="vxlan-policy-agent.json, where it is not at its usual path.")
@click.option("--cni-config", type=FILE, help="cni-wrapper-plugin.conflist, where it is not at its usual path.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="Seconds between the two live readings that must agree.",
)
@output
def mend(
    *,
    findings: tuple[str, ...],
    causes: tuple[str, ...],
    foreign: tuple[str, ...],
    undo: bool,
    fits: str | None,
    bundle: Path | None,
    review: bool,
    config_file: Path | None,
    vpa_config: Path | None,
    cni_config: Path | None,
    wait: float,
    form: str,
) -> int:
    """Print the fewest commands that make the rules what they should be. Nothing is run.

    What is printed was worked out on the rules as they would be then: nothing is left of its causes, no finding is new,
    and no flow is decided otherwise than policies say. It is a text for a shell, and a check stands first.
    Exit status: 0 nothing is left to mend, 1 some findings no commands mend, 2 could not look, or no commands at all.
    """
    if fits is not None:
        return _fits(fits, config_file)
    named = tuple(one for text in foreign for one in parse_named(text))
    with cell_reader(bundle, config_file, vpa_config=vpa_config, cni_config=cni_config) as reader:
        scene, agreed = read_agreed(reader, wait=wait if bundle is None else None)
    if not review:
        _refuse_if_old(scene)
    found = work_out(scene, Request(findings=_chosen(agreed, findings, causes), asked=bool(findings), foreign=named))
    live = bundle is None
    saving = saving_programs(load_settings(config_file), scene.reading.rulesets) if live else None
    if form == "json":
        click.echo(json.dumps(mend_document(found, undo=undo, saving=saving), indent=1))
    else:
        click.echo(script(found, _command(config_file), undo=undo, review=not live, saving=saving), nl=False)
    return _COULD_NOT_LOOK if found.blocked is not None else exit_status(found)


def exit_status(found: Mend) -> int:
    """1 if an outage or a breach that was asked for is left, else 0."""
    return int(harms_left(found))


def _refuse_if_old(scene: Scene) -> None:
    read = scene.reading.time
    age = time.time() - read if read is not None else None
    if age is None or age > _MOST_SECONDS:
        when = f"{age:.0f} s old" if age is not None else "of an unknown time"
        raise UsageError(
            f"this reading is {when}, and the rules may have changed since: run c2c-auditor mend on the cell, or add "
            "--review to see what it would print"
        )


def _chosen(every: tuple[Finding, ...], ids: tuple[str, ...], names: tuple[str, ...]) -> tuple[Finding, ...]:
    """Those of ``every`` that were asked for. Raises UsageError for an id or a name that none has."""
    for wanted in ids:
        if not any(identifier(finding).startswith(wanted) for finding in every):
            message = (
                f"--finding {wanted}: there is no such finding; c2c-auditor mend and audit --format json list them"
            )
            raise UsageError(message)
    known = {name for finding in every for name in (finding.kind.value, finding.cause) if name}
    for name in names:
        if name not in known and name not in {kind.value for kind in Kind}:
            there = ", ".join(sorted(known)) or "none"
            raise UsageError(f"--cause {name}: no finding has such a cause, and no kind that name; there are: {there}")
    if not (ids or names):
        return every
    return tuple(
        finding
        for finding in every
        if not {finding.kind.value, finding.cause}.isdisjoint(names)
        or any(identifier(finding).startswith(one) for one in ids)
    )


def _fits(argument: str, config_file: Path | None) -> int:
    rules = open_rules(load_settings(config_file))
    try:
        ipv6 = argument.startswith(AddressFamily.IPV6.value)
        rulesets = rules.source.read((AddressFamily.IPV6 if ipv6 else AddressFamily.IPV4,))
    finally:
        if rules.netlink is not None:
            rules.netlink.close()
    if still_fits(argument, rulesets):
        return 0
    click.echo("c2c-auditor: the rules have changed since these commands were printed: ask for them again", err=True)
    return 1


def _command(config_file: Path | None) -> list[str]:
    """The words that run this command once more, as it was started."""
    started = Path(sys.argv[0])
    words = [sys.executable, "-m", "c2c_auditor"] if started.name == "__main__.py" else [sys.argv[0]]
    return [*words, "mend", *(["--config", str(config_file)] if config_file is not None else [])]

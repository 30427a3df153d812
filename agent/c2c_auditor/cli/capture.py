"""``c2c-auditor capture``: everything that an audit read, as one directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click

from c2c_auditor.cli.wiring import configured, rules_of
from c2c_auditor.config import Config
from c2c_auditor.errors import SourceError
from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.netfilter.render import render_ruleset
from c2c_auditor.sources.facts.gatherer import connect
from c2c_auditor.sources.facts.processes import underlay_interfaces
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.facts.vpa_config import read_vpa_config
from c2c_auditor.sources.files import read_text_file
from c2c_auditor.sources.recordings.bundle import RULES, write_bundle
from c2c_auditor.sources.recordings.redact import redacted

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--config", "config_file", type=_FILE, help="The agent's own configuration.")
@click.option("--vpa-config", type=_FILE, help="vxlan-policy-agent.json, where it is not at its usual path.")
@click.option("--backend", type=click.Choice(["auto", "nft", "legacy"]), help="Which backend of iptables to read.")
@click.option(
    "--redact",
    is_flag=True,
    help="Replace guids, handles and names by made-up ones, the same in all files; addresses stay.",
)
def capture(
    *, directory: Path, config_file: Path | None, vpa_config: Path | None, backend: str | None, redact: bool
) -> int:
    """Write all that an audit of this cell reads to DIRECTORY, for `audit --bundle` elsewhere.

    Certificates and keys are never part of it. Exit status 0 if everything could be read, 2 if something is missing
    from the bundle.
    """
    config = configured(config_file, vpa_config=vpa_config, backend=backend)
    failed: list[SourceError] = []
    files = _rules(config, failed)
    files.update(_facts(config, failed, files.pop("cell.json")))
    if redact:
        files = redacted(files)
    write_bundle(directory, files)
    for error in failed:
        click.echo(f"not in the bundle: {error}", err=True)
    click.echo(f"{directory}: {len(files)} files")
    return 2 if failed else 0


def _rules(config: Config, failed: list[SourceError]) -> dict[str, str]:
    """The rules of each backend in use; the second one's under its own name."""
    rules = rules_of(config)
    try:
        rulesets: tuple[Ruleset, ...] = rules.source.read()
    except SourceError as error:
        failed.append(error)
        rulesets = ()
    finally:
        if rules.netlink is not None:
            rules.netlink.close()
    files = {}
    for index, ruleset in enumerate(rulesets):
        name = RULES if index == 0 else f"iptables-save.{ruleset.backend.value}.txt"
        files[name] = render_ruleset(ruleset)
    return {
        **files,
        "cell.json": json.dumps({"backend": rulesets[0].backend.value if rulesets else None, "time": time.time()}),
    }


def _facts(config: Config, failed: list[SourceError], cell: str) -> dict[str, str]:
    """Each source's own text, byte for byte; what cannot be read is left out and said."""
    files: dict[str, str] = {}

    def take(name: str, read: Callable[[], str]) -> None:
        try:
            files[name] = read()
        except SourceError as error:
            failed.append(error)

    take("vxlan-policy-agent.json", lambda: read_text_file(config.vpa_config, source="vpa_config"))
    vpa = read_vpa_config(config.vpa_config) if "vxlan-policy-agent.json" in files else VpaConfig()
    interfaces = config.underlay_interfaces or underlay_interfaces(vpa.underlay_addresses)
    files["cell.json"] = json.dumps({**json.loads(cell), "underlay_interfaces": list(interfaces) or None}, indent=1)
    store_path = config.store or Path(vpa.store_file)
    take("store.json", lambda: read_text_file(store_path, source="store"))
    if config.ingress_tag is not None:
        files["ingress_tag"] = config.ingress_tag
    if "store.json" in files:
        _answers(config, vpa, files, take)
    return files


def _answers(
    config: Config, vpa: VpaConfig, files: dict[str, str], take: Callable[[str, Callable[[], str]], None]
) -> None:
    store = parse_store(files["store.json"], where="store.json")
    guids = {guid for container in store.containers for guid in (container.app, container.space) if guid}
    spaces = {container.space for container in store.containers if container.space}
    take("policies_last_updated", lambda: str(connect(config, vpa).last_updated()))
    take("policies.json", lambda: connect(config, vpa).policies_text(guids))
    if vpa.asg_syncing:
        take("security_groups.json", lambda: connect(config, vpa).security_groups_text(spaces))

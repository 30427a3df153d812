"""One reading of a cell, or of what was recorded of one, for the commands that ask about traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.reachability import Reachability, reachability
from c2c_auditor.cli.wiring import configured, rules_of
from c2c_auditor.errors import UsageError
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.recordings.bundle import read_bundle
from c2c_auditor.sources.rules.text import read_text

_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--bundle",
        type=click.Path(path_type=Path, file_okay=False),
        help="Ask a directory made by `c2c-auditor capture`.",
    ),
    click.option("--config", "config_file", type=_FILE, help="The agent's own configuration."),
    click.option("--vpa-config", type=_FILE, help="vxlan-policy-agent.json, where it is not at its usual path."),
    click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True),
)


def scene_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which cell is asked about."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_scene(bundle: Path | None, config_file: Path | None, vpa_config: Path | None) -> Inputs:
    """Read this cell as it is, or a bundle. Of two backends the one that holds silk's rules.

    Raises SourceError, ConfigError, UsageError.
    """
    if bundle is not None:
        if config_file or vpa_config:
            message = "--bundle brings everything with it: leave out --config and --vpa-config"
            raise UsageError(message)
        recorded = read_bundle(bundle)
        rulesets = [read_text(text, where=f"{bundle / name}") for name, text in recorded.rules.items()]
        return Inputs.of(recorded.facts, rulesets[0], recorded.time)
    config = configured(config_file, vpa_config=vpa_config)
    rules = rules_of(config)
    now = time.time()
    try:
        return Inputs.of(CellReader(config).read(now).facts, rules.source.read()[0], now)
    finally:
        if rules.netlink is not None:
            rules.netlink.close()


def read_reachability(inputs: Inputs) -> Reachability:
    """Who reaches whom. Raises UsageError where that cannot be worked out."""
    reach = reachability(inputs)
    if reach is None:
        message = (
            "who reaches whom cannot be worked out: it takes the rules, the container metadata and the policies (see "
            "c2c-auditor audit)"
        )
        raise UsageError(message)
    return reach

"""What `explain` and `matrix` are asked of: this cell, bundles, or texts with the facts that were given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from c2c_auditor.assembly.once import Reader
from c2c_auditor.assembly.recorded import BundleReader, FilesReader
from c2c_auditor.cli.options import FILE
from c2c_auditor.cli.wiring import live_reader, load_settings
from c2c_auditor.decoding import parse_tag
from c2c_auditor.errors import UsageError

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--bundle",
        "bundles",
        type=click.Path(path_type=Path, file_okay=False),
        multiple=True,
        help="Ask a directory made by `c2c-auditor capture` instead of this cell; twice for the cells of both ends.",
    ),
    click.option(
        "--rules",
        type=FILE,
        multiple=True,
        help="Ask iptables-save, -S or -L output from a file (- for standard input); may be repeated, one for each "
        "cell.",
    ),
    click.option("--store", type=FILE, help="Container metadata (store.json) that belongs to --rules."),
    click.option("--policies", type=FILE, help="The policy server's answer (policies.json) that belongs to --rules."),
    click.option("--config", "config_file", type=FILE, help="The agent's own configuration."),
    click.option("--vpa-config", type=FILE, help="vxlan-policy-agent.json, where it is not at its usual path."),
    click.option("--cni-config", type=FILE, help="cni-wrapper-plugin.conflist, where it is not at its usual path."),
    click.option("--ingress-tag", help="The policy server's tag of the ingress router, hexadecimal."),
)


@frozen(kw_only=True)
class Asked:
    """The options as given."""

    bundles: tuple[Path, ...]
    rules: tuple[Path, ...]
    store: Path | None
    policies: Path | None
    config_file: Path | None
    vpa_config: Path | None
    cni_config: Path | None
    ingress_tag: str | None

    @contextmanager
    def readers(self) -> Iterator[tuple[Reader, ...]]:
        """A reader for each bundle, one for all texts, or one of this cell. Raises UsageError, ConfigError."""
        self._check()
        with ExitStack() as open_readers:
            if self.bundles:
                yield tuple(BundleReader(directory=directory) for directory in self.bundles)
            elif self.rules:
                yield (self._files(),)
            else:
                config = load_settings(
                    self.config_file,
                    vpa_config=self.vpa_config,
                    cni_config=self.cni_config,
                    ingress_tag=self.ingress_tag,
                )
                yield (open_readers.enter_context(live_reader(config)),)

    def nothing_beside(self, option: str) -> None:
        """Raise UsageError where a file was named beside ``option``, which leaves nothing to read."""
        if self.bundles or self.rules or any((self.store, self.policies, self.config_file, self.vpa_config)):
            raise UsageError(f"{option} is asked instead of files: leave out all options that name some")

    def _check(self) -> None:
        facts = (self.store, self.policies)
        others = (self.config_file, self.vpa_config, self.cni_config, self.ingress_tag)
        if self.bundles and (self.rules or any(facts) or any(others)):
            message = "--bundle contains rules and facts: leave out all other options that name files"
            raise UsageError(message)
        if any(facts) and not self.rules:
            message = "--store and --policies belong to --rules: give it too, or leave them out to ask this cell"
            raise UsageError(message)
        if self.rules and self.config_file:
            message = "--config is for this cell: leave it out where --rules is given"
            raise UsageError(message)

    def _files(self) -> FilesReader:
        return FilesReader(
            rules=self.rules,
            store=self.store,
            policies=self.policies,
            vpa_config=self.vpa_config,
            cni_config=self.cni_config,
            ingress_tag=tag_of(self.ingress_tag),
        )


def tag_of(text: str | None) -> int | None:
    """The ingress router's tag as --ingress-tag gives it. Raises UsageError."""
    try:
        return parse_tag(text) if text is not None else None
    except ValueError as error:
        message = f"--ingress-tag {text}: give the tag as the policy server does, for example 0003"
        raise UsageError(message) from error


def asked_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of `Asked`; ``command`` takes them as ``asked``."""

    @wraps(command)  # with the options that it has already
    def with_asked(**given: Any) -> int:  # noqa: ANN401 - what click parsed, by name
        names = Asked.__annotations__
        asked = Asked(**{name: given.pop(name) for name in names})
        return command(asked=asked, **given)

    wrapped: Callable[..., int] = with_asked
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped

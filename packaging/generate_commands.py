"""Writes what is generated from the commands: docs/commands.md, the man page, and completion for bash, zsh and fish.

What the packages install is below agent/share, by the names under which shells and man look for it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from c2c_auditor import __version__
from c2c_auditor.cli import PROGRAM, cli
from c2c_auditor.cli.examples import EXAMPLES

ROOT = Path(__file__).parent.parent
SHARE = Path("agent/share")
_COMPLETION = {
    "bash": SHARE / "bash-completion/completions" / PROGRAM,
    "zsh": SHARE / "zsh/site-functions" / f"_{PROGRAM}",
    "fish": SHARE / "fish/vendor_completions.d" / f"{PROGRAM}.fish",
}
_STATUS = (
    ("0", "no outage and no breach; with --strict no finding at all"),
    ("1", "an outage or a breach; for explain and matrix: the rules do not do what the policies say"),
    ("2", "could not look, or not at everything"),
)


def files() -> Mapping[Path, str]:
    """Every generated file by its path in the repository."""
    made = {Path("docs/commands.md"): markdown(), SHARE / f"man/man1/{PROGRAM}.1": man_page()}
    return made | {path: completion(shell) for shell, path in _COMPLETION.items()}


def completion(shell: str) -> str:
    """The script that asks the command itself what may come next."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click knows no completion for {shell}")
    made = kind(cli, {}, PROGRAM, f"_{PROGRAM.upper().replace('-', '_')}_COMPLETE")
    return f"{(made.source_template % made.source_vars()).strip()}\n"


def _commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    for name, command in cli.commands.items():
        yield name, command, click.Context(command, info_name=name, parent=click.Context(cli, info_name=PROGRAM))


def _help(command: click.Command) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield record[0], " ".join(record[1].split())


def _usage(command: click.Command, context: click.Context) -> str:
    return f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"


def markdown() -> str:
    """The page docs/commands.md."""
    lines = ["# Commands", "", "This page and the man page are made from the commands by `make docs`.", ""]
    lines += [*textwrap.wrap(_help(cli).replace("\n\n", " "), 120), ""]
    for name, command, context in _commands():
        lines += [f"## {name}", "", "```", _usage(command, context), "```", ""]
        for part in _help(command).split("\n\n"):
            lines += [*textwrap.wrap(part, 120), ""]
        lines += ["| option | what |", "|---|---|"]
        lines += [f"| `{_cell(option)}` | {_cell(what)} |" for option, what in _options(command, context)]
        lines += ["", "```sh", *(f"{typed}  # {what}" for typed, what in EXAMPLES.get(name, ())), "```", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def man_page() -> str:
    """The man page, in the macros of man(7)."""
    lines = [
        f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"',
        ".SH NAME",
        rf"{_roff(PROGRAM)} \- audits the container-to-container iptables rules of a Diego cell",
        ".SH SYNOPSIS",
        rf".B {_roff(PROGRAM)}",
        r".I COMMAND",
        "[OPTIONS]",
        ".SH DESCRIPTION",
        *_paragraphs(_help(cli)),
        ".SH COMMANDS",
    ]
    for name, command, context in _commands():
        lines += [".SS " + _roff(name), ".B " + _roff(_usage(command, context)), *_paragraphs(f"\n\n{_help(command)}")]
        for option, what in _options(command, context):
            lines += [".TP", ".B " + _roff(option), _roff(what)]
    lines += [".SH EXIT STATUS"]
    for status, what in _STATUS:
        lines += [".TP", f".B {status}", _roff(what)]
    lines += [".SH EXAMPLES"]
    for name, _, _ in _commands():
        for typed, what in EXAMPLES.get(name, ()):
            lines += [".TP", ".B " + _roff(typed), _roff(what)]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    for at, part in enumerate(text.split("\n\n")):
        if at:
            yield ".PP"
        if part:
            yield _roff(part)


def _roff(text: str) -> str:
    """``text`` as roff takes it literally; a hyphen stays one that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)

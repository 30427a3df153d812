"""The commands' own help: examples that work, one word for formats, completion, and pages made from them."""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from c2c_auditor.cli import cli
from c2c_auditor.cli.examples import EXAMPLES
from support.terminals import typed

ROOT = Path(__file__).parents[2]
_EXAMPLES = [example for examples in EXAMPLES.values() for example, _ in examples]


@pytest.mark.parametrize("name", cli.commands)
def test_each_commands_help_has_an_example(name: str) -> None:
    """As it is typed, on a line of its own."""
    text, _ = typed((name, "--help"), width=80)
    assert f"\n    c2c-auditor {name}" in text


@pytest.mark.parametrize("example", _EXAMPLES)
def test_an_example_is_understood(example: str) -> None:
    """Its options and arguments are those of the command; nothing is run."""
    program, name, *arguments = shlex.split(example)
    assert program == "c2c-auditor"
    cli.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("name", sorted(set(cli.commands) - {"daemon"}))
def test_formats_are_asked_for_with_one_word(name: str) -> None:
    """`-o text` or `-o json`, text where nothing is said; only the daemon, whose output is its log, has none.

    `watch` has lines of JSON in a pipe.
    """
    (option,) = (one for one in cli.commands[name].params if "-o" in one.opts)
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == ["text", "json"]
    assert name == "watch" or option.default == "text"


def test_what_is_made_from_the_commands_is_current() -> None:
    """`make docs` would change none of it."""
    generate = runpy.run_path(str(ROOT / "packaging" / "generate_commands.py"))
    for path, text in generate["files"]().items():
        assert (ROOT / path).read_text() == text, path


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [
        ("bash", {"COMP_WORDS": "c2c-auditor st", "COMP_CWORD": "1"}, "plain,status\n"),
        ("bash", {"COMP_WORDS": "c2c-auditor audit --str", "COMP_CWORD": "2"}, "plain,--strict\n"),
        ("zsh", {"COMP_WORDS": "c2c-auditor audit -o js", "COMP_CWORD": "3"}, "plain\njson\n_\n"),
        ("fish", {"COMP_WORDS": "c2c-auditor mat", "COMP_CWORD": "mat"}, "plain,matrix"),
    ],
)
def test_shells_complete_commands_options_and_values(shell: str, line: dict[str, str], offered: str) -> None:
    """By asking the command itself, in the variable that the installed scripts set."""
    environment = {**os.environ, **line, "_C2C_AUDITOR_COMPLETE": f"{shell}_complete"}
    command = (sys.executable, "-m", "c2c_auditor")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith(offered)
    (script,) = (path for path in (ROOT / "agent" / "share").rglob("*c2c-auditor*") if shell in str(path))
    assert f"_C2C_AUDITOR_COMPLETE={shell}_complete" in script.read_text()


def test_the_completion_of_bash_is_a_script_that_bash_takes() -> None:
    """It registers the command."""
    script = ROOT / "agent/share/bash-completion/completions/c2c-auditor"
    done = subprocess.run(
        ("bash", "-c", f'source "{script}" && complete -p c2c-auditor'),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "c2c_auditor_completion" in done.stdout

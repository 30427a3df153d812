"""What the README shows is what the commands print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from c2c_auditor.cli import cli
from support.recordings import CELLS

_README = Path(__file__).parent.parent.parent / "README.md"
_SLIP = ("--dport 61001 -m mark --mark 0x1", "--dport 61001 -m mark --mark 0x4")


def _shown(command: str) -> str:
    """What the README shows below ``$ c2c-auditor COMMAND``."""
    found = re.search(
        rf"^\$ c2c-auditor {re.escape(command)}\n(.*?)(?=^\$ |^```)", _README.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None, command
    return found[1].rstrip()


@pytest.mark.parametrize(
    "command",
    [
        "explain --bundle tests/golden/cells/pair source-app dest-app 8080/tcp",
        "explain --bundle slip source-app dest-app 61001/tcp",
        "matrix --bundle slip",
        "mend --bundle slip --review",
    ],
)
def test_the_readmes_answers_are_real(command: str, tmp_path: Path) -> None:
    """Each line, on the recorded pair and on the pair with the tutorial's slip."""
    slip = tmp_path / "slip"
    shutil.copytree(CELLS / "pair", slip)
    rules = slip / "iptables-save.txt"
    assert _SLIP[0] in rules.read_text()
    rules.write_text(rules.read_text().replace(*_SLIP))
    arguments = command.replace("tests/golden/cells", str(CELLS)).replace("slip", str(slip)).split()
    result = CliRunner(env={"COLUMNS": "110"}).invoke(cli, arguments, standalone_mode=False)
    assert "\n".join(line.rstrip() for line in result.output.splitlines()).rstrip() == _shown(command)


def test_the_readmes_first_example_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tutorial's two listings, and the exit status."""
    monkeypatch.chdir(CELLS / "article")
    command = "audit --rules iptables-L.destination-cell.txt --rules iptables-L.source-cell.txt"
    done = CliRunner(env={"COLUMNS": "100"}).invoke(cli, command.split(), standalone_mode=False)
    assert "\n".join(line.rstrip() for line in done.output.splitlines()).rstrip() == _shown(command)
    status = re.search(rf"{re.escape(_shown(command))}\n\$ echo \$\?\n(\d)\n", _README.read_text())
    assert status is not None
    assert int(status[1]) == done.return_value == 1

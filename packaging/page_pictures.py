"""Takes the pictures of the agent's page that the documents show, into docs/pictures.

    make pictures

The page is the real one, of the tutorial's cell after somebody deleted the MARK rule of the source; the browser is
Debian's chromium, as in the tests.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from attrs import evolve

from c2c_auditor.audit.scene import judge_cell
from c2c_auditor.config import ServerSettings
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import SourceStatus
from c2c_auditor.server import Answers, ServerProcess
from c2c_auditor.server.answers import answering
from support.browser import Browser, browser
from support.mutations import with_rules
from support.recordings import recording
from support.reports import judged_report, with_change

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
_EXPLAIN = "/explain?source=source-app&destination=dest-app&flow=8080/tcp"
# Name, path, width in CSS pixels, colour scheme.
_VIEWS = (
    ("page", "/", 1000, "light"),
    ("page-narrow-dark", "/", 360, "dark"),
    ("page-explain", _EXPLAIN, 1000, "light"),
    ("page-matrix", "/matrix", 1000, "light"),
)


def main() -> None:
    """Take every picture."""
    cell = recording("pair")
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    damaged = with_rules(cell.ruleset, cell.policy_chain, rules[1:])
    report, now = judged_report(cell, damaged), time.time()
    names = ("rules", "vpa_config", "cni_config", "store", "policy_server", "security_groups")
    sources = tuple(SourceStatus(name=name, up=True, last_success=now - 3) for name in names)
    report = with_change(evolve(report, time=now - 3, last_conclusive=now - 3, sources=sources), ago=747)
    answers = Answers()
    answers.put(answering(judge_cell(Reading(facts=cell.facts, rulesets=(damaged,)))))
    PICTURES.mkdir(exist_ok=True)
    with (
        ServerProcess(ServerSettings(port=0), answers.answer) as server,
        tempfile.TemporaryDirectory() as folder,
        browser(Path(folder)) as window,
    ):
        server.publish(report)
        _await(window, f"http://{server.address}/")
        for name, path, width, scheme in _VIEWS:
            window.look(width=width, scheme=scheme)
            window.open(f"http://{server.address}{path}")
            (PICTURES / f"{name}.png").write_bytes(window.picture())


def _await(window: Browser, url: str) -> None:
    for _ in range(100):
        window.open(url)
        if "mark_missing" in window.text():
            return
        time.sleep(0.1)
    sys.exit("the page never showed the report")


if __name__ == "__main__":
    main()

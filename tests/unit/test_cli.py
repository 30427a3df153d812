"""The commands as a shell sees them: exit status, standard output, one clear line on standard error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.recordings import CELL_NAMES, CELLS

ARTICLE = CELLS / "article"


def _run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "c2c_auditor", *map(str, arguments))
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"COLUMNS": "100", "PATH": "/usr/sbin:/usr/bin:/bin"},
    )


def _copy(tmp_path: Path, name: str = "pair") -> Path:
    return Path(shutil.copytree(CELLS / name, tmp_path / name))


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_recorded_cell_audits_clean_from_its_bundle(name: str) -> None:
    """Also strictly, hints on ports apart; with enforcement switched off exactly that."""
    document = json.loads(_run("audit", "--strict", "--bundle", CELLS / name, "--format", "json").stdout)
    kinds = {finding["kind"] for finding in document["findings"]} - {"port_not_exposed"}
    assert kinds == ({"enforcement_disabled"} if name == "pair-policy-disabled" else set())
    assert document["unknown_kinds"] == []
    assert _run("audit", "--bundle", CELLS / name).returncode == (1 if name == "pair-policy-disabled" else 0)


def test_strict_counts_hints_too() -> None:
    """fleet-12 has policies for ports that no container has."""
    assert _run("audit", "--bundle", CELLS / "fleet-12-nft").returncode == 0
    assert _run("audit", "--strict", "--bundle", CELLS / "fleet-12-nft").returncode == 1


def test_the_articles_two_listings() -> None:
    """The ACCEPT for 61001 carries mark 0x4 while its source is marked 0x1."""
    done = _run(
        "audit",
        "--rules",
        ARTICLE / "iptables-L.destination-cell.txt",
        "--rules",
        ARTICLE / "iptables-L.source-cell.txt",
    )
    text = " ".join(done.stdout.split())
    assert done.returncode == 1
    for part in ("tcp 61001", "carries mark 0x4, but its source is marked 0x1", "mark: 0x4, expected 0x1"):
        assert part in text


def test_the_destinations_listing_alone_shows_that_its_marks_disagree() -> None:
    """One app has one tag."""
    done = _run("audit", "--rules", "-", stdin=(ARTICLE / "iptables-L.destination-cell.txt").read_text())
    assert done.returncode == 1
    assert "other ACCEPT rules for the same source" in " ".join(done.stdout.split())


@pytest.mark.parametrize("listing", ["iptables-save.txt", "iptables-L.txt", "iptables-L-n-v.txt"])
def test_rules_store_and_policies_from_files(listing: str) -> None:
    """Any form of listing can be held against them; without the security groups it is not called clean."""
    pair = CELLS / "pair"
    done = _run(
        "audit",
        "--rules",
        pair / listing,
        "--store",
        pair / "store.json",
        "--policies",
        pair / "policies.json",
        "--vpa-config",
        pair / "vxlan-policy-agent.json",
    )
    said = "no contradiction found; 2 of 46 kinds of findings not judged: 3 policy rules are as they should be"
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, said)


def test_a_deleted_rule_in_a_bundle_is_found(tmp_path: Path) -> None:
    """Exit status 1, and the app's name."""
    bundle = _copy(tmp_path)
    rules = bundle / "iptables-save.txt"
    rules.write_text("\n".join(line for line in rules.read_text().split("\n") if "j MARK --set-xmark 0x1/" not in line))
    done = _run("audit", "--bundle", bundle)
    assert done.returncode == 1
    assert '"source-app" (acme/dev) at 10.255.1.4 is not marked' in " ".join(done.stdout.split())


BAD: dict[str, tuple[str, Callable[[str], str], str]] = {
    "cut off": ("iptables-save.txt", lambda text: text[: len(text) // 2], "cut off"),
    "rules empty": ("iptables-save.txt", lambda _: "", "nothing in it"),
    "rules are a photograph": ("iptables-save.txt", lambda _: "\x89PNG\r\n\x1a\n\x00", "not a line"),
    "incompatible": (
        "iptables-save.txt",
        lambda _: "# Table `filter' is incompatible, use 'nft' tool.\n",
        "could not show this table",
    ),
    "store torn": ("store.json", lambda text: text[:100], "store.json"),
    "store empty": ("store.json", lambda _: "", "empty"),
    "policies are HTML": ("policies.json", lambda _: "<html>", "policies.json"),
    "config of the wrong type": (
        "vxlan-policy-agent.json",
        lambda text: text.replace('"poll_interval": 5', '"poll_interval": "x"'),
        "poll_interval",
    ),
    "a tag that is none": ("ingress_tag", lambda _: "zebra", "ingress_tag"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_a_clear_error_and_exit_status_2(tmp_path: Path, what: str) -> None:
    """It names the file and never a traceback.

    Rules that are of no use end the audit, facts that are leave the rest judged.
    """
    name, damage, said = BAD[what]
    bundle = _copy(tmp_path, "pair-overlay-ingress")
    (bundle / name).write_text(damage((bundle / name).read_text()))
    done = _run("audit", "--bundle", bundle)
    assert done.returncode == 2, done.stdout
    output = "".join((done.stdout + done.stderr).split())
    assert "".join(said.split()) in output
    assert "".join(str(bundle / name).split()) in output
    assert "Traceback" not in done.stderr
    assert (done.stderr.count("\n") == 1) == name.startswith("iptables")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("audit", "--bundle", "absent"), "absent"),
        (("audit", "--rules", "absent.txt"), "absent.txt"),
        (("audit", "--store", "x"), "--rules"),
        (("audit", "--bundle", str(CELLS / "pair"), "--rules", "x"), "--bundle"),
        (("audit", "--rules", str(CELLS / "pair" / "iptables-save.txt"), "--ingress-tag", "zebra"), "--ingress-tag"),
        (("daemon", "--config", "absent.json"), "absent.json"),
        (("audit", "--nonsense"), "nonsense"),
    ],
)
def test_options_that_do_not_work_say_so(arguments: tuple[str, ...], said: str) -> None:
    """Exit status 2."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_container_does_not_hide_the_others(tmp_path: Path) -> None:
    """It is a finding, the rest is judged."""
    bundle = _copy(tmp_path)
    store = json.loads((bundle / "store.json").read_text())
    store["broken"] = {"handle": "broken", "ip": "", "metadata": {}}
    (bundle / "store.json").write_text(json.dumps(store))
    done = _run("audit", "--bundle", bundle, "--format", "json")
    assert [finding["kind"] for finding in json.loads(done.stdout)["findings"]] == ["container_unreadable"]
    assert done.returncode == 0


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """Neither escapes nor markup."""
    bundle = _copy(tmp_path)
    store = (bundle / "store.json").read_text().replace("source-app", "\\\\u001b]0;owned\\\\u0007[red]x")
    (bundle / "store.json").write_text(store)
    rules = bundle / "iptables-save.txt"
    rules.write_text("\n".join(line for line in rules.read_text().split("\n") if "j MARK --set-xmark 0x1/" not in line))
    done = _run("audit", "--bundle", bundle)
    assert "\x1b" not in done.stdout
    assert "[red]x" in done.stdout


def test_a_bundle_without_policies_is_not_clean(tmp_path: Path) -> None:
    """What is absent is not invented."""
    bundle = _copy(tmp_path)
    (bundle / "policies.json").unlink()
    done = _run("audit", "--bundle", bundle)
    assert done.returncode == 2
    assert "COULD NOT LOOK" in done.stdout
    assert "policies.json" in done.stdout


def _capture(tmp_path: Path, *more: str, **damaged: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A capture of the recorded pair's files, some of them damaged, on a machine without iptables and policy server."""
    cell = _copy(tmp_path)
    for name, text in damaged.items():
        (cell / name.replace("__", ".")).write_text(text)
    (tmp_path / "bin").mkdir()
    settings = {
        "vpa_config": str(cell / "vxlan-policy-agent.json"),
        "store": str(cell / "store.json"),
        "backend": "nft",
        "iptables_bin_dir": str(tmp_path / "bin"),
        "policy_server": {"url": "https://127.0.0.1:1"},
    }
    (tmp_path / "auditor.json").write_text(json.dumps(settings))
    return _run("capture", tmp_path / "bundle", "--config", tmp_path / "auditor.json", *more), tmp_path / "bundle"


def test_a_capture_holds_what_could_be_read_and_says_what_could_not(tmp_path: Path) -> None:
    """Without policies, and without rules if not root: files letter by letter, the reasons in cell.json."""
    done, bundle = _capture(tmp_path)
    assert done.returncode == 2
    for name in ("store.json", "vxlan-policy-agent.json"):
        assert (bundle / name).read_text() == (CELLS / "pair" / name).read_text()
    problems = json.loads((bundle / "cell.json").read_text())["problems"]
    missing = {"policy_server", "security_groups"} | ({"rules"} if os.geteuid() else set())
    assert {problem["source"] for problem in problems} == missing
    assert all(problem["where"] and problem["problem"] for problem in problems)
    assert done.stderr.count("not in the bundle: ") == len(missing)


@pytest.mark.parametrize(
    ("file", "text", "source"),
    [
        ("store__json", '{"broken', "store"),
        ("store__json", "[]", "store"),
        ("vxlan-policy-agent__json", '{"poll_interval": "x"}', "vpa_config"),
        ("vxlan-policy-agent__json", "{", "vpa_config"),
    ],
)
def test_a_capture_holds_what_cannot_be_understood_as_it_is(tmp_path: Path, file: str, text: str, source: str) -> None:
    """A malformed file is the reason for the capture; everything else is in it all the same."""
    done, bundle = _capture(tmp_path, **{file: text})
    assert done.returncode == 2
    assert {"store.json", "vxlan-policy-agent.json", "cell.json"} <= {path.name for path in bundle.iterdir()}
    assert (bundle / file.replace("__", ".")).read_text() == text
    problems = {problem["source"]: problem for problem in json.loads((bundle / "cell.json").read_text())["problems"]}
    assert problems[source]["reason"] == "malformed"
    assert problems[source]["where"].endswith(file.replace("__", "."))
    assert "in the bundle as it is: " in done.stderr


def test_a_redacted_capture_does_not_quote_what_was_wrong(tmp_path: Path) -> None:
    """Errors quote what was read; the reason stays."""
    done, bundle = _capture(tmp_path, "--redact", **{"vxlan-policy-agent__json": '{"poll_interval": "payroll"}'})
    assert done.returncode == 2
    assert "payroll" in done.stderr
    assert all("payroll" not in path.read_text() for path in bundle.iterdir())
    problems = json.loads((bundle / "cell.json").read_text())["problems"]
    assert {problem["reason"] for problem in problems if problem["source"] == "vpa_config"} == {"malformed"}


def test_version_and_help() -> None:
    """Of the command itself."""
    assert _run("--version").stdout.startswith("c2c-auditor, version ")
    for command in ("audit", "explain", "matrix", "capture", "daemon"):
        assert command in _run("--help").stdout

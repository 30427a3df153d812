"""Listings that iptables prints now: in every form, from both backends, they mean what iptables-save says."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.canonical import as_listed
from c2c_auditor.netfilter.listing import parse_listing
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.services import service_port
from support.namespaces import in_namespace
from support.recordings import GOLDEN

pytestmark = pytest.mark.kernel
EVERY_OPTION = {"iptables": GOLDEN / "every-option.txt", "ip6tables": GOLDEN / "every-option-ipv6.txt"}


def _run(*argv: str, given: str = "") -> str:
    return subprocess.run(argv, check=True, input=given, capture_output=True, text=True, timeout=30).stdout


@pytest.mark.parametrize("form", ["", "-n", "-v", "--line-numbers", "-n -v", "-n -v -x --line-numbers"])
@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("tool", EVERY_OPTION)
@in_namespace
def test_a_listing_means_what_is_saved(tool: str, backend: str, form: str) -> None:
    """Every match and target with a value of its own is listed and understood.

    Where a listing loses something, it says so.
    """
    if shutil.which(f"{tool}-{backend}") is None:
        pytest.skip(f"needs iptables-{backend}")
    _run(f"{tool}-{backend}-restore", "-w", given=EVERY_OPTION[tool].read_text())
    for table in ("filter", "nat", "mangle"):
        saved = parse_save(_run(f"{tool}-{backend}-save", "-t", table), where="save").chains(table)
        listed = parse_listing(
            _run(f"{tool}-{backend}", "-w", "-t", table, "-L", *form.split()), where="list", service_port=service_port
        )
        assert (r.Loss.INTERFACES in listed.lost) == ("-v" not in form)
        found = listed.chains(table)
        assert set(found) == set(saved)
        for name, chain in saved.items():
            assert len(found[name].rules) == len(chain.rules)
            if name != "opaque":
                wanted = tuple(as_listed(rule, listed.lost) for rule in chain.rules)
                assert (found[name].policy, found[name].rules) == (chain.policy, wanted)

"""What iptables' own programs print of one table, run and checked: exit status 0 proves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.command import Limits, Output, run
from c2c_auditor.sources.rules.tools import Tool


def read_table(
    tool: Tool, name: str, parser: RuleParser, limits: Limits
) -> tuple[Mapping[str, r.Table], tuple[str, ...]]:
    """Table ``name`` as ``tool``, a program like iptables-save, prints it with counters; its warnings beside.

    Raises SourceError when the program fails, or prints no table or another one.
    """
    argv = (tool.path, "-c", "-t", name)
    output = _run(argv, limits)
    warnings = tuple(line for line in output.errors.splitlines() if line.startswith("# Warning"))
    return _table(name, output, f"{tool.path} -t {name}", parser), warnings


def _run(argv: Sequence[str], limits: Limits) -> Output:
    output = run(argv, limits)
    where = " ".join(argv)
    if "incompatible" in output.errors or "is incompatible, use 'nft' tool" in output.text:
        raise failed(
            Reason.INCOMPATIBLE,
            where,
            "iptables cannot show this table: it holds native nftables rules, or those of a newer iptables",
            "look at it with `nft list ruleset`; if silk's iptables is newer, set iptables_bin_dir to its directory",
        )
    if output.status != 0:
        denied = "ermission denied" in output.errors or "not permitted" in output.errors
        raise failed(
            Reason.PERMISSION if denied else Reason.FAILED,
            where,
            f"exit status {output.status}: {output.errors.strip() or 'no message'}",
            "give the agent CAP_NET_ADMIN and CAP_NET_RAW" if denied else "run it by hand",
        )
    return output


def _table(name: str, output: Output, where: str, parser: RuleParser) -> Mapping[str, r.Table]:
    """An empty answer, another table's, or one without COMMIT is a failed reading."""
    found = parse_save(output.text, where=where, parser=parser).tables
    if set(found) != {name}:
        raise failed(
            Reason.MALFORMED,
            where,
            "it ended without an error and without printing the table",
            "run it by hand; is it the stemcell's own iptables?",
        )
    return found


def failed(reason: Reason, where: str, problem: str, remedy: str) -> SourceError:
    """What a reader of such programs raises."""
    return SourceError(source="rules", reason=reason, where=where, problem=problem, remedy=remedy)

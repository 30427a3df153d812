"""The page docs/performance.md and its plots, from what `performance` measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl
from attrs import frozen

mpl.use("Agg")
from matplotlib import pyplot as plt


@frozen(kw_only=True)
class Growth:
    """One size of a cell: seconds of each, iptables' own beside the agent's."""

    rules: int
    first: float
    changed: float
    save: float
    listed: float


@frozen(kw_only=True)
class Rate:
    """Readings while others commit ``commits`` times a second: 99th percentile in seconds, share of a core."""

    commits: float
    late: float
    share: float


@frozen(kw_only=True)
class Daemon:
    """The running agent on one cell. Seconds (``act`` of processor time), shares of a core, bytes.

    ``started`` says whether it ran programs.
    """

    pending: float
    resolved: float
    rest: float
    act: float
    churn: float
    memory: int
    started: bool


def plot_growth(grown: Sequence[Growth], folder: Path) -> None:
    """``performance-rules.png``."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    sizes = [one.rules for one in grown]
    for label, values, style in (
        ("first reading", [one.first for one in grown], "o-"),
        ("iptables-nft-save -c", [one.save for one in grown], "s--"),
        ("iptables-nft -S of the policy chain", [one.listed for one in grown], "d--"),
        ("one rule changed: digested", [one.changed for one in grown], "o-"),
    ):
        axes.plot(sizes, [value * 1e3 for value in values], style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="rules", ylabel="milliseconds", title="Cost by the number of rules")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / "performance-rules.png", dpi=100)


def plot_rates(rates: Sequence[Rate], folder: Path) -> None:
    """``performance-commits.png``."""
    figure, left = plt.subplots(figsize=(8, 4.5))
    right = left.twinx()
    commits = [one.commits for one in rates]
    lines = [
        *left.plot(
            commits, [one.late * 1e3 for one in rates], "o-", color="tab:blue", label="reading, 99th percentile"
        ),
        *right.plot(commits, [one.share * 100 for one in rates], "s--", color="tab:orange", label="processor time"),
    ]
    left.set(
        xscale="log",
        xlabel="commits a second to another chain",
        ylabel="milliseconds",
        title="Readings of 20,000 policy rules while others commit",
    )
    right.set(ylabel="% of a core")
    left.set_ylim(bottom=0)
    right.set_ylim(bottom=0)
    left.grid(visible=True, alpha=0.3)
    left.legend(handles=lines)
    figure.tight_layout()
    figure.savefig(folder / "performance-commits.png", dpi=100)


_PAGE = """\
# Performance

Written by `make performance`; do not edit this page by hand. Measured on {day} with Linux {kernel} ({machine}), {cores}
cores, CPython {python}, {iptables}. Figures are the best of several runs, first
readings by the number of rules one each, and ratios are of one run: machines differ.

## Against iptables' own tools

250 containers and 20,000 policy rules, unless it says otherwise.

| what | measured | target |
|---|---|---|
{rows}

What the rows are made of, and why not every target is reached:

- **First reading.** The kernel's own dump of these rules takes what the second row says, and no reader can save that.
  A thread receives the policy chain, up to 512 KiB in one call, while Python decodes what came before: some 1 µs to cut
  a rule and look it up where it was seen before, some 8 µs where it is new, as nearly all are at a start. With two free
  processors the longer of both counts, and what handing over costs; with one it is their sum, some 1.5 x save. It
  happens once per start, and after a loss of announcements.
- **Silk's swap** brings 20,000 new rules in one commit, 17 MB with their expressions, which are looked up: some 1 µs a
  rule. That the old chain is flushed announces 16 MB more, of which the handles are read: some 0.3 µs a rule. No agent
  that hears of commits can go below *receiving its announcements and nothing else*; what that takes is nearly all the
  kernel's, which hands them out 3 KB at a time.
- **One policy changed** costs the plan of two containers and a comparison of 20,000 rules, most of which are the same
  objects on both sides.
- **A MARK gone** concerns its sender's flows to 90 containers, each of which has hundreds of senders: only its own
  rows there are made anew.

## How cost grows

![Cost by the number of rules](pictures/performance-rules.png)

| rules | first reading | `iptables-nft-save -c` | one rule changed | `iptables-nft -S` of the policy chain |
|---|---|---|---|---|
{growth}

![Readings while others commit](pictures/performance-commits.png)

| commits a second | reading, 99th percentile | processor time |
|---|---|---|
{rates}

## The daemon

The real process beside a cell at work, with its default settings, on the nft backend. A change is made with iptables;
pending is when the API shows the finding. An act is a policy added or removed, for which silk writes the whole policy
chain anew.

| what | 250 containers, 20,000 policy rules | 6 containers, 20 policy rules | target |
|---|---|---|---|
{daemons}

At rest an audit every 15 seconds reads each source again. On the large cell an act has the daemon read 20,000 new
rules and 4 MB of policies, plan, compare and work out reachability, once: the policies behind a swap are asked for
before it is judged. The floor of that is what the rows above say: *silk's swap, processor time* is 0.04 s, of which
receiving alone is 0.015 and no agent that hears of commits is without; *plan + compare + settle* and *reachability*,
with an index of the new chain, take some 0.08 s, receiving and understanding the policies 0.02 s. Much of that is
waiting for memory: checking the chains of 250 containers takes 4 ms when it is done again at once, and 11 ms after a
swap has gone through the processor's caches. 0.2 % of a core with an act every five seconds would be 10 ms an act, less
than it takes to hear of such a swap and do nothing. On a small cell an act is an audit of some 6 ms, one or two
requests to the policy server (1 to 2 ms), and what was committed and by whom (1 ms); the rest is waking up, publishing
and the listening process.

Auditing takes 5 % of a core at most in the long run. Five seconds of processor time may be used before they are
saved, so a change soon after another one is seen at once. Fetching policies is not counted with auditing.

Memory beyond that of the small cell: reading the rules takes some 17 MiB (at 306,000 rules not more: most are the same
in each container and one object, which costs a chain 16 bytes), the plan 3, the index of the policy chain 2, what
becomes of all flows 2, policies 2, and more of the same kinds elsewhere: some 30 MiB, as Python itself counts them.
The rest are holes: Python gives memory back a whole MiB at a time, and what an audit takes for a while is some 5 MiB.

The small cell's is nearly all interpreter, libraries and the code itself, 40 MiB once they are imported. The second
process is forked before what only one of both needs is imported; it begins with the same pages, and Python's counting
of references writes to most of them.

## A thousand cells

What 1,000 agents ask of one policy server, at rest, at a policy change and after it was down, is measured by `make
fleet` with the agent's own schedule: [operating.md](operating.md) has the table.
"""


_Show = Callable[[Any], str]


def page(
    rows: Sequence[tuple[str, str, str]],
    grown: Sequence[Growth],
    rates: Sequence[Rate],
    daemons: Sequence[Daemon],
    *,
    iptables: str,
) -> str:
    """The whole page; ``rows`` are those of `make bench`, ``daemons`` the large cell's and the small one's."""
    pairs: tuple[tuple[str, str, _Show, str], ...] = (
        ("a change until the finding is pending", "pending", lambda one: f"{one * 1e3:.0f} ms", "300 ms"),
        ("its undoing until the cell is clean", "resolved", lambda one: f"{one * 1e3:.0f} ms", ""),
        ("processor time at rest", "rest", lambda one: f"{one * 100:.2f} % of a core", ""),
        ("processor time for an act", "act", lambda one: f"{one * 1e3:.0f} ms", "10 ms"),
        ("processor time with an act every 5 s (80 s)", "churn", lambda one: f"{one * 100:.2f} % of a core", "0.2 %"),
        ("memory of both processes (PSS)", "memory", lambda one: f"{one / 2**20:.0f} MiB", "100 MiB"),
        ("programs started after the start", "started", lambda one: "some" if one else "none", "none"),
    )
    measured = (
        f"| {what} | {' | '.join(shown(getattr(one, name)) for one in daemons)} | {target} |"
        for what, name, shown, target in pairs
    )
    return _PAGE.format(
        day=f"{date.today():%d %B %Y}",  # noqa: DTZ011 - the machine's day
        kernel=platform.release(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        iptables=iptables,
        rows="\n".join(f"| {what} | {value} | {target} |" for what, value, target in rows),
        growth="\n".join(
            f"| {one.rules:,} | {one.first * 1e3:.0f} ms | {one.save * 1e3:.0f} ms | {one.changed * 1e3:.2f} ms | "
            f"{one.listed * 1e3:.0f} ms |"
            for one in grown
        ),
        rates="\n".join(f"| {one.commits:.0f} | {one.late * 1e3:.1f} ms | {one.share * 100:.1f} % |" for one in rates),
        daemons="\n".join(measured),
    )

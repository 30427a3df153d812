"""The whole table, and which of its rows are red today."""

from __future__ import annotations

from faults import clock, files, kernel, network, processes
from faults.row import Row

ROWS: tuple[Row, ...] = (
    *files.rows(),
    *network.rows(),
    *kernel.rows(),
    *processes.rows(),
    *clock.rows(),
)

_REST = "the rest after an audit counts what it waited for, so audits are up to 20 times as far apart"
_BLOCKS = "opening or reading it blocks the audit for ever"
_HUGE = "it is read up to 256 MiB, or by OpenSSL to its end, at each audit, and the rest after an audit counts that"

# A row that is red: why, in one line. Whoever mends it takes it out: recording results insists on it.
KNOWN_RED: dict[str, str] = {
    "VPA-config:a-FIFO": _BLOCKS,
    "VPA-config:hanging": _BLOCKS,
    "auditing-process:SIGKILL-beside-a-stopped-listener": "a stopped listener outlives the agent and keeps the port",
    "auditing-process:no-descriptors-(RLIMIT_NOFILE)": "EMFILE outside the readers of rules ends the daemon",
    "client-certificate:huge": _HUGE,
    "client-key:a-FIFO": _BLOCKS,
    "client-key:huge": _HUGE,
    "log-output:ENOSPC-from-the-start": "a log that cannot be written ends the daemon",
    "log-output:a-closed-pipe": "a log that cannot be written ends the daemon",
    "log-output:a-pipe-that-nobody-reads": "writing the log blocks, and the audits with it",
    "policy-server's-CA:huge": _HUGE,
    "policy-server:flapping": _REST,
    "policy-server:hanging": _REST,
    "policy-server:huge-answer": _REST,
    "policy-server:missing": _REST,
    "policy-server:torn": _REST,
    "rules-via-legacy:only-legacy's-programs,-by-their-plain-names": "a tool called iptables-save is taken for iptables-nft's: all chains are read twice",
    "rules-via-nft:closes-its-pipes-and-lives-on": "the end of a program that closed its pipes is waited for without a bound",
    "security-groups:hanging": _REST,
    "security-groups:huge-answer": _REST,
    "store-version:a-FIFO": _BLOCKS,
    "store:a-FIFO": _BLOCKS,
    "store:empty": _REST,
    "store:hanging": _BLOCKS,
    "store:huge": _HUGE,
    "store:missing": "a container that came after the store was last read is called an orphan: what silk did since is judged by old knowledge",
    "store:torn": _REST,
    "store:wrong-shape": _REST,
}

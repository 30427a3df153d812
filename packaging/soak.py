"""What takes long to show, for as long as asked: `make soak SEED=7 ROUNDS=100 CLIENTS=100000`.

The evaluator against the kernel: a round is 100 tables a backend, 100 where no conntrack runs, so that fragments meet
the rules, and 100 times the tables of all hooks and both backends at once. Prints the seed of each; a disagreement
ends it with the smallest table and packet that show it. Needs root: it makes network namespaces.

The listening process against CLIENTS scrapes and as many connections without a certificate, on loopback: what they
leave in its memory. Then how long a scrape takes beside halves of hellos, and what becomes of 1,000 scrapes at once.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import psutil
import trustme

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from c2c_auditor.config import ServerSettings
from c2c_auditor.server import ServerProcess
from c2c_auditor.server.questions import refusal
from support.clients import certificates, client_context, half_hellos, many, memory, scrape, timed
from support.namespaces import in_namespace
from support.proof import prove
from support.reports import flushed_report
from support.rulesets import World
from support.whole_way import prove as prove_whole_way

TABLES = 100
GROWTH_MIB = 4
PROOFS: dict[str, Callable[..., object]] = {
    "": partial(prove, world=World()),
    ", fragments": partial(prove, world=World(tracking=False)),
    ", all hooks": prove_whole_way,
}


@in_namespace
def _round(what: str, prove: Callable[..., object], backend: str, *, seed: int) -> None:
    tally = prove(backend, seed=seed, rulesets=TABLES)
    sys.stdout.write(f"{what}: {tally}, no disagreement\n")


def _listener(clients: int) -> bool:
    """Whether the listening process has no more memory after all those clients than after the first few."""
    ca = trustme.CA()
    gc.disable()  # as the daemon does before it forks
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(
            ServerSettings(port=0, tls=certificates(Path(folder), ca)), lambda *_: refusal(503, "no rules here")
        ) as server,
    ):
        gc.enable()
        server.publish(flushed_report())
        (child,) = psutil.Process().children()
        scraping = partial(scrape, server.address, client_context(ca))
        stranger = partial(scrape, server.address, client_context(ca, certificate=False))
        flat = [
            _grows_not(name, what, child.pid, clients) for name, what in (("scrapes", scraping), ("connects", stranger))
        ]
        with half_hellos(server.address, per_second=10):
            time.sleep(5)
            slowest = max(timed(scraping)[0] for _ in range(20))
        sys.stdout.write(f"a scrape beside 10 halves of hellos a second: {slowest * 1000:.0f} ms at most\n")
        seconds, tally = timed(lambda: str(dict(many(scraping, 1000, parallel=1000))))
        sys.stdout.write(f"1,000 scrapes at once: {tally} in {seconds:.1f} s\n")
    return all(flat)


def _grows_not(name: str, what: partial[str], child: int, clients: int) -> bool:
    many(what, 1000, parallel=4)
    before = memory(child)
    tally = many(what, clients, parallel=4)
    after = memory(child)
    sys.stdout.write(f"{clients} {name} {dict(tally)}: {before:.1f} MiB before, {after:.1f} MiB after\n")
    return after - before < GROWTH_MIB


def main() -> int:
    """Run the rounds and the clients; 1 at the first disagreement, or where memory grows."""
    first = int(os.environ.get("SEED") or time.time())
    seeds = range(first, first + int(os.environ.get("ROUNDS") or 10))
    for seed, backend, (name, proof) in product(seeds, ("nft", "legacy"), PROOFS.items()):
        what = f"seed {seed}, {backend}{name}"
        try:
            _round(what, proof, backend, seed=seed)
        except AssertionError as found:
            sys.stdout.write(f"{what}: failed\n{found}\n")
            return 1
    if not _listener(int(os.environ.get("CLIENTS") or 10_000)):
        sys.stdout.write(f"the listening process grew by more than {GROWTH_MIB} MiB\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

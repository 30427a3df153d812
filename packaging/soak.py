"""The proof of the evaluator against the kernel, for as long as asked: `make soak SEED=7 ROUNDS=100`.

A round is 100 tables a backend, and 100 where no conntrack runs, so that fragments meet the rules. Prints the seed of
each; a disagreement ends it with the smallest table and packet that show it. Needs root: it makes network namespaces.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.namespaces import in_namespace
from support.proof import prove
from support.rulesets import World

TABLES = 100
WORLDS = {"": World(), ", fragments": World(tracking=False)}


@in_namespace
def _round(what: str, backend: str, world: World, *, seed: int) -> None:
    tally = prove(backend, world, seed=seed, rulesets=TABLES)
    sys.stdout.write(f"{what}: {tally}, no disagreement\n")


def main() -> int:
    """Run the rounds; 1 at the first disagreement."""
    first = int(os.environ.get("SEED") or time.time())
    seeds = range(first, first + int(os.environ.get("ROUNDS") or 10))
    for seed, backend, (name, world) in product(seeds, ("nft", "legacy"), WORLDS.items()):
        what = f"seed {seed}, {backend}{name}"
        try:
            _round(what, backend, world, seed=seed)
        except AssertionError as found:
            sys.stdout.write(f"{what}: failed\n{found}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

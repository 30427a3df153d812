"""The proof of the evaluator against the kernel, for as long as asked: `make soak SEED=7 ROUNDS=100`, one round of 100 tables a backend.

Prints the seed of each round; a disagreement ends it with the smallest table and packet that show it. Needs root: it makes network namespaces.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.namespaces import in_namespace
from support.proof import prove
from support.rulesets import World

TABLES = 100


@in_namespace
def _round(backend: str, seed: int) -> None:
    tally = prove(backend, World(), seed=seed, rulesets=TABLES)
    sys.stdout.write(f"seed {seed}, {backend}: {tally}\n")


def main() -> int:
    """Run the rounds; 1 at the first disagreement."""
    first = int(os.environ.get("SEED") or time.time())
    for number in range(int(os.environ.get("ROUNDS") or 10)):
        for backend in ("nft", "legacy"):
            try:
                _round(backend, first + number)
            except AssertionError as found:
                sys.stdout.write(f"seed {first + number}, {backend}: the kernel disagrees\n{found}\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

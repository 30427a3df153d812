"""``python -m c2c_auditor``: the same as the ``c2c-auditor`` command, for places without console scripts."""

from c2c_auditor.cli import main

main()

"""Bytes of the kernel's rules as values: the entries of legacy tables, and the matches and targets of xtables."""

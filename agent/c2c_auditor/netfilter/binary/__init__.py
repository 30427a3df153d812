"""Decodes the kernel's bytes: entries of legacy tables, and the matches and targets of xtables.

Pure: how the bytes are read belongs to `sources.rules`.
"""

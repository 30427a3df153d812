"""Compares planned rules with those on the cell: by field, as pairs, in order; MASQUERADE by its effect.

What a difference means is decided in `audit.checks`.
"""

"""Reachability: which source reaches which destination on which ports, and which of it policies allow.

Findings about it belong to `audit.effects`; the walk through rules to `netfilter`.
"""

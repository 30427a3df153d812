"""The readers of rules: from the kernel through either backend, or from a text.

Each gives a `Ruleset`. How rules are written as text or bytes belongs to `netfilter`; which reader is used to
`backends`.
"""

"""L5: the only modules that read the kernel, files, processes and servers.

Each turns one thing outside into values of `model`, or raises a `SourceError`. Nothing here writes, and nothing here
judges what was read. Bytes and texts of rules are parsed in `netfilter`.
"""

"""L5: the only modules that touch the world.

Each turns one thing outside into values of `model`, or raises one `SourceError`.
"""

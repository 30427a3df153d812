"""L1: the words of the domain as frozen values.

A value that exists is valid; nothing here computes or touches the world.
"""

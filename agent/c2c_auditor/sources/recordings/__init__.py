"""Bundles: the texts that one audit read, as a directory, and pseudonyms for names that must not leave the platform.

The texts have the sources' own formats, so they are parsed in `sources.facts` and `sources.rules`.
"""

"""Bundles: what one audit read, as a directory; and pseudonyms for what must not leave the platform."""

"""Answers questions about one reading: explain one flow, find an end by its name, list the matrix.

Output belongs to `export.traffic`; who may put questions to `server` and `cli`.
"""

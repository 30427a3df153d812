"""L1: the domain as frozen values: rules, facts of a cell, findings, reports.

A value that exists is valid. Parsing, planning, comparing and all input and output belong to the layers above.
"""

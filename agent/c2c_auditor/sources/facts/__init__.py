"""The readers of facts: containers, policies, security groups, settings of silk's programs, processes.

One module for each source, and `gatherer` for all of them together. What follows from the facts is planned in `silk`.
"""

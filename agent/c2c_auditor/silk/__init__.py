"""L3: the rules that silk writes: chain names, one constructor per rule shape, one plan per chain family. Pure.

What stands on a cell, and whether it agrees with a plan, belongs to `audit`.

Facts are cited by silk-release's file and function (5148d058); newer silk keeps these shapes and their order.
"""

"""L3: what silk promises to write: chain names, one constructor per rule shape, and the plan. Pure.

Facts are cited by silk-release's file and function (5148d058); newer silk keeps these shapes and their order.
"""

"""The checks: functions from `Inputs` to findings, one module for each subject.

A check compares one reading with its plan. It remembers nothing, and does not decide when a finding is confirmed or
what it does to traffic between containers: that belongs to `audit.settle` and `audit.effects`.
"""

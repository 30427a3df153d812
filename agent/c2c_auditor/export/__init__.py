"""L5: a report as text, JSON, metrics and log events.

Pure: values in, text or metric families out. What a report says is decided in `audit`; who gets it, in `server` and
`cli`.
"""

"""L4: what should be against what is: checks, comparison, settling. Pure; the time is given."""

"""The simulated cell of `c2c-auditor demo`."""

"""The readers of facts: what a cell and the policy server say should be there."""

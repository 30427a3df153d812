"""The readers of rules: from the kernel of either backend, or from a text."""

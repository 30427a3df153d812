"""Says where a Diego cell's iptables rules differ from what silk should have written, and what that does to traffic."""

__version__ = "0.1.0"

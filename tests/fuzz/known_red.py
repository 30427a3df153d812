"""What the fuzz targets find today, by target and `harness.signature`: why, in one line. Whoever mends it takes it out."""

from __future__ import annotations

KNOWN_RED: dict[tuple[str, str], str] = {
    ("save", "ValueError in savefile._counted"): "int() of a counter of `²` or of more than 4,300 digits",
    ("save", "ZeroDivisionError in canonical.limit_period"): "a limit of 0 a second",
    ("save", "ZeroDivisionError in render._rate"): "a limit above 10,000 a second has the period 0, which is rendered",
    ("commands", "ValueError in savefile._counted"): "int() of a counter of `²`",
    ("listing", "ValueError in listing._leading"): "int() of a counter of more than 4,300 digits",
    ("netlink", "IndexError in netlink._note"): "a message that ends with its header",
    ("netlink", "KeyError in netlink.generation"): "an answer without a generation",
    ("http", "UnicodeDecodeError in routes.metrics"): "an Accept-Encoding that is no UTF-8 makes /metrics answer 500",
}

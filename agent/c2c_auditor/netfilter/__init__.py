"""L2: netfilter's language: grammar, parsing, canonical form, rendering. Pure."""

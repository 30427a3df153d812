"""The checks, one function each: what one reading shows that should not be so."""

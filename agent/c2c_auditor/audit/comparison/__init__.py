"""The rules that should be there beside those that are: as fields, as pairs, in order."""

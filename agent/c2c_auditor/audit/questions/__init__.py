"""Questions about one reading: explain one flow, find an end by its name, list who reaches whom."""

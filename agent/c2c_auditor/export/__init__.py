"""L5: a report as text, JSON, metrics and events. Pure: nothing here reads, writes or asks the time."""

"""The commands, grouped into modules."""

"""Decides when to poll tasks, learning from their durations."""

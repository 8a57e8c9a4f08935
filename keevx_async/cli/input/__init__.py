"""Prompt files, read."""

"""Reads prompt files."""

"""Writes all output of the command line: terminal text, JSON and result files."""

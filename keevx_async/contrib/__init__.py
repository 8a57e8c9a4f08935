"""Integrations with other packages. Each has its own extra."""

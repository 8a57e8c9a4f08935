"""Requests and their results: pure values."""

from .rules import AspectRatio, Model, Resolution

__all__ = ["AspectRatio", "Model", "Resolution"]

"""What is requested and what comes back: pure values."""

from .rules import AspectRatio, Model, Resolution

__all__ = ["AspectRatio", "Model", "Resolution"]

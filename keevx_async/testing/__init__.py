"""An in-process Keevx API for tests and demonstrations: no key, no money, no network."""

from .emulator import Emulator
from .faults import Faults
from .records import EmulatedTask, Invalid, Upload

__all__ = ["EmulatedTask", "Emulator", "Faults", "Invalid", "Upload"]

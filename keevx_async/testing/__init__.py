"""An in-process Keevx API for tests and demonstrations: no key, no money, no network.

Names are loaded on first use, because pytest imports this package for its plugin at every start and
should not have to load aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .emulator import Emulator
    from .faults import Faults
    from .records import EmulatedTask, Invalid, Upload
else:
    _LAZY = {
        "EmulatedTask": ".records",
        "Emulator": ".emulator",
        "Faults": ".faults",
        "Invalid": ".records",
        "Upload": ".records",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
        return value


__all__ = ["EmulatedTask", "Emulator", "Faults", "Invalid", "Upload"]

"""What a mixed run of every kind is judged by."""

from __future__ import annotations

from pathlib import Path

from keevx_async.testing import Emulator
from keevx_async.testing.contents import MAKERS


def judged(emulator: Emulator, path: Path) -> str:
    """A file that came home, held against the Emulator's bytes; the id it is of."""
    shelf = {".mp4": "videos", ".png": "images", ".ass": "captions"}[path.suffix]
    made = MAKERS[shelf](emulator.tasks[path.stem], emulator.video_bytes)
    assert path.read_bytes() == b"".join(made.read(0, made.size)), path
    return path.stem

"""The pytest plugin, known wherever keevx_async is installed: the fixture ``keevx_emulator``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .emulator import Emulator


@pytest.fixture
def keevx_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A running Emulator whose tasks end after a twentieth of a second.

    It serves from a thread, so tests of every kind may use it: synchronous ones, those of
    pytest-asyncio in either mode, and anyio's. While it runs, ``Keevx()`` without arguments
    talks to it, in child processes too: ``KEEVX_BASE_URL`` and ``KEEVX_API_KEY`` are set.
    """
    from .emulator import Emulator  # here, since it brings aiohttp, which few pytest runs need
    from .threads import serving

    with serving(Emulator(seconds=0.05)) as emulator:
        monkeypatch.setenv("KEEVX_BASE_URL", emulator.url)
        monkeypatch.setenv("KEEVX_API_KEY", "test-key")
        yield emulator

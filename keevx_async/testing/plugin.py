"""The pytest plugin: the fixture ``keevx_emulator``, wherever keevx_async is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .emulator import Emulator


@pytest.fixture
def keevx_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A running Emulator whose tasks end after 0.05 seconds; a new one for each test.

    It serves from a thread, so that every kind of test may use it: synchronous ones, those of
    pytest-asyncio in either mode, and anyio's. While it runs, ``Keevx()`` without arguments
    connects to it, in child processes too: ``KEEVX_BASE_URL`` and ``KEEVX_API_KEY`` are set.
    """
    # Imported here because it loads aiohttp, which few pytest runs need.
    from .emulator import Emulator
    from .threads import serving

    with serving(Emulator(seconds=0.05)) as emulator:
        monkeypatch.setenv("KEEVX_BASE_URL", emulator.url)
        monkeypatch.setenv("KEEVX_API_KEY", "test-key")
        yield emulator

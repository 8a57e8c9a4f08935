"""The pytest plugin, which provides the ``keevx_emulator`` fixture if keevx_async is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .emulator import Emulator


@pytest.fixture
def keevx_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A running Emulator whose tasks end after 0.05 seconds; a new one for each test.

    It serves from a thread, so every kind of test can use it: synchronous tests, pytest-asyncio
    tests in either mode, and anyio tests. While it runs, ``KEEVX_BASE_URL`` and ``KEEVX_API_KEY``
    are set, so ``Keevx()`` without arguments connects to it, even in child processes.
    """
    # Imported here because this loads aiohttp, which few pytest runs need.
    from .emulator import Emulator
    from .threads import serving

    with serving(Emulator(seconds=0.05)) as emulator:
        monkeypatch.setenv("KEEVX_BASE_URL", emulator.url)
        monkeypatch.setenv("KEEVX_API_KEY", "test-key")
        yield emulator

"""A pytest fixture: `pytest_plugins = ["keevx_async.testing.plugin"]` makes it known."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from .emulator import Emulator


@pytest_asyncio.fixture
async def keevx_emulator() -> AsyncIterator[Emulator]:
    """A running emulator whose tasks end after a twentieth of a second."""
    async with Emulator(seconds=0.05) as emulator:
        yield emulator

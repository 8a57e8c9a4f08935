"""Tests of users freeze time and leave asyncio its own, as freezegun's ``real_asyncio`` does."""

from __future__ import annotations

import asyncio
import time
from asyncio.base_events import BaseEventLoop

import pytest

from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of


async def test_a_task_ends_while_the_clock_of_the_program_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Emulator(seconds=0.05) as emulator, keevx_of(emulator) as keevx:
        real = time.monotonic
        frozen = real()
        monkeypatch.setattr(BaseEventLoop, "time", lambda _: real())
        monkeypatch.setattr(time, "monotonic", lambda: frozen)
        try:
            async with asyncio.timeout(20):
                (task,) = await keevx.generate(a_request())
        finally:
            monkeypatch.undo()
        assert task.succeeded

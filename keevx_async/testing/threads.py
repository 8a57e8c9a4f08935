"""Run an Emulator in a thread, for programs that have no event loop, or run their own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from .emulator import Emulator


@contextmanager
def serving(emulator: Emulator) -> Generator[Emulator]:
    """Serve an emulator from a thread with its own event loop while the block runs.

    Raises:
        OSError: the port is in use.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="keevx_emulator", daemon=True)
    thread.start()

    # The emulator belongs to its thread's loop, so every call from here is sent to that loop.
    def run(step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, loop).result()

    try:
        run(emulator.start())
        try:
            yield emulator
        finally:
            run(emulator.stop())
    finally:
        run(loop.shutdown_asyncgens())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

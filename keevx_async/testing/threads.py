"""An emulator in a thread, for programs whose event loop is another's, or that have none."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from .emulator import Emulator


@contextmanager
def serving(emulator: Emulator) -> Generator[Emulator]:
    """Have emulator serve from a thread with an event loop of its own while the block runs."""
    with _loop_in_thread() as loop:

        def run(step: Coroutine[Any, Any, None]) -> None:
            asyncio.run_coroutine_threadsafe(step, loop).result()

        run(emulator.start())
        try:
            yield emulator
        finally:
            run(emulator.stop())


@contextmanager
def _loop_in_thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="keevx_emulator", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

"""Ctrl-C, and SIGTERM, which is how services are stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import count

from keevx_async.policies import RetryPolicy

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = (
    "keevx: stopping: nothing new starts, creates in flight are given "
    f"{RetryPolicy().grace:.0f} s to answer; Ctrl-C again ends it at once"
)
AT_ONCE = "keevx: ending at once: creates that have not answered are uncertain"


@contextmanager
def interruptible(tell: Callable[[int], None]) -> Generator[None]:
    """Let each signal cancel the current task: the first politely, the second ends its grace.

    A signal that the parent process ignores (as ``nohup`` and a shell's ``&`` do) stays ignored.

    Args:
        tell: told how many there have been.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    times = count(1)

    def stop() -> None:
        number = next(times)
        tell(number)
        if task is not None:
            task.cancel()
        if number > 1:
            _let_go(loop)  # a third ends the process as the system does

    # Windows has none, there asyncio.run cancels once, at Ctrl-C; nor has a second thread.
    with suppress(NotImplementedError, RuntimeError):
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        _let_go(loop)


def _let_go(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(NotImplementedError):
        for number in SIGNALS:
            loop.remove_signal_handler(number)

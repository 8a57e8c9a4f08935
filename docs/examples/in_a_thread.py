"""One Keevx per process for code that is not async: a Django view, a Celery task, any WSGI app.

    submission = call(lambda keevx: keevx.submit(request, key="order-1", timeout=20))

pip install "keevx_async[docket]"
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from keevx_async import Keevx
from keevx_async.docket import RedisJournal

T = TypeVar("T")
_starting = threading.Lock()


def call(verb: Callable[[Keevx], Coroutine[Any, Any, T]]) -> T:
    """Call a client method on this process's event loop and return its result, from any thread."""
    with _starting:
        loop, keevx = _started(os.getpid())
    return asyncio.run_coroutine_threadsafe(verb(keevx), loop).result()


@cache
def _started(process: int) -> tuple[asyncio.AbstractEventLoop, Keevx]:
    """Start the loop and create the client, once per process: a fork inherits no thread."""
    where = os.environ.get("JOURNAL", "videos.db")  # several processes need one in Redis
    journal = RedisJournal.from_url(where) if where.startswith("redis") else where
    keevx, loop = Keevx(journal=journal), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    atexit.register(close)
    return loop, keevx


def close() -> None:
    """Close this process's client, once; creates in flight get 30 s to receive their responses.

    Python calls it at exit. Celery ends its workers without that: connect it to a signal.
    """
    if _started.cache_info().currsize:
        call(lambda keevx: keevx.close())

"""A FastAPI service built around one client. Requires the ``fastapi`` extra.

::

    service = KeevxService(Keevx(journal="videos.db"), download="videos/")
    app = FastAPI(lifespan=service.lifespan)
    service.install(app)

    @app.post("/videos", status_code=202)
    async def order(video: Annotated[ImageToVideo, Body()], key: Key, keevx: Client) -> ...:
        submission = await keevx.submit(video, key=key)
        service.follow(submission.task_ids)
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from ..client.keevx import Keevx, unfinished_ids
from ..errors import (
    BudgetExceeded,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    JournalError,
    KeevxError,
    NotFoundError,
    RateLimitError,
    ServerError,
    SubmissionUncertain,
)
from ..submission.callbacks import CallbackReceiver
from ..transfer.output_paths import target_path

log = logging.getLogger("keevx_async.contrib")

STATUS: Mapping[type[KeevxError], int] = {
    InvalidRequest: 422,
    NotFoundError: 404,
    ConfigurationError: 503,  # the client was closed: the service is stopping
    BudgetExceeded: 503,  # the service's own limit; nothing was sent
    SubmissionUncertain: 504,  # safe to repeat with the same key: it is never sent twice
    JournalError: 500,
    KeevxError: 502,
}
"""The HTTP status for each error; an unlisted error gets the status of its nearest base class."""


def get_keevx(request: Request) -> Keevx:
    """Return the service's client. This is the dependency behind ``Client``."""
    keevx: Keevx = request.app.state.keevx
    return keevx


Client = Annotated[Keevx, Depends(get_keevx)]
"""Annotate a route parameter with this type to receive the service's client."""


class KeevxService:
    """Runs a client as part of a FastAPI app, and waits for its tasks in the background.

    Args:
        keevx: the client, which is opened and closed with the app. If it has a journal, requests
            may be repeated, and a restart loses nothing.
        callbacks: the client's callback receiver, which ``install`` mounts.
        download: the folder for followed tasks' results; None to wait without downloading.
        ready_path: the path of the readiness probe that ``install`` adds.
    """

    def __init__(
        self,
        keevx: Keevx,
        *,
        callbacks: CallbackReceiver | None = None,
        download: str | Path | None = None,
        ready_path: str = "/ready",
    ) -> None:
        self.keevx = keevx
        self._callbacks = callbacks
        self._folder = None if download is None else Path(download)
        self._ready_path = ready_path
        self._following: dict[str, asyncio.Task[None]] = {}
        self._not_ready = "starting"

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        """Open the client, follow earlier runs' unfinished tasks, and close the client on exit.

        On SIGTERM or SIGINT, no more creates are started, and creates in flight may still receive
        their responses while the server waits for open requests. Set the server's shutdown timeout
        higher than ``RetryPolicy.grace``.

        Raises:
            AuthenticationError: the API key was refused.
            ConfigurationError: the host is not Keevx.
            JournalError: the journal cannot be opened, for example because another worker process
                is using it.
        """
        async with self._opened() as keevx:
            try:
                await keevx.ping()
            except (ConnectionFailed, RateLimitError, ServerError) as error:  # may be temporary
                log.warning("%s", error)
            app.state.keevx = keevx
            resuming = asyncio.create_task(self._resume())
            closing: list[asyncio.Task[None]] = []

            def stop() -> None:
                self._not_ready = "stopping"
                closing.append(asyncio.create_task(keevx.close()))

            self._not_ready = ""
            try:
                with _call_on_stop(stop):
                    yield
            finally:
                self._not_ready = "stopping"
                await keevx.close()  # ends the waits, and with them the followed tasks
                await asyncio.gather(resuming, *closing, *self._following.values())

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Keevx]:
        try:
            await self.keevx.__aenter__()
        except JournalError:
            # The server's traceback follows; this explains its most common cause.
            log.error(
                "cannot open the journal. If another worker process of the service is using it, "
                "run a single worker, or let all workers share a journal in Redis (RedisJournal)"
            )
            raise
        async with self.keevx as keevx:
            yield keevx

    def install(self, app: FastAPI) -> None:
        """Add the error handler, the readiness probe and the callback route to an app."""
        app.add_exception_handler(KeevxError, _answer)
        app.add_api_route(self._ready_path, self._ready, include_in_schema=False)
        if self._callbacks is not None:
            app.mount(urlsplit(self._callbacks.public_url).path, self._callbacks.asgi_app())

    def follow(self, task_ids: Iterable[str]) -> None:
        """Wait for tasks in the background, and download their results as ``TASK_ID.mp4``.

        Following a task again has no effect, and an existing file is left unchanged. Failures are
        logged, and the service tries again when it next starts.
        """
        for task_id in task_ids:
            if task_id not in self._following:
                task = asyncio.get_running_loop().create_task(self._deliver(task_id))
                self._following[task_id] = task
                task.add_done_callback(partial(self._followed, task_id))

    def _followed(self, task_id: str, _: asyncio.Task[None]) -> None:
        del self._following[task_id]

    async def _deliver(self, task_id: str) -> None:
        try:
            task = await self.keevx.wait(task_id)
            if self._folder is None:
                return
            target = target_path(task, f"{self._folder}/")
            if not await asyncio.to_thread(target.exists):  # an existing file is complete
                await self.keevx.download(task, target, overwrite=True)
        except ConfigurationError:
            return  # the service is stopping
        except KeevxError as error:
            log.warning("%s", error, extra={"task_id": task_id})

    async def _resume(self) -> None:
        """Follow earlier runs' tasks, and log creates that are still uncertain."""
        try:
            async for task_ids in unfinished_ids(self.keevx, download=self._folder is not None):
                self.follow(task_ids)
            async for outcome in self.keevx.follow_unfinished():
                self.follow(outcome.task_ids)
                if outcome.uncertain:
                    log.warning("%s", outcome.error, extra={"key": outcome.key})
        except ConfigurationError:
            return  # the service is stopping
        except KeevxError as error:
            log.error("could not resume the tasks of an earlier run: %s", error)

    async def _ready(self) -> JSONResponse:
        state = self._not_ready
        return JSONResponse({"ready": not state, "state": state or "ready"}, 503 if state else 200)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    detail = str(error)
    if isinstance(error, JournalError):  # its message may quote another caller's request
        log.error("%s", error)
        detail = "the journal refused it: was the key already used for another request?"
    return JSONResponse({"error": type(error).__name__, "detail": detail}, code)


@contextmanager
def _call_on_stop(stop: Callable[[], object]) -> Generator[None]:
    """Call ``stop`` as soon as SIGINT or SIGTERM arrives, before uvicorn ends the lifespan."""
    if threading.current_thread() is not threading.main_thread():  # for example in a test client
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        if callable(handler := previous[signal.Signals(number)]):
            handler(number, frame)

    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

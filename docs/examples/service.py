"""A service that makes videos: FastAPI, and one Keevx for the process.

    pip install keevx_async fastapi uvicorn structlog prometheus-client
    pip install opentelemetry-sdk opentelemetry-instrumentation-aiohttp-client
    export KEEVX_API_KEY=… CALLBACK_URL=https://you.example/keevx CALLBACK_SECRET=…
    python service.py

A create is paid. So every order carries an ``Idempotency-Key``, and the journal remembers it. On
SIGTERM, creates in flight still get their answers, and no new one starts.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any
from urllib.parse import urlsplit

import attrs
import uvicorn
from fastapi import APIRouter, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from logs import log_event
from metrics import Metrics
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from tracing import trace_exchanges

from keevx_async import (
    CallbackReceiver,
    ConfigurationError,
    ImageToVideo,
    InvalidRequest,
    Journal,
    JournalError,
    Keevx,
    KeevxError,
    NotFoundError,
    Submission,
    SubmissionUncertain,
)
from keevx_async.events import Event

log = logging.getLogger("videos")
router = APIRouter()

GRACE = 40  # seconds for creates in flight: more than RetryPolicy.grace
STATUS = {
    InvalidRequest: 422,
    NotFoundError: 404,
    ConfigurationError: 503,  # the client was closed: the service is stopping
    SubmissionUncertain: 504,  # repeat it with the same key: it is never sent twice
    JournalError: 500,
    KeevxError: 502,
}


class Studio:
    """The process's one client, and a background download for each task."""

    def __init__(self, keevx: Keevx, background: asyncio.TaskGroup, folder: Path) -> None:
        self.keevx = keevx
        self._background = background
        self._folder = folder
        self._following: set[str] = set()

    async def submit(self, request: ImageToVideo, key: str) -> Submission:
        """Submit one paid create, or return the one that this key already has."""
        submission = await self.keevx.submit(request, key=key)
        self.follow(submission.task_ids)
        return submission

    def follow(self, task_ids: Iterable[str]) -> None:
        """Wait for tasks and download their videos in the background, each once."""
        for task_id in set(task_ids) - self._following:
            self._following.add(task_id)
            self._background.create_task(self._download(task_id))

    async def _download(self, task_id: str) -> None:
        target = self._folder / f"{task_id}.mp4"
        try:
            task = await self.keevx.wait(task_id)
            await self.keevx.download(task, target, overwrite=True)
        except KeevxError as error:
            log.warning("could not download %s: %s", task_id, error)
        finally:
            self._following.discard(task_id)


async def unfinished(journal: Journal) -> AsyncIterator[str]:
    """Yield the tasks of earlier runs that had not ended or were not downloaded."""
    async for entry in journal.entries():
        for task_id in entry.task_ids:
            record = await journal.find_task(task_id)
            if record is None or (record.task.succeeded and record.path is None):
                yield task_id


@contextmanager
def call_on_stop(stop: Callable[[], object]) -> Generator[None]:
    """Call stop as soon as a signal ends the process; uvicorn ends the lifespan only later."""
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


def create_app(keevx: Keevx, journal: Journal, receiver: CallbackReceiver, folder: Path) -> FastAPI:
    """Return the service.

    Args:
        keevx: the client; it is closed when the service stops.
        journal: the client's journal.
        receiver: the client's receiver; its URL's path is served here.
        folder: where the videos are saved.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with journal, keevx, asyncio.TaskGroup() as background:
            app.state.studio = studio = Studio(keevx, background, folder)
            studio.follow([task_id async for task_id in unfinished(journal)])
            with call_on_stop(lambda: background.create_task(keevx.close())):
                yield
            await keevx.close()  # ends the waits, and so the background tasks

    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    app.add_exception_handler(KeevxError, refuse)
    app.mount(urlsplit(receiver.public_url).path, receiver.asgi_app())
    return app


@router.post("/videos", status_code=202)
async def submit(
    request: Request, body: dict[str, Any], idempotency_key: Annotated[str, Header()]
) -> dict[str, Any]:
    """Submit an order; answer as soon as its ids are on disk."""
    studio: Studio = request.app.state.studio
    order = ImageToVideo.from_dict(body)
    if order.local_files():  # a path in a stranger's JSON would upload a file of this machine
        raise HTTPException(422, "images must be URLs")
    submission = await studio.submit(order, idempotency_key)
    return {"key": submission.key, "task_ids": submission.task_ids}


@router.get("/videos/{task_id}")
async def status(request: Request, task_id: str) -> dict[str, Any]:
    """Return a task's status."""
    studio: Studio = request.app.state.studio
    return attrs.asdict(await studio.keevx.status(task_id))


@router.get("/metrics")
async def metrics() -> Response:
    """Serve Prometheus."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of keevx_async; its nearest class in STATUS decides the HTTP status."""
    code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    detail = str(error)
    if isinstance(error, JournalError):  # it may quote someone else's request
        log.error("%s", error)
        detail = "refused by the journal: is the key taken by another request?"
    return JSONResponse({"error": type(error).__name__, "detail": detail}, code)


def main() -> None:
    """Serve, configured by the environment."""
    trace_exchanges()
    count = Metrics(REGISTRY)

    def on_event(event: Event) -> None:
        log_event(event)
        count(event)

    receiver = CallbackReceiver(os.environ["CALLBACK_URL"], secret=os.environ["CALLBACK_SECRET"])
    journal = Journal(os.environ.get("JOURNAL", "videos.db"))
    keevx = Keevx(journal=journal, callbacks=receiver, on_event=on_event)
    app = create_app(keevx, journal, receiver, Path(os.environ.get("VIDEOS", "videos")))
    uvicorn.run(
        app,
        port=int(os.environ.get("PORT", "8000")),
        access_log=False,  # callback URLs are secret
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    main()

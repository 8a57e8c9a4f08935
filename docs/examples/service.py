"""A service that makes videos: FastAPI, and one Keevx for the process.

    pip install keevx_async fastapi uvicorn structlog prometheus-client
    pip install opentelemetry-sdk opentelemetry-instrumentation-aiohttp-client
    export KEEVX_API_KEY=… CALLBACK_URL=https://you.example/keevx CALLBACK_SECRET=…
    python service.py

A create is paid. So whoever asks for one names it (``Idempotency-Key``), the journal remembers
the name, and when the service is told to stop, creates in flight are answered and none begins.
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

GRACE = 40  # seconds for creates in flight: a little more than RetryPolicy.grace
STATUS = {
    InvalidRequest: 422,
    NotFoundError: 404,
    ConfigurationError: 503,  # the client was closed: the service is stopping
    SubmissionUncertain: 504,  # asked again, with the same key: never sent twice
    JournalError: 500,
    KeevxError: 502,
}


class Studio:
    """The process's one client, and what goes on in the background for each submission."""

    def __init__(self, keevx: Keevx, background: asyncio.TaskGroup, folder: Path) -> None:
        self.keevx = keevx
        self._background = background
        self._folder = folder
        self._following: set[str] = set()

    async def submit(self, request: ImageToVideo, key: str) -> Submission:
        """Make one paid create, or find the one that was made under this key."""
        submission = await self.keevx.submit(request, key=key)
        self.follow(submission.task_ids)
        return submission

    def follow(self, task_ids: Iterable[str]) -> None:
        """Have tasks waited for and their videos brought home, each once."""
        for task_id in set(task_ids) - self._following:
            self._following.add(task_id)
            self._background.create_task(self._bring_home(task_id))

    async def _bring_home(self, task_id: str) -> None:
        target = self._folder / f"{task_id}.mp4"
        try:
            task = await self.keevx.wait(task_id)
            await self.keevx.download(task, target, overwrite=True)
        except KeevxError as error:
            log.warning("%s is not at home: %s", task_id, error)
        finally:
            self._following.discard(task_id)


async def unfinished(journal: Journal) -> AsyncIterator[str]:
    """Yield the tasks of earlier runs that had not ended, or whose videos are not at home."""
    async for entry in journal.entries():
        for task_id in entry.task_ids:
            record = await journal.find_task(task_id)
            if record is None or (record.task.succeeded and record.path is None):
                yield task_id


@contextmanager
def told_to_stop(stop: Callable[[], object]) -> Generator[None]:
    """Call stop as soon as the process is told to end; uvicorn tells its lifespan last."""
    loop = asyncio.get_running_loop()
    others = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        if callable(server := others[signal.Signals(number)]):
            server(number, frame)

    for number in others:
        signal.signal(number, told)
    try:
        yield
    finally:
        for number, server in others.items():
            signal.signal(number, server)


def create_app(keevx: Keevx, journal: Journal, receiver: CallbackReceiver, folder: Path) -> FastAPI:
    """Return the service.

    Args:
        keevx: the client; it is closed when the service ends.
        journal: the client's.
        receiver: the client's; its URL's path is served here.
        folder: where the videos go.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with journal, keevx, asyncio.TaskGroup() as background:
            app.state.studio = studio = Studio(keevx, background, folder)
            studio.follow([task_id async for task_id in unfinished(journal)])
            with told_to_stop(lambda: background.create_task(keevx.close())):
                yield
            await keevx.close()  # ends the waits, and so the background

    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    app.add_exception_handler(KeevxError, refuse)
    app.mount(urlsplit(receiver.public_url).path, receiver.asgi_app())
    return app


@router.post("/videos", status_code=202)
async def submit(
    request: Request, body: dict[str, Any], idempotency_key: Annotated[str, Header()]
) -> dict[str, Any]:
    """Submit; answers as soon as the ids are known, and on disk."""
    studio: Studio = request.app.state.studio
    ordered = ImageToVideo.from_dict(body)
    if ordered.local_files():  # a path in a stranger's JSON names a file of this machine's
        raise HTTPException(422, "images are given by URL here")
    submission = await studio.submit(ordered, idempotency_key)
    return {"key": submission.key, "task_ids": submission.task_ids}


@router.get("/videos/{task_id}")
async def status(request: Request, task_id: str) -> dict[str, Any]:
    """Tell how a task stands."""
    studio: Studio = request.app.state.studio
    return attrs.asdict(await studio.keevx.status(task_id))


@router.get("/metrics")
async def figures() -> Response:
    """Tell Prometheus."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer for an error of keevx_async: the nearest of its classes says with which status."""
    code = next(STATUS[one] for one in type(error).__mro__ if one in STATUS)
    detail = str(error)
    if isinstance(error, JournalError):  # it may quote a request of someone else's
        log.error("%s", error)
        detail = "the journal says no; is the key taken by another request?"
    return JSONResponse({"error": type(error).__name__, "detail": detail}, code)


def main() -> None:
    """Serve, as the environment says."""
    trace_exchanges()
    measure = Metrics(REGISTRY)

    def on_event(event: Event) -> None:
        log_event(event)
        measure(event)

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

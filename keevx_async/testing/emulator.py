"""The Emulator, which starts and stops the API and storage servers."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import attrs
from aiohttp import web

from . import api, storage
from .callbacks import Announcer
from .contents import video
from .state import State

_SHUTDOWN = 0.05  # seconds that handlers in flight may take to finish
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to connect, not to bind


@attrs.define(eq=False, repr=False)
class Emulator(State):
    """A Keevx API on real sockets, in this process: ``async with Emulator() as emulator:``.

    Point a client at it with ``Keevx("any-key", base_url=emulator.url)``. A stopped emulator may be
    started again: it keeps its addresses, tasks and counts.

    Args:
        seconds: the median duration of a task, in seconds.
        spread: the sigma of the lognormal distribution of durations; 0 for equal durations.
        host: the address to listen on.
        port: the API's port; 0 for a free port.
        api_key: the only accepted key; None to accept any key.
        seed: the seed for all random choices; equal seeds select the same prompts.
        video_bytes: the size of a video or an image, in bytes. The file is larger if a playable
            file needs more: 6 to 15 kB for a video.
        faults: the faults to inject; may be changed while it runs.
        fail_prompts: the prompts whose tasks end as FAILED: a share from 0 to 1, a callable or a
            container.
        timelines: scripted task statuses, by prompt, which do not depend on the time. Each status
            query moves the task to its next status; the last status is kept.
        replay: a file written by ``keevx run --record``. Creates in that file get the recorded
            responses and ids, and their tasks get the recorded statuses at the same times after the
            create; any other create is refused. Results are the emulator's own clips.
        speed: the speed of a replay relative to the recording; 10 shortens a minute to six seconds.

    Raises:
        OSError, ValueError: the file cannot be read, or is not a recording.

    Attributes:
        recording: the recording read from ``replay``; None if ``replay`` is None.
        creates: the number of paid creates, by prompt.
        tasks: every task, by id.
        requests: the number of requests, by method and path or origin.
        refused: the number of refused requests, by reason.
        polls: the number of status queries, by task id.
        strikes: the number of times each fault struck.
        callbacks: the number of callbacks, by outcome.
        unknown_fields: the number of creates with each field that the kind does not have.
        invalid: the bodies that were refused as invalid, with reasons.
        uploads: every upload, by URL.
        storage_headers: the headers of the requests that reached storage.
        storage_authorizations: any ``Authorization`` headers that reached storage; clients must not
            send them.
    """

    _runners: list[web.AppRunner] = attrs.field(init=False, factory=list[web.AppRunner])
    _announcer: Announcer | None = attrs.field(init=False, default=None)
    _ports: dict[str, int] = attrs.field(init=False, factory=dict[str, int])
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)

    def __repr__(self) -> str:
        return f"<Emulator at {self._origins.get('api')}, {len(self.tasks)} tasks>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start serving. Calling this while the emulator is serving has no effect.

        Raises:
            OSError: the port is in use.
        """
        if self._announcer is not None:
            return
        self._loop = loop = asyncio.get_running_loop()
        # The method is looked up at each call, because tests that freeze time replace it.
        self.clock = lambda: loop.time()
        self.closing = asyncio.Event()
        self._announcer = Announcer(self)
        try:
            await self._serve("api", api.application(self, self._announcer), self.port)
            await self._serve("storage", storage.application(self), 0)
            await self._serve("mirror", storage.application(self, mirror=True), 0)
        except BaseException:  # even if start() is cancelled, no port stays open
            await self.stop()
            raise

    async def _serve(self, name: str, app: web.Application, port: int) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
        self._runners.append(runner)
        await runner.setup()
        # An emulator keeps its ports, so its clients can still reach it after a restart.
        await web.TCPSite(runner, self.host, self._ports.get(name, port)).start()
        host: str
        host, self._ports[name] = runner.addresses[0][:2]
        host = _LOOPBACK.get(host, host)
        netloc = f"[{host}]" if ":" in host else host
        self._origins[name] = f"http://{netloc}:{self._ports[name]}"

    async def stop(self) -> None:
        """Stop serving, and drop open connections and unsent callbacks.

        Calling it again has no effect.

        Raises:
            RuntimeError: the emulator serves on another event loop that is running.
        """
        if self._loop is not asyncio.get_running_loop() and self._loop and self._loop.is_running():
            raise RuntimeError(
                "this emulator is serving on another event loop, as the keevx_emulator fixture "
                "does; to stop an emulator in a test, use `async with Emulator()` there"
            )
        # Taken first, so a second stop() during the first finds nothing to do.
        runners, self._runners = self._runners, []
        announcer, self._announcer = self._announcer, None
        self.closing.set()
        if announcer is not None:
            await announcer.close()
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    def video(self, task_id: str) -> bytes:
        """Return the complete video that storage serves for a task."""
        content = video(self.tasks[task_id], self.video_bytes)
        return b"".join(content.read(0, content.size))

"""The Emulator: starts and stops the servers of the API and its storage."""

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

_SHUTDOWN = 0.05  # s: how long handlers in flight may take to finish
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to connect, not to bind


@attrs.define(eq=False, repr=False)
class Emulator(State):
    """A Keevx API on real sockets, in this process: ``async with Emulator() as emulator:``.

    Point a client at it with ``Keevx("any-key", base_url=emulator.url)``. A stopped emulator may be
    started again: it keeps its addresses, its tasks and its counts.

    Args:
        seconds: the median time that a task takes.
        spread: sigma of the lognormal distribution of those times; 0 for equal times.
        host: the address that it listens on.
        port: the port of the API; 0 for a free one.
        api_key: the only key it accepts, or None to accept any.
        seed: of every random choice; equal seeds choose the same prompts.
        video_bytes: the size of a video or an image, which plays or opens; more where that
            takes more, 6 to 15 kB for a video.
        faults: what goes wrong; may be changed while it runs.
        fail_prompts: the prompts whose tasks end FAILED: a share from 0 to 1, a callable or a
            container.
        timelines: by prompt, the statuses of its tasks, whatever the time: each answer with a
            status moves a task on to the next, and the last stays.
        replay: a file of ``keevx run --record``. The creates in it get the answers and the ids that
            they got then, and their tasks the same statuses at the same times after the create;
            any other create is refused. Results are clips of the emulator's own.
        speed: how many times faster than recorded; 10 makes a minute six seconds.

    Raises:
        OSError, ValueError: the file cannot be read, or is not a recording.

    Attributes:
        recording: what ``replay`` names; None without.
        creates: paid creates by prompt.
        tasks: every task by its id.
        requests: requests by method and path, or origin.
        refused: refused requests by reason.
        polls: status queries by task id.
        strikes: how often each fault struck.
        callbacks: callbacks by what became of them.
        unknown_fields: fields of creates that the kind does not have.
        invalid: bodies that were refused as invalid, and why.
        uploads: uploads by URL.
        storage_headers: headers of the requests that reached storage.
        storage_authorizations: those among them that must not be there.
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
        """Start serving. Does nothing if it already serves.

        Raises:
            OSError: the port is taken.
        """
        if self._announcer is not None:
            return
        self._loop = loop = asyncio.get_running_loop()
        # The method is looked up at each call, because a test that freezes time replaces it.
        self.clock = lambda: loop.time()
        self.closing = asyncio.Event()
        self._announcer = Announcer(self)
        try:
            await self._serve("api", api.application(self, self._announcer), self.port)
            await self._serve("storage", storage.application(self), 0)
            await self._serve("mirror", storage.application(self, mirror=True), 0)
        except BaseException:  # also when start() is cancelled: no port stays open
            await self.stop()
            raise

    async def _serve(self, name: str, app: web.Application, port: int) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
        self._runners.append(runner)
        await runner.setup()
        # A started emulator keeps its ports, so that a restart is the same server to its clients.
        await web.TCPSite(runner, self.host, self._ports.get(name, port)).start()
        host: str
        host, self._ports[name] = runner.addresses[0][:2]
        host = _LOOPBACK.get(host, host)
        netloc = f"[{host}]" if ":" in host else host
        self._origins[name] = f"http://{netloc}:{self._ports[name]}"

    async def stop(self) -> None:
        """Stop serving: drop open connections and callbacks that were not sent.

        Does nothing if it already stopped.


        Raises:
            RuntimeError: it serves on another event loop that is running.
        """
        if self._loop is not asyncio.get_running_loop() and self._loop and self._loop.is_running():
            raise RuntimeError(
                "this emulator serves on another event loop, as the fixture keevx_emulator's does; "
                "to stop one in a test, use `async with Emulator()` there"
            )
        # Taken first, so that a second stop() during the first finds nothing to do.
        runners, self._runners = self._runners, []
        announcer, self._announcer = self._announcer, None
        self.closing.set()
        if announcer is not None:
            await announcer.close()
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    def video(self, task_id: str) -> bytes:
        """Return the whole video that storage serves for a task."""
        content = video(self.tasks[task_id], self.video_bytes)
        return b"".join(content.read(0, content.size))

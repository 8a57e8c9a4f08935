"""`Emulator`: the in-process Keevx API's life, from its ports to its end."""

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

_SHUTDOWN = 0.05  # seconds that handlers get to end of themselves
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to knock, not to bind


@attrs.define(eq=False, repr=False)
class Emulator(State):
    """A Keevx API on real sockets, in this process.

    `seconds` is a task's median time to its end and `spread` the sigma of their lognormal;
    `fail_prompts` tells which prompts end FAILED (a share, a callable or a container);
    `api_key` None takes any key; `port` 0 takes a free one; `video_bytes` is a video's size.
    A stopped emulator may be started again: same addresses, same books.
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
        """Begin to serve; nothing happens when it does already."""
        if self._announcer is not None:
            return
        self._loop = loop = asyncio.get_running_loop()
        # Looked up at each call: whoever freezes time for a test replaces the loop's method.
        self.clock = lambda: loop.time()
        self.closing = asyncio.Event()
        self._announcer = Announcer(self)
        try:
            await self._serve("api", api.application(self, self._announcer), self.port)
            await self._serve("storage", storage.application(self), 0)
            await self._serve("mirror", storage.application(self, mirror=True), 0)
        except BaseException:
            await self.stop()
            raise

    async def _serve(self, name: str, app: web.Application, port: int) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, self.host, self._ports.get(name, port)).start()
        host: str
        host, self._ports[name] = runner.addresses[0][:2]
        host = _ANY.get(host, host)
        written = f"[{host}]" if ":" in host else host
        self._origins[name] = f"http://{written}:{self._ports[name]}"

    async def stop(self) -> None:
        """Stop serving: drops silent connections, forgets callbacks; may be called again.

        Raises:
            RuntimeError: it serves on another event loop.
        """
        if self._loop is not asyncio.get_running_loop() and self._loop and self._loop.is_running():
            raise RuntimeError(
                "this emulator serves on another event loop, as the fixture keevx_emulator's does; "
                "to stop one in a test, use `async with Emulator()` there"
            )
        runners, self._runners = self._runners, []
        announcer, self._announcer = self._announcer, None
        self.closing.set()
        if announcer is not None:
            await announcer.close()
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    def video(self, task_id: str) -> bytes:
        """The whole video that storage serves for a task."""
        return b"".join(video(task_id, self.video_bytes).read(0, self.video_bytes))

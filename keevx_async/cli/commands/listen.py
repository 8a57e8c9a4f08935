"""``keevx listen``: takes callbacks, and tells what Keevx says of each task."""

from __future__ import annotations

import asyncio
import json as json_module
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import attrs
from cyclopts import Parameter
from rich.console import Console

from keevx_async.client.keevx import Keevx
from keevx_async.errors import ConfigurationError, NotFoundError
from keevx_async.models.tasks import Task
from keevx_async.submission.callbacks import CallbackReceiver

from ..output.printer import Place, task_line

SECRET = "KEEVX_CALLBACK_SECRET"  # noqa: S105 - the variable's name
REMEMBERED = 10_000
"""Tasks told of, so that none is twice; the oldest are forgotten."""
PAUSES = (1.0, 4.0)
"""Seconds before Keevx is asked again about a task that its callback ended and it did not."""
LOCAL = "127.0.0.1"

PublicUrl = Annotated[
    str, Parameter(help=f"Where Keevx reaches it, from outside. The secret is ${SECRET}.")
]


async def listen(
    *,
    public_url: PublicUrl,
    host: Annotated[str, Parameter(help="Address to listen at.")] = LOCAL,
    port: Annotated[int, Parameter(help="Port to listen at.")] = 8080,
    journal: Annotated[
        Place | None, Parameter(help="A journal; the ids of its uncertain creates are filled in.")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Tell each task as a JSON object.")] = False,
) -> None:
    """Take callbacks until Ctrl-C, and tell of each task that has ended, as Keevx confirms it."""
    receiver = receiver_of(public_url)
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    async with Keevx(journal=journal, callbacks=receiver) as keevx:
        receiver.attach(Teller(keevx, console, json))
        async with receiver.serving(host, port) as (where, number):
            Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
                f"keevx: listening at {where}:{number} for {receiver.public_url}; Ctrl-C ends it"
            )
            await asyncio.Event().wait()


@asynccontextmanager
async def serve_callbacks(
    public_url: str | None, at: str
) -> AsyncGenerator[CallbackReceiver | None]:
    """Serve a receiver while the block runs; none where there is no public URL.

    Args:
        public_url: where Keevx reaches it.
        at: HOST:PORT to listen at.
    """
    if public_url is None:
        yield None
        return
    host, _, port = at.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ConfigurationError(f"--listen {at!r} is not of the form HOST:PORT")
    receiver = receiver_of(public_url)
    async with receiver.serving(host.strip("[]"), int(port)):
        yield receiver


def receiver_of(public_url: str) -> CallbackReceiver:
    """Return a receiver with the secret of the environment.

    Raises:
        ConfigurationError: there is none, or it is too short.
    """
    try:
        return CallbackReceiver(public_url, secret=os.environ.get(SECRET, ""))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; the secret is read from {SECRET}") from None


class Teller:
    """Prints each task once, when Keevx confirms that it has ended.

    Args:
        keevx: asked about it.
        console: where to.
        as_json: whether as JSON.
    """

    def __init__(self, keevx: Keevx, console: Console, as_json: bool) -> None:
        self._keevx = keevx
        self._console = console
        self._as_json = as_json
        self._told: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, key: str, task_id: str) -> None:
        """Take one genuine callback."""
        if task_id in self._told:
            return
        self._told[task_id] = None
        task = None
        try:
            task = await self._ended(task_id)
        finally:
            if task is None:
                self._told.pop(task_id, None)  # it may be told again
        if task is not None:
            self._console.print(_json(key, task) if self._as_json else task_line(task))
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    async def _ended(self, task_id: str) -> Task | None:
        for pause in (*PAUSES, None):
            try:
                task = await self._keevx.status(task_id)
            except NotFoundError:
                return None
            if task.done or pause is None:
                return task if task.done else None
            await asyncio.sleep(pause)
        return None


def _json(key: str, task: Task) -> str:
    return json_module.dumps({"key": key, **attrs.asdict(task)})

"""``keevx listen``: receives callbacks, and prints each task once Keevx confirms that it ended."""

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
from keevx_async.submission.callbacks import CallbackReceiver

from ..options import FLAG, PathOption
from ..output.console import print_error
from ..output.printer import task_line

SECRET = "KEEVX_CALLBACK_SECRET"  # noqa: S105 - the variable's name
MAX_REMEMBERED = 10_000
"""The maximum number of printed tasks to remember, so that no task is printed twice. Beyond it, the
oldest tasks are forgotten."""
RETRY_DELAYS = (1.0, 4.0)
"""Seconds to wait before each new poll if the status does not confirm the callback yet."""


async def listen(
    *,
    public_url: Annotated[
        str,
        Parameter(
            help=f"URL at which Keevx reaches this machine. The secret is read from {SECRET}."
        ),
    ],
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on.")] = 8080,
    journal: Annotated[
        PathOption | None,
        Parameter(help="Journal; its uncertain creates get the task ids that callbacks report."),
    ] = None,
    json: Annotated[bool, FLAG, Parameter(help="Print each task as a JSON object.")] = False,
) -> None:
    """Receive callbacks until Ctrl-C, and print each task once Keevx confirms that it ended.

    Callbacks with a wrong signature, or for a task that Keevx does not know, are ignored, so
    nobody else can make this command print anything.

    Raises:
        ConfigurationError: the URL, the secret or the address cannot be used.
    """
    receiver = make_receiver(public_url)
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    async with Keevx(journal=journal, callbacks=receiver) as keevx:
        receiver.attach(TaskPrinter(keevx, console, json))
        async with receiver.serving(host, port) as (bound_host, bound_port):
            print_error(
                f"listening on {bound_host}:{bound_port} for {receiver.public_url}; "
                "press Ctrl-C to stop"
            )
            await asyncio.Event().wait()


@asynccontextmanager
async def serve_callbacks(
    public_url: str | None, address: str
) -> AsyncGenerator[CallbackReceiver | None]:
    """Serve a receiver while the block runs; without a public URL, yield None.

    Args:
        public_url: the URL at which Keevx reaches the receiver.
        address: the HOST:PORT to listen on.

    Raises:
        ConfigurationError: the URL, the secret or the address cannot be used.
    """
    if public_url is None:
        yield None
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ConfigurationError(f"--listen must be HOST:PORT (got {address!r})")
    receiver = make_receiver(public_url)
    async with receiver.serving(host.strip("[]"), int(port)):
        yield receiver


def make_receiver(public_url: str) -> CallbackReceiver:
    """Return a callback receiver that uses the secret from the environment.

    Raises:
        ConfigurationError: the secret is missing or too short, or the URL is invalid.
    """
    try:
        return CallbackReceiver(public_url, secret=os.environ.get(SECRET, ""))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; the secret is read from {SECRET}") from None


class TaskPrinter:
    """Prints each task once, when Keevx confirms that it has ended.

    Args:
        keevx: the client that queries Keevx.
        console: prints the tasks.
        as_json: whether to print JSON.
    """

    def __init__(self, keevx: Keevx, console: Console, as_json: bool) -> None:
        self._keevx = keevx
        self._console = console
        self._as_json = as_json
        self._printed: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, key: str, task_id: str) -> None:
        """Handle a callback whose signature was verified.

        Further callbacks for the same task have no effect, whether they arrive during or after the
        first callback. If the task's end could not be confirmed, its next callback is handled.

        Args:
            key: the key of the task's create.
            task_id: the task id in the callback.
        """
        # 1. A task is remembered before it is queried, since another callback may arrive meanwhile.
        # 2. A callback may arrive seconds before the status changes, so the query is repeated.
        # 3. If the status does not confirm the end, or the query fails, the task is forgotten, and
        #    its next callback is handled as if it were the first.
        if task_id in self._printed:
            return
        self._printed[task_id] = None
        task = None
        try:
            for delay in (0.0, *RETRY_DELAYS):
                await asyncio.sleep(delay)
                status = await self._keevx.status(task_id)
                if status.done:
                    task = status
                    break
        except NotFoundError:
            return
        finally:
            if task is None:
                self._printed.pop(task_id, None)
        if task is not None:
            text = json_module.dumps({"key": key, **attrs.asdict(task)})
            self._console.print(text if self._as_json else task_line(task))
        if len(self._printed) > MAX_REMEMBERED:
            self._printed.popitem(last=False)

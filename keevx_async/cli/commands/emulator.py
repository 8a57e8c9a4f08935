"""``keevx emulator``: a local Keevx API for rehearsing other commands."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from attrs import frozen
from cyclopts import Group, Parameter
from cyclopts.validators import Number
from rich.live import Live
from rich.text import Text

from keevx_async.errors import ConfigurationError
from keevx_async.testing import Emulator, Faults

from ..options import Json, PathOption, check_seconds
from ..output.console import ERRORS, OK, print_error
from ..output.printer import Printer
from ..signals import passing_signals_to

SUCCEEDED, FAILED = "SUCCEEDED", "FAILED"
API_KEY = "emulator"
"""The emulator accepts any key."""
DEFAULT_PORT = 8484
"""The default port. It is fixed, so that a journal, which belongs to one host, can be reused."""
REFRESH_INTERVAL = 0.5
"""Seconds between updates of the counts on a terminal."""

_Share = Number(gte=0, lte=1)


@Parameter(name="*", group=Group("Faults", sort_key=1))
@frozen(kw_only=True)
class FaultOptions:
    """The options for the faults that the emulator injects."""

    fail: Annotated[
        float,
        Parameter(help="Share of prompts whose task fails, 0 to 1: exit code 1.", validator=_Share),
    ] = 0.0
    lose: Annotated[
        float,
        Parameter(
            help="Share of prompts whose task is made but whose response is lost: exit code 3.",
            validator=_Share,
        ),
    ] = 0.0
    refuse: Annotated[
        float,
        Parameter(
            help="Share of prompts whose first create is refused as busy, then retried.",
            validator=_Share,
        ),
    ] = 0.0
    limit_rate: Annotated[
        float | None,
        Parameter(help="Creates accepted per second; any more get a 429.", validator=Number(gt=0)),
    ] = None
    no_funds_after: Annotated[
        int | None,
        Parameter(
            help="Creates accepted before the account is empty: exit code 4.",
            validator=Number(gte=0),
        ),
    ] = None

    def to_faults(self) -> Faults:
        """Return the emulator's faults, without ``fail``, which is passed separately."""
        return Faults(
            drop_after_create=self.lose,
            refuse=self.refuse,
            rate=self.limit_rate,
            no_funds_after=self.no_funds_after,
        )


async def emulator(
    *command: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="After --: a command to run against the emulator. The emulator then stops and "
            "exits with the command's exit code.",
        ),
    ],
    seconds: Annotated[
        float,
        Parameter(help="Median number of seconds until a task ends.", validator=check_seconds),
    ] = 2.0,
    spread: Annotated[
        float,
        Parameter(
            help="How much durations vary: sigma of their lognormal distribution.",
            validator=check_seconds,
        ),
    ] = 0.3,
    port: Annotated[
        int | None,
        Parameter(
            help=f"Port to listen on; {DEFAULT_PORT} by default, 0 for a free one.",
            validator=Number(gte=0, lte=65535),
        ),
    ] = None,
    replay: Annotated[
        PathOption | None,
        Parameter(
            help="Respond as recorded in this file by keevx run --record, with the same ids and "
            "statuses. Requests that are not in it are refused."
        ),
    ] = None,
    speed: Annotated[
        float,
        Parameter(
            help="With --replay: how many times faster than recorded.", validator=Number(gt=0)
        ),
    ] = 1.0,
    faults: FaultOptions = FaultOptions(),
    json: Json = False,
) -> int:
    """Serve an emulated Keevx API on this machine: no key, no network.

    With a command, run the command and stop: ``keevx emulator -- keevx run prompts.txt``. Without a
    command, serve until Ctrl-C, and print the environment variables that make other commands use
    the emulator, as shell commands or as a JSON object.

    Raises:
        ConfigurationError: the port cannot be used, the command does not exist, or the file is not
            a recording.
    """
    try:
        server = Emulator(
            seconds,
            spread=spread,
            fail_prompts=faults.fail,
            port=DEFAULT_PORT if port is None else port,
            faults=faults.to_faults(),
            replay=replay,
            speed=speed,
        )
    except OSError as error:
        raise ConfigurationError(f"cannot read {replay}: {error.strerror or error}") from None
    except ValueError as error:  # an invalid line, which the message names
        raise ConfigurationError(str(error)) from None
    async with _started(server, may_move=bool(command) and port is None):
        variables = {"KEEVX_BASE_URL": server.url, "KEEVX_API_KEY": API_KEY}
        if command:
            code = await _run(command, variables)
            print_error(f"the emulator stopped: {describe_counts(server)}")
            return code
        exports = (f"export {name}={value}" for name, value in variables.items())
        Printer(json).print(variables, *exports)
        print_error("the emulator runs until Ctrl-C; paste the lines above into another terminal")
        await _show_counts(server)
    return OK


@asynccontextmanager
async def _started(server: Emulator, *, may_move: bool) -> AsyncGenerator[None]:
    """Serve while the block runs.

    Args:
        server: the emulator, with its port set.
        may_move: whether to use a free port if the emulator's port is taken. A command gets the new
            address from us, but a person may have pasted the old address yesterday.
    """
    try:
        await server.start()
    except OSError as error:
        if not (may_move and error.errno == errno.EADDRINUSE):
            reason = f"cannot listen on port {server.port}: {error.strerror or error}"
            raise ConfigurationError(f"{reason}; choose another --port") from None
        server.port = 0
        await server.start()
    try:
        yield
    finally:
        await server.stop()


async def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run a command with the variables set; return its exit code, or 128 + N if signal N ended it.

    Signals are passed on to the command, which then ends when it is ready.

    Raises:
        ConfigurationError: the command cannot be started.
    """
    # keevx means this program, even if its folder is not on the PATH.
    own = [sys.executable, "-m", __name__.rpartition(".commands.")[0]]
    words = [*own, *command[1:]] if command[0] == "keevx" else list(command)
    if shutil.which(words[0]) is None:
        raise ConfigurationError(f"{command[0]}: no such command")
    process = await asyncio.create_subprocess_exec(*words, env={**os.environ, **variables})
    with passing_signals_to(process.send_signal):
        code = await process.wait()
    return code if code >= 0 else 128 - code


async def _show_counts(server: Emulator) -> None:
    """Show the counts on the last line of a terminal; otherwise print them once, at the end."""
    if not ERRORS.is_interactive:
        try:
            await asyncio.Event().wait()
        finally:
            print_error(f"the emulator stopped: {describe_counts(server)}")
    with Live(console=ERRORS, auto_refresh=False, redirect_stdout=False) as live:
        while True:
            text = Text(describe_counts(server), overflow="ellipsis", no_wrap=True)
            live.update(text, refresh=True)
            await asyncio.sleep(REFRESH_INTERVAL)


def describe_counts(server: Emulator) -> str:
    """Return a one-line summary of an emulator's activity so far."""
    tasks = server.tasks.values()
    refused, lost = server.refused, server.strikes["drop_after_create"]
    counts = [f"{_number(len(tasks), 'task')} made"]
    counts.append(f"{sum(task.status in (SUCCEEDED, FAILED) for task in tasks):,} ended")
    optional = {
        f"{_number(lost, 'response')} lost": lost,
        f"{refused['fault']:,} refused": refused["fault"],
        f"{refused['rate']:,} rate limited": refused["rate"],
        f"{refused['funds']:,} without funds": refused["funds"],
        f"{refused['unrecorded']:,} not in the recording": refused["unrecorded"],
        f"{_number(len(server.uploads), 'upload')}": len(server.uploads),
    }
    return ", ".join([*counts, *(text for text, count in optional.items() if count)])


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

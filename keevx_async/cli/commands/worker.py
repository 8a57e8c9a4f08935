"""``keevx worker``, and the fleet that other commands name with ``--docket``."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from keevx_async.errors import ConfigurationError, JournalError

from ..options import Fleet, OnExisting
from ..output.console import INTERRUPTED, masked, print_error
from ..output.report import Report
from ..signals import stoppable

if TYPE_CHECKING:
    from keevx_async.docket import KeevxDocket
    from keevx_async.docket.producer import Producer

EXTRA_MODULES = ("docket", "redis")
PROGRESS_INTERVAL = 1.0
"""Seconds between two queries of the fleet's progress."""

RedisUrl = Annotated[
    str,
    Parameter(help="Redis or Valkey URL that the fleet shares, such as redis://localhost:6379/0."),
]


async def worker(
    *,
    docket: RedisUrl,
    fleet: Fleet = "keevx",
    rate: Annotated[
        float | None,
        Parameter(help="Fleet-wide creates per second; defaults to the rate other workers set."),
    ] = None,
    concurrency: Annotated[
        int, Parameter(help="Maximum number of creates in flight in this worker.")
    ] = 64,
    on_uncertain: Annotated[
        OnExisting,
        Parameter(help="What to do with creates whose worker died; they may have been paid."),
    ] = "report",
) -> int:
    """Work for a fleet until Ctrl-C: submit its requests and poll its tasks.

    The first signal stops it once its creates are answered, the second at once. Either way the
    fleet's journal has everything that is known.
    """
    with require_docket():
        from keevx_async.docket import KeevxWorker, WorkerSettings
    # Docket is an extra, so it is imported only where a fleet is used.
    settings = WorkerSettings(rate=rate, concurrency=concurrency, on_uncertain=on_uncertain)

    async def work() -> int:
        async with open_docket(docket, fleet) as queue, KeevxWorker(queue, settings) as running:
            print_error(f"working for {fleet}; press Ctrl-C to stop once its creates are answered")
            await running.run_forever()
        return INTERRUPTED  # run_forever ends only when it is cancelled

    def on_signal(times: int) -> None:
        first = "stopping: creates in flight are answered first"
        print_error(first if times == 1 else "ending at once")

    return await stoppable(work(), on_signal)


def fleet_arguments(url: str, fleet: str) -> str:
    """Return the arguments that name a fleet's journal on a command line.

    The password in the URL is masked.
    """
    return shlex.join(["--docket", masked(url), "--fleet", fleet])


@asynccontextmanager
async def open_docket(url: str, fleet: str) -> AsyncGenerator[KeevxDocket]:
    """Open a fleet's docket for the duration of the block.

    Raises:
        ConfigurationError: the extra is missing, or Redis cannot be used.
    """
    with require_docket():
        from keevx_async.docket import KeevxDocket
    async with KeevxDocket(fleet, url) as queue:
        yield queue


@asynccontextmanager
async def producer_for(url: str, fleet: str, report: Report) -> AsyncGenerator[Producer]:
    """Open a client whose creates a fleet sends, and keep the report's view of the fleet current.

    Raises:
        ConfigurationError: the extra is missing, or Redis cannot be used.
    """
    with require_docket():
        from keevx_async.docket.producer import Producer
    async with open_docket(url, fleet) as queue, Producer(queue, on_event=report.on_event) as keevx:
        watching = asyncio.create_task(watch_progress(queue, report))
        try:
            yield keevx
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def watch_progress(docket: KeevxDocket, report: Report) -> None:
    """Put the fleet's progress into a report every second, until cancelled.

    Errors of Redis are ignored here; those who wait for a result get them.
    """
    while True:
        with suppress(JournalError):
            counts = await docket.progress()
            report.counters.fleet = ", ".join(
                f"{count:,} {name}" for name, count in counts.items() if count
            )
        await asyncio.sleep(PROGRESS_INTERVAL)


@contextmanager
def require_docket() -> Generator[None]:
    """Import what a fleet needs in the block.

    Raises:
        ConfigurationError: its extra is not installed; the message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_MODULES:
            raise
        raise ConfigurationError(
            "a fleet needs an extra; pip install 'keevx_async[cli,docket]'"
        ) from None

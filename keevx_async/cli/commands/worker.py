"""``keevx worker``, and what ``keevx run --docket`` needs: many machines, one key, one limit."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from keevx_async.errors import ConfigurationError, JournalError

from ..output.console import masked
from ..output.printer import print_error
from ..output.report import INTERRUPTED, Report
from ..signals import stoppable

if TYPE_CHECKING:
    from keevx_async.docket import KeevxDocket
    from keevx_async.docket.producer import Producer

NEEDS = ("docket", "redis", "throttled")
LEAVING = "keevx: stopping; the fleet goes on with what was added"
BEAT = 1.0
"""Seconds between two looks at how far the fleet is."""

Url = Annotated[
    str, Parameter(help="Redis or Valkey that the fleet shares, such as redis://localhost:6379/0.")
]
Fleet = Annotated[str, Parameter(help="Name of the fleet, where one Redis serves several.")]


async def worker(
    *,
    docket: Url,
    fleet: Fleet = "keevx",
    rate: Annotated[
        float | None,
        Parameter(help="Creates per second of the whole fleet; by default as its others do."),
    ] = None,
    concurrency: Annotated[int, Parameter(help="Creates under way at a time in this worker.")] = 64,
    on_uncertain: Annotated[
        Literal["report", "resubmit"],
        Parameter(help="What to do with creates whose worker died: they may have been paid."),
    ] = "report",
) -> int:
    """Work for a fleet until Ctrl-C: make its creates, and ask about its tasks."""
    with require_docket():
        from keevx_async.docket import KeevxWorker, WorkerSettings
    settings = WorkerSettings(rate=rate, concurrency=concurrency, on_uncertain=on_uncertain)

    async def work() -> int:
        async with queue(docket, fleet) as asked, KeevxWorker(asked, settings) as one:
            print_error(f"working for {fleet}; Ctrl-C stops it once its creates are answered")
            await one.run_forever()
        return INTERRUPTED

    return await stoppable(work(), _tell)


def _tell(times: int) -> None:
    print_error(
        "stopping: creates in flight are answered first" if times == 1 else "ending at once"
    )


def named(url: str, fleet: str) -> str:
    """Return the words that name a fleet's journal on a command line."""
    return shlex.join(["--docket", masked(url), "--fleet", fleet])


@asynccontextmanager
async def queue(url: str, fleet: str) -> AsyncGenerator[KeevxDocket]:
    """Open a fleet's docket."""
    with require_docket():
        from keevx_async.docket import KeevxDocket
    async with KeevxDocket(fleet, url) as opened:
        yield opened


@asynccontextmanager
async def producer_for(url: str, fleet: str, report: Report) -> AsyncGenerator[Producer]:
    """Open a client whose creates a fleet makes, and tell how far the fleet is."""
    with require_docket():
        from keevx_async.docket.producer import Producer
    async with queue(url, fleet) as asked, Producer(asked, on_event=report.on_event) as keevx:
        watching = asyncio.create_task(_watch(asked, report))
        try:
            yield keevx
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def _watch(asked: KeevxDocket, report: Report) -> None:
    while True:
        with suppress(JournalError):  # whoever waits for a result is told
            counts = await asked.progress()
            report.tally.fleet = ", ".join(
                f"{count:,} {name}" for name, count in counts.items() if count
            )
        await asyncio.sleep(BEAT)


@contextmanager
def require_docket() -> Generator[None]:
    """Say which extra is missing, where importing it fails.

    Raises:
        ConfigurationError: it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in NEEDS:
            raise
        raise ConfigurationError(
            "a fleet needs its extra: pip install 'keevx_async[cli,docket]'"
        ) from None

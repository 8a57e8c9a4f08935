"""``keevx worker``, and access to a fleet for other commands with ``--docket``."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from keevx_async.errors import ConfigurationError, JournalError
from keevx_async.settings import DEFAULT_FUSE, RetryPolicy

from ..limits import BudgetOptions
from ..options import Fleet, OnExisting, RunFuse
from ..output.console import INTERRUPTED, OK, masked, print_error
from ..output.logs import OURS, LogFormat, configure_logs
from ..output.report import Report
from ..signals import stoppable

if TYPE_CHECKING:
    from keevx_async.docket import KeevxDocket
    from keevx_async.docket.producer import Producer
    from keevx_async.journal.protocol import JournalProtocol

EXTRA_MODULES = ("docket", "redis")
PROGRESS_INTERVAL = 1.0
"""Seconds between queries of the fleet's progress."""
NO_WORKER = 2.0
"""Seconds before the lack of a worker is reported; a worker needs a moment to start."""

RedisUrl = Annotated[
    str,
    Parameter(
        help="Redis or Valkey URL that the fleet shares, such as redis://localhost:6379/0; the "
        "password can be set in KEEVX_REDIS_PASSWORD."
    ),
]


async def worker(
    *,
    docket: RedisUrl,
    fleet: Fleet = "keevx",
    limits: BudgetOptions = BudgetOptions(),  # noqa: B008 - frozen
    rate: Annotated[
        float | None,
        Parameter(help="Fleet-wide creates per second; defaults to the rate other workers set."),
    ] = None,
    concurrency: Annotated[
        int, Parameter(help="Maximum number of creates in flight in this worker.")
    ] = 64,
    on_uncertain: Annotated[
        OnExisting,
        Parameter(help="What to do with creates whose worker died; they may have been charged."),
    ] = "report",
    fuse: RunFuse = DEFAULT_FUSE,
    metrics_port: Annotated[
        int | None,
        Parameter(help="Port on which to serve Prometheus metrics for Docket and the fleet."),
    ] = None,
    health_port: Annotated[
        int | None, Parameter(help="Port on which to respond to health checks (GET).")
    ] = None,
    log_format: Annotated[
        LogFormat, Parameter(help="Log as text for people, or as one JSON object per line.")
    ] = "text",
) -> int:
    """Work for a fleet until Ctrl-C: submit its requests and poll its tasks.

    The first signal stops the worker once its creates have a response; the second stops the worker
    immediately. Either way, the fleet's journal has everything that is known. After a single
    SIGTERM the exit code is 0. The worker also stops if its API key is refused, the account has no
    funds, or too many creates in a row are refused for the same reason; no job is lost.
    """
    with require_docket():
        from keevx_async.docket import KeevxWorker, WorkerSettings
        from keevx_async.docket.monitor import servers
    # Docket is an extra, so it is imported only if a fleet is used.
    settings = WorkerSettings(
        rate=rate,
        concurrency=concurrency,
        on_uncertain=on_uncertain,
        retry=RetryPolicy(fuse=fuse),
        budget=limits.budget(),
    )

    def announce(message: str) -> None:
        # A program that reads JSON gets every line as JSON.
        if log_format == "json":
            logging.getLogger(OURS).info("%s", message)
        else:
            print_error(message)

    name = f"{socket.gethostname()}#{os.getpid()}"  # as Docket names a worker

    async def work() -> int:
        configure_logs(log_format, name)
        with servers(metrics_port, health_port):
            return await serve()

    async def serve() -> int:
        async with (
            open_docket(docket, fleet) as queue,
            KeevxWorker(queue, settings, name=name) as running,
        ):
            announce(f"working for {fleet}; press Ctrl-C to stop once its creates have a response")
            await running.run_forever()
        return INTERRUPTED  # run_forever ends only when it is cancelled

    def on_signal(times: int) -> None:
        first = "stopping once the creates in flight have a response"
        announce(first if times == 1 else "ending now")

    return await stoppable(work(), on_signal, terminated=OK)


def fleet_arguments(url: str, fleet: str) -> str:
    """Return the command-line arguments that name a fleet's journal.

    The password in the URL is masked.
    """
    return shlex.join(["--docket", masked(url), "--fleet", fleet])


@asynccontextmanager
async def open_docket(url: str, fleet: str) -> AsyncGenerator[KeevxDocket]:
    """Open a fleet's docket for the duration of the block.

    Raises:
        ConfigurationError: the docket extra is not installed, or Redis cannot be used.
    """
    with require_docket():
        from keevx_async.docket import KeevxDocket
    async with KeevxDocket(fleet, url) as queue:
        yield queue


def adopting_journal(url: str, fleet: str) -> JournalProtocol:
    """Return a fleet's journal, to be handed over to the client that opens it.

    Raises:
        ConfigurationError: the docket extra is not installed.
    """
    with require_docket():
        from keevx_async.docket import RedisJournal
    return RedisJournal.from_url(url, fleet, adopt=True)


@asynccontextmanager
async def producer_for(url: str, fleet: str, report: Report) -> AsyncGenerator[Producer]:
    """Open a client that passes creates to a fleet, and update the report with fleet progress.

    Raises:
        ConfigurationError: the docket extra is not installed, or Redis cannot be used.
    """
    with require_docket():
        from keevx_async.docket.producer import Producer
    async with open_docket(url, fleet) as queue, Producer(queue, on_event=report.on_event) as keevx:
        watching = asyncio.create_task(watch_progress(queue, url, report))
        try:
            yield keevx
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def watch_progress(docket: KeevxDocket, url: str, report: Report) -> None:
    """Update a report with the fleet's progress every second, until cancelled.

    If the fleet has work but no worker, a message is printed once, and again only after a worker
    ran or the work was done. Redis errors are ignored here, and raised where a result is
    awaited.
    """
    loop, reported = asyncio.get_running_loop(), False
    alive_at = loop.time()
    while True:
        with suppress(JournalError):
            counts = await docket.progress()
            report.counters.fleet = ", ".join(
                f"{count:,} {name}" for name, count in counts.items() if count
            )
            if await docket.has_workers() or not counts["planned"] + counts["sending"]:
                alive_at, reported = loop.time(), False
            elif not reported and loop.time() - alive_at >= NO_WORKER:
                reported = True
                print_error(
                    f"no worker of fleet {docket.name} is running, so nothing is being made; "
                    "start one:",
                    f"keevx worker {fleet_arguments(url, docket.name)}",
                )
        await asyncio.sleep(PROGRESS_INTERVAL)


@contextmanager
def require_docket() -> Generator[None]:
    """Raise a helpful error if the block imports a fleet dependency that is not installed.

    Raises:
        ConfigurationError: the docket extra is not installed; the message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_MODULES:
            raise
        raise ConfigurationError(
            "a fleet needs the docket extra; pip install 'keevx_async[cli,docket]'"
        ) from None

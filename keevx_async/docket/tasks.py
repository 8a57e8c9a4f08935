"""The tasks of the fleet, as Docket runs them.

A project that runs Docket already registers them on a docket of its own, whose name ends alike:
``docket.register_collection("keevx_async.docket:create_tasks")`` on ``films-create``.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from docket import CurrentExecution, Execution, Perpetual, Retry, Shared
from docket.dependencies import AdmissionBlocked

from ..errors import (
    APIError,
    AuthenticationError,
    ConnectionFailed,
    InvalidRequest,
    RateLimitError,
    ServerError,
    SubmissionUncertain,
)
from ..journal.protocol import Entry, State
from .client import UnreadableRecord, WorkerClient, worker_client
from .rate_limit import Stopping

log = logging.getLogger("keevx_async.docket")

TRANSIENT = (ConnectionFailed, RateLimitError, ServerError)
"""Errors after which it is certain that nothing was paid, and which may pass."""
RETRY_DELAY, MAX_RETRY_DELAY = timedelta(seconds=10), timedelta(hours=2)
"""Until a create is tried again that failed for longer than the retry policy retries; each delay
is twice the one before."""
TRIES = 20
"""Tries of a create before it ends as failed; with these delays they take about a day."""
KEEP_POLLING = timedelta(seconds=10)
"""Between two runs of ``keep_polling``."""


async def create(
    key: str,
    client: WorkerClient = Shared(worker_client),
    retry: Retry = Retry(TRIES, RETRY_DELAY),
    execution: Execution = CurrentExecution(),
) -> None:
    """Submit one create, and schedule the first poll of each of its tasks.

    Args:
        key: under which the journal has it.
        client: this worker's client.
        retry: repeats what cost nothing and may pass, up to TRIES times.
        execution: returned to the docket if it has not begun and this worker stops.
    """
    entry = await client.journal.find(key)
    if entry is None:
        log.error("%s is not in the fleet's journal; it is skipped", key)
        return
    # 1. Nothing was paid, and it may pass: Docket tries again, later each time. After the last
    #    try it ends as failed: whoever waits for it gets the error, and it may be added again.
    # 2. The worker stops before the create began: it goes back to the docket.
    # 3. The key is refused: so it would be for each create. It goes back, and the worker stops.
    # 4. The record cannot be read: no try would change that, so it ends as failed.
    # 5. The journal has recorded the failure, or still has the create as planned. Only in the
    #    second case nobody would take it up again, and Docket tries again.
    try:
        task_ids = await client.submit_entry(entry)
    except Stopping:
        raise AdmissionBlocked(execution, "a worker that is stopping") from None
    except AuthenticationError as error:
        client.stop.call(error)
        raise AdmissionBlocked(execution, "a worker whose API key is refused") from None
    except UnreadableRecord as error:
        await client.give_up(entry, str(error))
        return
    except (APIError, InvalidRequest, SubmissionUncertain) as error:
        current = await client.journal.find(key)
        if not isinstance(error, TRANSIENT) and current and current.state is not State.PLANNED:
            log.warning("%s: %s", key, error)
            return
        await _try_later(client, entry, retry, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not be tried for ever
        await _try_later(client, entry, retry, error)
    else:
        await client.schedule_polls(entry, task_ids)


async def _try_later(client: WorkerClient, entry: Entry, retry: Retry, error: Exception) -> None:
    """Raise the error, so that Docket tries again; end the create after its last try."""
    if retry.attempts is not None and retry.attempt >= retry.attempts:
        await client.give_up(entry, f"failed {retry.attempt} times, the last time with: {error}")
        return
    retry.delay = min(retry.delay * 2 ** (retry.attempt - 1), MAX_RETRY_DELAY)
    raise error


async def keep_polling(
    client: WorkerClient = Shared(worker_client),
    perpetual: Perpetual = Perpetual(every=KEEP_POLLING, automatic=True),
) -> None:
    """Have a worker of Docket's own poll, also where there are no creates.

    Whoever has run a task polls from then on; this is the task that is always there.

    Args:
        client: this worker's client, which polls in the background.
        perpetual: runs it again.
    """


create_tasks = [create, keep_polling]

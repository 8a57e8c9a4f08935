"""The fleet's tasks, as run by Docket.

A project that already runs Docket registers these tasks on a docket whose name ends with
``-create``, such as ``films-create``:
``docket.register_collection("keevx_async.docket:create_tasks")``.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from docket import CurrentExecution, Execution, Perpetual, Retry, Shared
from docket.dependencies import AdmissionBlocked

from ..errors import (
    APIError,
    BudgetExceeded,
    ConnectionFailed,
    InvalidRequest,
    RateLimitError,
    ServerError,
    SubmissionUncertain,
)
from ..journal.protocol import State
from .client import UnreadableRecord, WorkerClient, worker_client

log = logging.getLogger("keevx_async.docket")

BUDGET_DELAY = timedelta(seconds=30)
"""The delay before a create that did not fit in the budget is tried again. By then, another create
may have been refused, or the workers may have been restarted with a larger budget."""
TRANSIENT = (ConnectionFailed, RateLimitError, ServerError)
"""Temporary errors after which it is certain that nothing was charged."""
RECORDED = (APIError, InvalidRequest, SubmissionUncertain)
"""Errors that end a create and that the journal has recorded, except those in TRANSIENT."""
RETRY_DELAY, MAX_RETRY_DELAY = timedelta(seconds=10), timedelta(hours=2)
"""The delay before a create is tried again after the retry policy has given up. The delay doubles
each time, up to the maximum."""
TRIES = 20
"""The number of tries before a create fails for good, which takes about a day."""
KEEP_POLLING = timedelta(seconds=10)
"""The interval between runs of ``keep_polling``."""


async def create(
    key: str,
    client: WorkerClient = Shared(worker_client),
    retry: Retry = Retry(TRIES, RETRY_DELAY),
    execution: Execution = CurrentExecution(),
) -> None:
    """Submit one create and schedule the first poll for each of its tasks.

    Args:
        key: the create's key in the journal.
        client: this worker's client.
        retry: repeats a create that failed without a charge, up to TRIES times.
        execution: the running job, which goes back to the docket if this worker stops before the
            create starts.
    """
    # 1. The create does not fit in the budget: it waits in the docket.
    # 2. The record cannot be read: another try would not help, so the create fails for good.
    # 3. The journal has recorded the failure: the create has ended.
    # 4. The worker is stopping, for example because its key, its account or too many creates were
    #    refused: a create that is still planned goes back to the docket, and to another worker.
    # 5. Any other error cost nothing or is unknown: Docket tries again, after a longer delay each
    #    time. After the last try the create fails for good: its waiters get the error, and it may
    #    be added again.
    # Cases 1 and 4 do not count as tries.
    try:
        entry = await client.claim(key)
        if entry is None:
            log.error("%s is not in the fleet's journal; skipping it", key)
            return
        task_ids = await client.submit_entry(entry)
    except BudgetExceeded:
        reason = "a budget that is used up"
        raise AdmissionBlocked(execution, reason, retry_delay=BUDGET_DELAY) from None
    except UnreadableRecord as error:
        await client.give_up(key, str(error))
    except Exception as error:  # noqa: BLE001 - no error may be retried forever
        if isinstance(error, RECORDED) and not isinstance(error, TRANSIENT):
            current = await client.journal.find(key)
            if current is not None and current.state is not State.PLANNED:
                log.warning("%s: %s", key, error)
                return
        if client.stop.event.is_set():
            raise AdmissionBlocked(execution, "a worker that is stopping") from None
        await _try_later(client, key, retry, error)
    else:
        await client.schedule_polls(entry, task_ids)


async def _try_later(client: WorkerClient, key: str, retry: Retry, error: Exception) -> None:
    """Raise the error to make Docket try again or, after the last try, end the create."""
    if retry.attempts is not None and retry.attempt >= retry.attempts:
        await client.give_up(key, f"failed {retry.attempt} times, the last time with: {error}")
        return
    retry.delay = min(retry.delay * 2 ** (retry.attempt - 1), MAX_RETRY_DELAY)
    raise error


async def keep_polling(
    client: WorkerClient = Shared(worker_client),
    perpetual: Perpetual = Perpetual(every=KEEP_POLLING, automatic=True),
) -> None:
    """Make Docket's own workers poll, even if there are no creates.

    A worker starts polling when it runs its first task, and this task always exists.

    Args:
        client: this worker's client, which polls in the background.
        perpetual: repeats this task.
    """


create_tasks = [create, keep_polling]

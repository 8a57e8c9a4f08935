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
"""Until a create is tried again that did not fit in the budget. Another may make nothing meanwhile,
or the workers may be started with a larger one."""
TRANSIENT = (ConnectionFailed, RateLimitError, ServerError)
"""Errors after which it is certain that nothing was paid, and which may pass."""
RECORDED = (APIError, InvalidRequest, SubmissionUncertain)
"""Errors that the journal has recorded as a create's end, unless they are transient."""
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
    # 1. It does not fit in the budget, which says nothing about it: it waits in the docket.
    # 2. The record cannot be read: no try would change that, so it ends as failed.
    # 3. The journal has recorded the failure: that is its end.
    # 4. The worker stops, be it that its key, its account or too many creates were refused: what
    #    the journal still has as planned goes back to the docket, and to another worker.
    # 5. Anything else cost nothing, or is not known: Docket tries again, later each time. After
    #    the last try the create ends as failed: whoever waits for it gets the error, and it may
    #    be added again.
    # The first and the fourth cost none of its tries.
    try:
        entry = await client.claim(key)
        if entry is None:
            log.error("%s is not in the fleet's journal; it is skipped", key)
            return
        task_ids = await client.submit_entry(entry)
    except BudgetExceeded:
        reason = "a budget that is used up"
        raise AdmissionBlocked(execution, reason, retry_delay=BUDGET_DELAY) from None
    except UnreadableRecord as error:
        await client.give_up(key, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not be tried for ever
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
    """Raise the error, so that Docket tries again; end the create after its last try."""
    if retry.attempts is not None and retry.attempt >= retry.attempts:
        await client.give_up(key, f"failed {retry.attempt} times, the last time with: {error}")
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

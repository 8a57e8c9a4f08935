"""The two tasks of the fleet, as Docket runs them.

A project that runs Docket already registers them on dockets of its own, whose names end alike:
``docket.register_collection("keevx_async.docket:create_tasks")`` on ``films-create``, and
``poll_tasks`` on ``films-poll``.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from attrs import astuple
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
from .client import PollState, WorkerClient, worker_client
from .rate_limit import Stopping

log = logging.getLogger("keevx_async.docket")

TRANSIENT = (BudgetExceeded, ConnectionFailed, RateLimitError, ServerError)
"""Errors after which it is certain that nothing was paid, and which may pass: a budget, too, may be
raised, and a create under way may make nothing."""
RETRY_DELAY = timedelta(seconds=10)
"""Until a create is tried again that failed for longer than the retry policy retries."""
DELAY_AFTER_ERROR = timedelta(seconds=30)
"""Until a task is polled again whose poll raised an unexpected error."""


async def create(
    key: str,
    client: WorkerClient = Shared(worker_client),
    retry: Retry = Retry.forever(RETRY_DELAY),
    execution: Execution = CurrentExecution(),
) -> None:
    """Submit one create, and schedule the first poll of each of its tasks.

    Args:
        key: under which the journal has it.
        client: this worker's client.
        retry: repeats what cost nothing and may pass.
        execution: returned to the docket if it has not begun and this worker stops.
    """
    entry = await client.journal.find(key)
    if entry is None:
        log.error("%s is not in the fleet's journal; it is skipped", key)
        return
    # 1. Nothing was paid, and it may pass: Docket tries again.
    # 2. The worker stops before the create began: it goes back to the docket.
    # 3. The journal has recorded the failure, or still has the create as planned, as after a
    #    refused key or without funds. Only in the second case nobody would take it up again, and
    #    Docket tries again.
    try:
        task_ids = await client.submit_entry(entry)
    except TRANSIENT:
        raise
    except Stopping:
        raise AdmissionBlocked(execution, "a worker that is stopping") from None
    except (APIError, InvalidRequest, SubmissionUncertain) as error:
        current = await client.journal.find(key)
        if current is None or current.state is State.PLANNED:
            raise
        log.warning("%s: %s", key, error)
        return
    async for state, due in client.initial_polls(entry, task_ids):
        # One that is scheduled already stays as it is.
        await client.polls.add(poll, when=due, key=state.task_id)(*astuple(state))


async def poll(
    task_id: str,
    kind: str,
    group: str,
    created_at: float,
    seen_at: float,
    status: str = "",
    resultless_since: float = 0.0,
    client: WorkerClient = Shared(worker_client),
    perpetual: Perpetual = Perpetual(DELAY_AFTER_ERROR),
) -> None:
    """Poll one task, and schedule the next poll until it has ended.

    Its state comes as plain values and not as a ``PollState``: that would be pickled by the name
    of its class, and a docket may outlive a version of this package.

    Args:
        task_id: as for ``PollState``.
        kind: as for ``PollState``.
        group: as for ``PollState``.
        created_at: as for ``PollState``.
        seen_at: as for ``PollState``.
        status: as for ``PollState``.
        resultless_since: as for ``PollState``.
        client: this worker's client.
        perpetual: schedules the next poll.
    """
    state = PollState(task_id, kind, group, created_at, seen_at, status, resultless_since)
    following = await client.poll_once(state)
    if following is None:
        perpetual.cancel()
        return
    state, wait = following
    perpetual.perpetuate(*astuple(state))
    perpetual.after(timedelta(seconds=wait))


create_tasks = [create]
poll_tasks = [poll]

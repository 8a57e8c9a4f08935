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
    AuthenticationError,
    ConnectionFailed,
    InvalidRequest,
    RateLimitError,
    ServerError,
    SubmissionUncertain,
)
from ..journal.protocol import State
from .client import PollState, WorkerClient, worker_client
from .rate_limit import Stopping

log = logging.getLogger("keevx_async")

PASSING = (ConnectionFailed, RateLimitError, ServerError)
AGAIN = timedelta(seconds=10)
"""Until a create is tried again that could not be made for longer than the retry policy tries."""

AFTER_A_FAULT = timedelta(seconds=30)
"""Until a task is asked about again where asking itself failed in a way that nobody foresaw."""


async def create(
    key: str,
    member: WorkerClient = Shared(worker_client),
    retry: Retry = Retry.forever(AGAIN),
    execution: Execution = CurrentExecution(),
) -> None:
    """Make one create, and see to it that its tasks are asked about.

    Args:
        key: under which the journal holds it.
        member: this worker's client.
        retry: of what cost nothing and may pass.
        execution: given back to the docket where it has not begun and this worker stops.
    """
    entry = await member.journal.find_entry(key)
    if entry is None:
        log.error("%s is not in the fleet's journal; it is left alone", key)
        return
    try:
        task_ids = await member.make(entry)
    except PASSING:
        raise
    except Stopping:
        raise AdmissionBlocked(execution, "a worker that stops") from None
    except AuthenticationError as error:
        member.stop.call(error)  # each job would meet the same
        raise
    except (APIError, InvalidRequest, SubmissionUncertain) as error:
        known = await member.journal.find_entry(key)
        if known is None or known.state is State.PLANNED:
            raise  # no one would take it up again
        log.warning("%s: %s", key, error)  # the journal has it
        return
    async for watched, when in member.initial_polls(
        entry, task_ids
    ):  # those that are scheduled stay so
        await member.polls.add(poll, when=when, key=watched.task_id)(*astuple(watched))


async def poll(
    task_id: str,
    kind: str,
    group: str,
    born: float,
    seen: float,
    status: str = "",
    resultless: float = 0.0,
    member: WorkerClient = Shared(worker_client),
    again: Perpetual = Perpetual(AFTER_A_FAULT),
) -> None:
    """Ask about one task, and again later until it has ended.

    Args:
        task_id: whom it is about. What is known of it comes as plain values, not as the
            ``Watched`` that they make: that would be pickled by the name of its class.
        kind: as of ``Watched``.
        group: likewise.
        born: likewise.
        seen: likewise.
        status: likewise.
        resultless: likewise.
        member: this worker's client.
        again: schedules the next time.
    """
    ahead = await member.poll_once(PollState(task_id, kind, group, born, seen, status, resultless))
    if ahead is None:
        again.cancel()
        return
    watched, wait = ahead
    again.perpetuate(*astuple(watched))
    again.after(timedelta(seconds=wait))


create_tasks = [create]
poll_tasks = [poll]

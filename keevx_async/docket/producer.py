"""A client that leaves its creates to a fleet, but downloads the results itself."""

from __future__ import annotations

from typing import Any, cast

from ..client.fanout import FanOut, FollowUp, Job
from ..client.jobs import Jobs, KeyOf
from ..client.keevx import Keevx, Requests
from ..client.slot import Slot
from ..errors import NotStarted, WaitTimeout
from ..models.outcomes import Outcome, R
from ..settings import DEFAULT_CONCURRENCY
from ..transfer.output_paths import Destination, OutputNames
from .queue import KeevxDocket


class Producer(Keevx):
    """Adds requests to a fleet and downloads the results to this machine.

    Args:
        docket: the fleet's docket, which must be open.
        settings: the arguments of ``Keevx``, except ``journal``: the fleet's journal is used.
    """

    def __init__(self, docket: KeevxDocket, **settings: Any) -> None:
        super().__init__(journal=docket.journal, **settings)
        self._docket = docket

    def generate_many(
        self,
        requests: Requests[R],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        download: Destination | None = None,
        key: KeyOf[R] | None = None,
    ) -> FanOut[R]:
        """Have the fleet make many creates, and download their results.

        See ``Keevx.generate_many`` for the arguments and outcomes. If this call is interrupted, the
        fleet keeps working; to continue, call this again with the same requests.

        If the fleet stops because it has no funds, its budget is used up or its creates are
        refused, existing results are still delivered. Each remaining request gets the error
        ``NotStarted``, and its create stays in the fleet's docket.
        """
        names = None if download is None else OutputNames.of(download)

        def job_of(jobs: Jobs) -> Job:
            async def add(outcome: Outcome[Any], slot: Slot) -> FollowUp:
                async def finish(outcome: Outcome[Any]) -> None:
                    try:
                        record = await self._docket.wait_until_done(outcome.key)
                    except NotStarted as error:
                        # Later requests are still added: some may have been made already, and
                        # adding costs nothing.
                        slot.stop(cast(Exception, error.__cause__), lambda: True)
                        raise
                    outcome.task_ids = record.entry.task_ids
                    await jobs.finish(outcome, names)

                request: Any = outcome.request
                outcome.key = await self._docket.add(request, key=key(request) if key else None)
                outcome.error = WaitTimeout(())  # kept if the wait is interrupted
                return finish

            return add

        return self._fan_out(requests, job_of, concurrency, names)

"""A client that leaves its creates to the fleet, and waits and downloads on its own."""

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
    """Adds requests to a fleet, and downloads the results to this machine.

    Args:
        docket: the fleet's docket, already open.
        settings: as for ``Keevx``, without the journal: it uses the fleet's journal.
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
        """Have the fleet make many creates, and download their results; as for ``Keevx``.

        If it is cut short the fleet goes on; the same call with the same requests continues it. If
        the fleet stops, without funds, over its budget or because its creates are refused, what
        was made is still delivered; the rest is ``NotStarted`` and stays in the fleet.
        """
        names = None if download is None else OutputNames.of(download)

        def job_of(jobs: Jobs) -> Job:
            async def add(outcome: Outcome[Any], slot: Slot) -> FollowUp:
                async def finish(outcome: Outcome[Any]) -> None:
                    try:
                        record = await self._docket.wait_until_done(outcome.key)
                    except NotStarted as error:
                        # The rest is still added: some of it may have been made, and adding costs
                        # nothing.
                        slot.stop(cast(Exception, error.__cause__), lambda: True)
                        raise
                    outcome.task_ids = record.entry.task_ids
                    await jobs.finish(outcome, names)

                request: Any = outcome.request
                outcome.key = await self._docket.add(request, key=key(request) if key else None)
                outcome.error = WaitTimeout(())  # holds if the wait is cut short
                return finish

            return add

        return self._fan_out(requests, job_of, concurrency, names)

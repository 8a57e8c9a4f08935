"""A client whose creates the fleet makes; waiting and bringing home are its own."""

from __future__ import annotations

from typing import Any

from ..client.fanout import FanOut, FollowUp, Job
from ..client.jobs import Jobs, KeyOf
from ..client.keevx import Keevx, Requests
from ..errors import WaitTimeout
from ..models.outcomes import Outcome, R
from ..settings import DEFAULT_CONCURRENCY
from ..transfer.paths import Destination, OutputNames
from .queue import KeevxDocket


class Producer(Keevx):
    """Feeds a fleet, and brings its results to where the feeder is.

    Args:
        docket: the fleet's; open.
        settings: as of ``Keevx``, but for the journal, which is the fleet's.
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
        """Have the fleet make many creates, and bring the results home; as of ``Keevx``."""
        names = None if download is None else OutputNames(download)

        def work_of(jobs: Jobs) -> Job:
            return _produced(self._docket, jobs, names, key)

        return self._fan_out(requests, work_of, concurrency)


def _produced(
    docket: KeevxDocket, jobs: Jobs, names: OutputNames | None, key: KeyOf[Any] | None
) -> Job:
    """Return work that adds a request, and goes on as a client does once the fleet is done."""

    async def follow(outcome: Outcome[Any]) -> None:
        outcome.task_ids = (await docket.end_of(outcome.key)).entry.task_ids
        await jobs.finish(outcome, names)

    async def work(outcome: Outcome[Any], _: object) -> FollowUp:
        request = outcome.request
        outcome.key = await docket.add(request, key=key(request) if key else None)
        outcome.error = WaitTimeout(())  # holds if the wait is cut short: the fleet goes on
        return follow

    return work

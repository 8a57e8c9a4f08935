"""After a restart, follow_unfinished takes up what the journal knows, and submits nothing."""

from pathlib import Path

import pytest

from keevx_async import SubmissionUncertain
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of, some_requests


async def test_what_was_submitted_is_waited_for_and_downloaded_once(
    emulator: Emulator, tmp_path: Path
) -> None:
    journal, videos = tmp_path / "run.db", tmp_path / "videos"
    async with keevx_of(emulator, journal=journal) as keevx:
        await keevx.submit_many(some_requests(5), key=lambda request: request.prompt)
        await keevx.generate_many([a_request("whole")], download=videos)
    async with keevx_of(emulator, journal=journal) as keevx:
        fan = await keevx.follow_unfinished(download=videos)
        again = await keevx.follow_unfinished(download=videos)
    assert {outcome.key for outcome in fan.outcomes} == {f"prompt {n}" for n in range(5)}
    assert {outcome.request.prompt for outcome in fan.outcomes} == {
        f"prompt {number}" for number in range(5)
    }
    assert all(outcome.ok and outcome.paths for outcome in fan.outcomes)
    assert len(list(videos.iterdir())) == 6
    assert not again.outcomes
    assert emulator.creates.total() == 6


async def test_what_is_in_doubt_is_reported_and_not_sent(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.drop_after_create = 1.0
    async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request(), key="order-1")
    async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
        (outcome,) = (await keevx.follow_unfinished()).outcomes
    assert outcome.uncertain
    assert outcome.key == "order-1"
    assert emulator.creates.total() == 1


async def test_without_a_journal_there_is_nothing_to_follow(emulator: Emulator) -> None:
    async with keevx_of(emulator) as keevx:
        await keevx.submit(a_request())
        assert not (await keevx.follow_unfinished()).outcomes

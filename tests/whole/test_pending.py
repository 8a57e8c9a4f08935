"""submit(timeout=) and generate(timeout=, download=), over real sockets and with a real journal."""

import asyncio
from pathlib import Path

import pytest

from keevx_async import (
    ConfigurationError,
    Journal,
    SubmissionPending,
    SubmissionUncertain,
    WaitTimeout,
)
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator
from tests.support.cli import PNG
from tests.support.client import a_request, keevx_of

CREATE = "POST /v1/image_to_video"
JOURNALED = pytest.mark.parametrize("journaled", [False, True])


async def states(path: Path) -> list[tuple[str, State, int]]:
    async with Journal(path) as journal:
        return [(entry.key, entry.state, len(entry.task_ids)) async for entry in journal.entries()]


@JOURNALED
async def test_the_call_ends_and_the_create_does_not(tmp_path: Path, journaled: bool) -> None:
    path = tmp_path / "run.db" if journaled else None
    async with Emulator(0.01) as emulator:
        emulator.faults.latency = 0.5
        async with keevx_of(emulator, journal=path) as keevx:
            with pytest.raises(SubmissionPending) as raised:
                await keevx.submit(a_request(), timeout=0.05)
            key = raised.value.key
            joined = await asyncio.gather(*(keevx.submit(a_request(), key=key) for _ in range(3)))
            assert {each.task_ids for each in joined} == {tuple(emulator.tasks)}
            again = await keevx.submit(a_request(), key=key, timeout=5)
            assert again.task_ids == joined[0].task_ids
        assert emulator.requests[CREATE] == 1
    if path is not None:
        assert await states(path) == [(key, State.SUBMITTED, 1)]


async def test_the_close_waits_for_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Emulator(0.01) as emulator:
        emulator.faults.latency = 0.5
        async with keevx_of(emulator, journal=path) as keevx:
            with pytest.raises(SubmissionPending):
                await keevx.submit(a_request(), key="k", timeout=0.05)
        assert await states(path) == [("k", State.SUBMITTED, 1)]
        # The next run has the ids from the journal.
        async with keevx_of(emulator, journal=path) as keevx:
            assert (await keevx.submit(a_request(), key="k")).task_ids == tuple(emulator.tasks)
        assert emulator.requests[CREATE] == 1


@JOURNALED
async def test_an_answer_that_never_comes_leaves_it_uncertain(
    tmp_path: Path, journaled: bool
) -> None:
    path = tmp_path / "run.db" if journaled else None
    async with Emulator(0.01) as emulator:
        emulator.faults.silent_after_create = 1.0
        async with keevx_of(emulator, journal=path, timeout=0.4) as keevx:
            with pytest.raises(SubmissionPending):
                await keevx.submit(a_request(), key="k", timeout=0.05)
            for _ in range(2):
                with pytest.raises(SubmissionUncertain) as raised:
                    await keevx.submit(a_request(), key="k")
                assert not isinstance(raised.value, SubmissionPending)
        assert emulator.requests[CREATE] == 1


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan"), True])
async def test_a_timeout_that_cannot_be_is_refused(timeout: object) -> None:
    async with Emulator(0.01) as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(ConfigurationError, match="timeout"):
            await keevx.submit(a_request(), timeout=timeout)  # type: ignore[arg-type]
        assert emulator.requests[CREATE] == 0


async def test_generate_downloads(tmp_path: Path) -> None:
    async with Emulator(0.01) as emulator, keevx_of(emulator) as keevx:
        (task,) = await keevx.generate(a_request(), key="k", timeout=60, download=tmp_path / "v")
        assert (tmp_path / "v" / f"{task.task_id}.mp4").stat().st_size == 20_000
        # The same key again: nothing is made, and the ids are those of before.
        emulator.faults.latency = 0.3
        with pytest.raises(SubmissionPending):
            await keevx.generate(a_request("a cat"), key="c", timeout=0.05)
        (task,) = await keevx.generate(a_request("a cat"), key="c")
        assert emulator.creates["a cat"] == 1


async def test_generate_ends_in_time_whatever_it_does() -> None:
    async with Emulator(3600) as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(WaitTimeout) as raised:
            await keevx.generate(a_request(), timeout=0.2)
        assert raised.value.pending == tuple(emulator.tasks)
        assert emulator.requests[CREATE] == 1


async def test_a_create_of_a_local_file_is_joined_by_its_bytes(tmp_path: Path) -> None:
    image, twin = tmp_path / "start.png", tmp_path / "twin.png"
    for path in (image, twin):
        path.write_bytes(PNG)
    async with Emulator(0.01) as emulator, keevx_of(emulator) as keevx:
        emulator.faults.latency = 0.3
        first = asyncio.create_task(keevx.submit(a_request(image_url=image), key="k"))
        with pytest.raises(SubmissionPending):
            await keevx.submit(a_request(image_url=image), key="k", timeout=0.1)
        joined = await keevx.submit(a_request(image_url=twin), key="k")
        assert joined.task_ids == (await first).task_ids
        assert emulator.requests[CREATE] == 1

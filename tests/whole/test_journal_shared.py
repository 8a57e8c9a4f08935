"""Clients of one process that name the same file share its journal, and nothing is made twice."""

import asyncio
import os
from pathlib import Path

import pytest

from keevx_async import Budget, BudgetExceeded, Journal, JournalError, Keevx, NotStarted
from keevx_async.testing import Emulator, Faults
from keevx_async.testing.threads import serving
from tests.support.client import a_request, keevx_of, some_requests
from tests.support.journal import entry_of, writing


def once(count: int) -> dict[str, int]:
    return {f"prompt {number}": 1 for number in range(count)}


async def test_a_cell_that_is_run_twice_pays_once(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        clients: list[Keevx] = []
        ids: list[list[str]] = []
        for _ in range(3):  # nobody closes the client before
            keevx = keevx_of(emulator, journal=tmp_path / "run.db")
            clients.append(keevx)
            ids.append((await keevx.submit_many(some_requests(5))).task_ids)
        assert ids[0] == ids[1] == ids[2]
        assert emulator.creates == once(5)
        for keevx in clients:
            await keevx.close()


async def test_both_at_the_same_time_pay_once(tmp_path: Path) -> None:
    async with Emulator(faults=Faults(latency=0.02)) as emulator:
        first, second = (keevx_of(emulator, journal=tmp_path / "run.db") for _ in range(2))
        async with first, second:
            requests = some_requests(20)
            done = await asyncio.gather(
                first.submit_many(requests, concurrency=8),
                second.submit_many(requests, concurrency=8),
            )
        assert done[0].task_ids == done[1].task_ids
        assert len(set(done[0].task_ids)) == 20
        assert emulator.creates == once(20)


async def test_equal_requests_of_one_client_are_different_creates(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        first, second = (keevx_of(emulator, journal=tmp_path / "run.db") for _ in range(2))
        async with first, second:
            request = a_request("twice")
            mine = [await first.submit(request) for _ in range(2)]
            theirs = [await second.submit(request) for _ in range(3)]
            mine.append(await first.submit(request))
        assert [one.task_ids for one in mine] == [one.task_ids for one in theirs]
        assert [one.reused for one in mine] == [False, False, True]
        assert [one.reused for one in theirs] == [True, True, False]
        assert emulator.creates == {"twice": 3}


async def test_whatever_path_leads_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.db"
    monkeypatch.chdir(tmp_path)
    async with Emulator() as emulator, keevx_of(emulator, journal=path) as keevx:
        submission = await keevx.submit(a_request("one"))
        (tmp_path / "link.db").symlink_to(path)
        os.link(path, tmp_path / "hard.db")
        (tmp_path / "folder").symlink_to(tmp_path)
        for other in ("run.db", "./link.db", "hard.db", tmp_path / "folder" / "run.db"):
            async with keevx_of(emulator, journal=other) as again:
                found = await again.submit(a_request("one"))
                assert found.reused
                assert found.task_ids == submission.task_ids
        assert emulator.creates == {"one": 1}


def has_log(path: Path) -> bool:
    return Path(f"{path}-wal").exists()


async def test_the_last_one_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator:
        first, second = (keevx_of(emulator, journal=path) for _ in range(2))
        async with first:
            async with second:
                await second.submit(a_request("one"))
            await first.submit(a_request("two"))
            assert has_log(path)
        assert not has_log(path)


async def test_a_key_is_waited_for_across_clients(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        first, second = (keevx_of(emulator, journal=tmp_path / "run.db") for _ in range(2))
        async with first, second:
            both = await asyncio.gather(
                *(one.submit(a_request("one"), key="order") for one in (first, second))
            )
        assert both[0].task_ids == both[1].task_ids
        assert emulator.creates == {"one": 1}


async def test_two_threads_at_once_get_a_clear_answer(tmp_path: Path) -> None:
    await asyncio.to_thread(in_threads, tmp_path / "run.db")


def in_threads(path: Path) -> None:
    async def use(url: str) -> str:
        try:
            async with Keevx("test-key", base_url=url, journal=path) as keevx:
                return (await keevx.submit(a_request("one"))).task_ids[0]
        except JournalError as error:
            return str(error)

    with serving(Emulator()) as emulator:

        async def outer() -> tuple[str, str]:
            async with Keevx("test-key", base_url=emulator.url, journal=path):
                said = await asyncio.to_thread(lambda: asyncio.run(use(emulator.url)))
            return said, await use(emulator.url)

        said, task_id = asyncio.run(outer())
        assert f"{path} is in use on another event loop that is still running" in said
        # In turn, each on a loop of its own, they go on.
        assert asyncio.run(use(emulator.url)) == task_id
        assert emulator.creates == {"one": 1}


async def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with Emulator() as emulator, keevx_of(emulator, journal=path) as keevx:
        await keevx.submit_many(some_requests(3))
        async with Journal(path) as reading:
            assert reading.is_live
            assert len([entry async for entry in reading.entries()]) == 3
            await keevx.submit(a_request("later"))
            assert len([entry async for entry in reading.entries()]) == 4


async def test_reading_takes_no_lock_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    async with writing(path) as journal:
        await journal.mark_sending("k", "image_to_video", b"{}")
        await journal.mark_uncertain("k", "lost")
    before = path.read_bytes()
    async with Journal(path) as reading:
        assert [entry.key async for entry in reading.entries()] == ["k"]
        async with writing(path) as journal:
            await journal.set_note("a", "b")
        assert await reading.get_note("a") == "b"
        assert before != path.read_bytes()
        await reading.settle("k", ["i2v-1"])  # a change takes it
        assert reading.is_live
    async with Journal(path) as reading:
        entry = await entry_of(reading)
        assert entry.task_ids == ("i2v-1",)


async def test_clients_that_name_the_same_file_share_its_budget(tmp_path: Path) -> None:
    path, link = tmp_path / "run.db", tmp_path / "link.db"
    link.symlink_to(path)
    async with Emulator(faults=Faults(latency=0.02)) as emulator:
        first = keevx_of(emulator, journal=path, budget=Budget(videos=5))
        second = keevx_of(emulator, journal=Journal(link), budget=Budget(videos=5))
        async with first, second:
            done = await asyncio.gather(
                first.submit_many([a_request(f"first {n}") for n in range(4)], concurrency=4),
                second.submit_many([a_request(f"second {n}") for n in range(4)], concurrency=4),
            )
        assert len(emulator.tasks) == 5
        errors = [error for fan in done for error in fan.errors]
        assert {type(error) for error in errors} <= {BudgetExceeded, NotStarted}
        assert len(errors) == 3

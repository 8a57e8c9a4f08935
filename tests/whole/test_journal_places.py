"""Forks, threads, event loops that are gone, and a close that is cancelled on its way."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from docket import Docket

from keevx_async import ConfigurationError, Journal, JournalError, Keevx, KeevxError
from keevx_async.docket import RedisJournal
from keevx_async.journal.lock import Lock
from keevx_async.journal.null import NullJournal
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator
from keevx_async.testing.threads import serving
from tests.support.client import a_request, keevx_of, some_requests
from tests.support.journal import kept_in
from tests.support.journal import writing as opened_for_writing

KIND, BODY = "image_to_video", b'{"prompt":"one"}'
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is Unix's")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def in_a_child(work: Callable[[], str]) -> str:
    """Fork, and return what the child says."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: that is what is tried here
        child = os.fork()
    if child == 0:
        asyncio._set_running_loop(None)
        try:
            said = work()
        except BaseException as error:  # noqa: BLE001 - the child must not go on as the tests
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def within(seconds: float, step: Callable[[], Awaitable[object]]) -> str:
    async def bounded() -> object:
        async with asyncio.timeout(seconds):
            return await step()

    return f"{asyncio.run(bounded())!r}"


@FORK
async def test_a_forked_child_gets_an_error_and_the_parent_continues(path: Path) -> None:
    async with Emulator() as emulator, keevx_of(emulator, journal=path) as keevx:
        await keevx.submit(a_request("before"))
        said = in_a_child(lambda: within(5, lambda: keevx.submit(a_request("of the child"))))
        assert said.startswith("JournalError: this journal was opened before a fork")
        assert in_a_child(lambda: within(5, keevx.close)) == "None"
        await keevx.submit(a_request("after"))
        assert sorted(emulator.creates) == ["after", "before"]


@FORK
async def test_a_forked_child_holds_no_lock_of_its_parent(path: Path) -> None:
    reading, writing = os.pipe()
    async with opened_for_writing(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent has closed its journal, and opened it anew
            os._exit(0)
        os.close(reading)
    try:
        async with opened_for_writing(path):
            held = in_a_child(lambda: f"{Lock(path)}")
            assert "held by another process" in held
    finally:
        os.close(writing)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once


@FORK
async def test_a_forked_child_gets_an_error_from_a_journal_in_redis() -> None:
    async with (
        Docket(name="a", url=f"memory://{uuid4()}") as docket,
        docket.redis() as client,
        RedisJournal(client) as journal,
    ):
        said = in_a_child(lambda: within(5, lambda: journal.claim(KIND, BODY, "mine")))
        assert said.startswith("JournalError: this journal was opened before a fork")


@FORK
async def test_without_a_journal_a_forked_child_has_keys_of_its_own() -> None:
    journal = NullJournal()
    await journal.claim(KIND, BODY, None)
    theirs = in_a_child(lambda: asyncio.run(journal.claim(KIND, BODY, None)).key)
    ours = (await journal.claim(KIND, BODY, None)).key
    assert theirs != ours
    assert theirs.partition("-")[0] != ours.partition("-")[0]


def in_threads(count: int, work: Callable[[], object]) -> list[object]:
    """Have so many threads do the same at once; return what each came to."""
    results: list[object] = []
    together = threading.Barrier(count)

    def one() -> None:
        together.wait()
        try:
            results.append(work())
        except KeevxError as error:
            results.append(error)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "it hangs"
    return results


def test_one_journal_in_several_threads_is_refused(path: Path) -> None:
    with serving(Emulator()) as emulator:
        journal = Journal(path)
        journal.attach()

        async def work() -> object:
            async with Keevx("test-key", base_url=emulator.url, journal=journal) as keevx:
                return await keevx.submit_many(some_requests(100), key=lambda one: one.prompt)

        results = in_threads(3, lambda: asyncio.run(work()))
        asyncio.run(journal.detach())
        assert set(emulator.creates.values()) == {1}
        refused = [one for one in results if isinstance(one, JournalError)]
        assert all("still running" in str(one) for one in refused)


@pytest.mark.parametrize("with_journal", [False, True])
def test_one_client_in_several_threads_is_refused(path: Path, with_journal: bool) -> None:
    with serving(Emulator()) as emulator:
        keevx = Keevx("test-key", base_url=emulator.url, journal=path if with_journal else None)
        together = threading.Barrier(3)

        async def work() -> object:
            try:
                return await keevx.submit_many(some_requests(30), key=lambda one: one.prompt)
            finally:
                await asyncio.to_thread(together.wait, 10)  # the loop runs while others try

        results = in_threads(3, lambda: asyncio.run(work()))
        assert len([one for one in results if isinstance(one, ConfigurationError)]) == 2
        assert set(emulator.creates.values()) == {1}
        asyncio.run(keevx.close())
    if with_journal:
        assert len(asyncio.run(kept_in(path))) == 30


def test_what_was_held_on_a_loop_that_is_gone_is_taken_over(path: Path) -> None:
    journal = Journal(path)
    journal.attach()
    for closed in (True, False):
        loop = asyncio.new_event_loop()
        for key in (f"planned {closed}", f"sending {closed}"):
            loop.run_until_complete(journal.claim(KIND, BODY, key))
        loop.run_until_complete(journal.mark_sending(f"sending {closed}", KIND, BODY))
        if closed:
            loop.close()

        async def take_over(closed: bool = closed) -> None:
            async with asyncio.timeout(60):
                assert (await journal.claim(KIND, BODY, f"planned {closed}")).entry is None
                entry = (await journal.claim(KIND, BODY, f"sending {closed}")).entry
                assert entry is not None
                assert entry.state is State.UNCERTAIN
                await journal.mark_sending(f"planned {closed}", KIND, BODY)

        asyncio.run(take_over())
        if not closed:  # it is run again: what it had planned is another's now
            with pytest.raises(JournalError, match="Nothing was sent"):
                loop.run_until_complete(journal.mark_sending(f"planned {closed}", KIND, BODY))
            loop.close()
    asyncio.run(journal.detach())


def test_who_waits_on_a_loop_that_stopped_goes_on_when_it_runs_again(path: Path) -> None:
    journal = Journal(path)
    journal.attach()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(journal.claim(KIND, BODY, "mine"))
    waiting = loop.create_task(journal.claim(KIND, BODY, "mine"))
    loop.run_until_complete(asyncio.sleep(0))
    asyncio.run(journal.claim(KIND, BODY, "other"))
    assert loop.run_until_complete(asyncio.wait_for(waiting, 60)).key == "mine"
    loop.close()
    asyncio.run(journal.detach())


async def test_a_close_cancelled_at_every_step_leaves_nothing_locked(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        steps, cancelled = 0, True
        while cancelled:
            path = tmp_path / f"{steps}.db"
            keevx = keevx_of(emulator, journal=path)
            fan = keevx.submit_many(some_requests(2))
            outcome = await anext(aiter(fan))
            waiting = asyncio.ensure_future(keevx.wait(outcome.task_ids[0]))
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(keevx.close())
            for _ in range(steps):
                await asyncio.sleep(0)
            cancelled = closing.cancel()
            await asyncio.wait([closing], timeout=60)
            assert closing.done()
            await keevx.close()
            await asyncio.gather(waiting, return_exceptions=True)
            async with Journal(path) as journal:  # else: held
                assert [one async for one in journal.entries()]
            steps += 1
        assert steps > 3

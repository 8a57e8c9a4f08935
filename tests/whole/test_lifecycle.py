"""A client's life: opened when needed, one pool a loop, closed without a word."""

import asyncio
import gc
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from keevx_async import (
    ConfigurationError,
    Journal,
    Keevx,
    KeevxError,
    RetryPolicy,
    Submission,
    SubmissionUncertain,
)
from keevx_async.testing import Emulator, Faults
from keevx_async.testing.state import State
from tests.support.client import RETRY, a_request, awaited, keevx_of, some_requests, speaking
from tests.support.emulator import until
from tests.support.signals import default_signals

WINDOWS = sys.platform == "win32"
BEGIN = """
import asyncio, os, signal, sys
from keevx_async import ImageToVideo, Keevx, PollPolicy
from keevx_async.testing import Emulator

requests = [
    ImageToVideo(
        model="V", prompt=f"a dog runs {number}", image_url="https://example.com/start.jpg",
        aspect_ratio="16:9", aspect_resolution="1080p", duration=6,
    )
    for number in range(8)
]
emulator = Emulator(seconds=0.05)
polling = PollPolicy(shortest=0.01)
here = sys.argv[1]

def client():
    return Keevx("test-key", base_url=emulator.url, polling=polling)
"""

AS_SHOWN = """
async def main():
    async with emulator, client() as keevx:
        submission = await keevx.submit(requests[0])
        task = await keevx.wait(submission.task_ids[0])
        await keevx.download(task, here)
        await keevx.submit_many(requests, concurrency=64)
        async for outcome in keevx.generate_many(requests, download=here):
            assert outcome.ok
asyncio.run(main())
"""
UVLOOP = AS_SHOWN.replace("asyncio.run(", "import uvloop; uvloop.run(")
LEFT_EARLY = """
async def main():
    async with emulator, client() as keevx:
        async for outcome in keevx.generate_many(requests, download=here):
            break
        async for task in keevx.wait_many(list(emulator.tasks)):
            break
asyncio.run(main())
"""
CLOSED = """
async def main():
    async with emulator:
        keevx = client()
        await keevx.generate(requests[0])
        await keevx.close()
        await keevx.close()
asyncio.run(main())
"""
NOTEBOOK = """
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
cell = loop.run_until_complete
cell(emulator.start())
keevx = client()
submission = cell(keevx.submit(requests[0]))
task = cell(keevx.wait(submission.task_ids[0]))
cell(keevx.download(task, here))
async def many():
    return await keevx.submit_many(requests)
assert len(cell(many()).task_ids) == 8
cell(keevx.close())
cell(emulator.stop())
loop.close()
"""
TWO_LOOPS = """
async def first():
    global keevx
    async with emulator:
        keevx = client()
        await keevx.generate(requests[0])
async def second(close):
    async with emulator:
        task, = await keevx.generate(requests[1])
        await keevx.download(task, here)
        if close:
            await keevx.close()
asyncio.run(first())
asyncio.run(second(False))
asyncio.run(second(True))
"""
CLOSED_ELSEWHERE = """
async def first():
    global keevx
    async with emulator:
        keevx = client()
        await keevx.generate(requests[0])
asyncio.run(first())
asyncio.run(keevx.close())
"""
NEVER_USED = """
async def main():
    async with emulator:
        client()
        keevx = client()
        keevx.submit_many(requests)
asyncio.run(main())
"""
INTERRUPTED = """
async def main():
    global fan
    async with emulator:
        emulator.faults.latency = 0.02
        async with client() as keevx:
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
            fan = keevx.generate_many(requests * 10, concurrency=4, download=here)
            await fan
try:
    asyncio.run(main())
except KeyboardInterrupt:
    assert sorted(fan.task_ids) == sorted(emulator.tasks)
    assert 0 < len(fan.task_ids) < 80
else:
    raise AssertionError("it went on")
"""
NEVER_CLOSED = """
async def main():
    async with emulator:
        keevx = client()
        await keevx.generate(requests[0])
asyncio.run(main())
"""


def run(script: str, here: Path, warn: str = "error") -> subprocess.CompletedProcess[str]:
    with default_signals():
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", warn, "-c", BEGIN + script, str(here)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


SCRIPTS = {
    "as shown": AS_SHOWN,
    "uvloop": UVLOOP,
    "left early": LEFT_EARLY,
    "closed": CLOSED,
    "notebook": NOTEBOOK,
    "two loops": TWO_LOOPS,
    "closed elsewhere": CLOSED_ELSEWHERE,
    "never used": NEVER_USED,
    "interrupted": INTERRUPTED,
}
if WINDOWS:
    del SCRIPTS["uvloop"]  # which has no Windows


@pytest.mark.smoke
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_nothing_is_said_when_it_is_used_as_shown(script: str, tmp_path: Path) -> None:
    done = run(script, tmp_path)
    # On a busy machine, asyncio's debug mode tells of slow steps.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, done.stdout, said) == (0, "", [])


def test_a_client_that_is_never_closed_says_so(tmp_path: Path) -> None:
    done = run(NEVER_CLOSED, tmp_path, warn="always")
    assert done.returncode == 0
    assert "ResourceWarning: <Keevx 127.0.0.1" in done.stderr
    assert "use 'async with Keevx()' or 'await keevx.close()'" in done.stderr
    assert done.stderr.count("ResourceWarning: <") == 1
    assert "nclosed" not in done.stderr


async def test_a_client_that_is_forgotten_says_so_and_leaks_nothing(emulator: Emulator) -> None:
    keevx = keevx_of(emulator)
    await keevx.submit(a_request())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del keevx
        gc.collect()
        await asyncio.sleep(0.01)
    assert ["was never closed" in str(one.message) for one in caught] == [True]
    assert caught[0].category is ResourceWarning


async def test_what_is_closed_stays_closed(emulator: Emulator, tmp_path: Path) -> None:
    keevx = keevx_of(emulator)
    (task,) = await keevx.generate(a_request())
    waiting = keevx.wait_many([task.task_id])
    await keevx.close()
    await keevx.close()
    assert "closed" in repr(keevx)
    for verb in (
        keevx.submit(a_request()),
        keevx.status(task.task_id),
        keevx.wait(task.task_id),
        anext(waiting),
        keevx.generate(a_request()),
        keevx.upload(b"\xff\xd8\xff"),
        keevx.download(task, tmp_path),
        keevx.submit_many(some_requests(3)),
    ):
        with pytest.raises(ConfigurationError, match="is closed; create a new Keevx"):
            await verb
    assert emulator.creates.total() == 1


async def test_closing_what_was_never_used() -> None:
    async with Keevx("test-key"):
        pass
    await Keevx("test-key").close()


async def test_a_borrowed_session_that_was_closed_is_an_error(emulator: Emulator) -> None:
    async with aiohttp.ClientSession() as session, keevx_of(emulator, session=session) as keevx:
        (task_id,) = (await keevx.submit(a_request())).task_ids
        await session.close()
        for verb in (keevx.submit(a_request()), keevx.status(task_id), keevx.wait(task_id)):
            with pytest.raises(ConfigurationError, match="session= is closed"):
                await verb


async def test_what_is_under_way_in_a_borrowed_session_meets_its_deadline() -> None:
    async with Emulator() as emulator, aiohttp.ClientSession() as session:
        emulator.faults.silent_after_create = 1.0
        retry = RetryPolicy(grace=0.01)
        keevx = keevx_of(emulator, session=session, timeout=0.3, retry=retry)
        paying = asyncio.ensure_future(keevx.submit(a_request()))
        while not emulator.creates:  # noqa: ASYNC110 - the emulator tells of no arrival
            await asyncio.sleep(0)
        await keevx.close()
        with pytest.raises(SubmissionUncertain, match="timed out"):
            await paying


class Counted(aiohttp.TCPConnector):
    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        type(self).made += 1
        super().__init__(*args, **kwargs)


def test_there_is_one_pool_for_each_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(aiohttp, "TCPConnector", Counted)
    monkeypatch.setattr(Counted, "made", 0)
    emulator = Emulator(0.01)
    clients: list[Keevx] = []

    async def main(last: bool) -> None:
        async with emulator:
            if not clients:
                clients.append(keevx_of(emulator))
            assert Counted.made == len(loops)
            loops.append(0)
            (keevx,) = clients
            fans = (keevx.generate_many(some_requests(20), download=tmp_path) for _ in range(2))
            fan, other = await asyncio.gather(*map(awaited, fans))
            submitted = await asyncio.gather(*(keevx.submit(a_request()) for _ in range(20)))
            await keevx.upload(b"\xff\xd8\xff")
            assert len({*fan.task_ids, *other.task_ids, *submitted}) == 60
            if last:
                await keevx.close()

    loops: list[int] = []
    for number in range(3):
        asyncio.run(main(number == 2))
        assert Counted.made == len(loops) == number + 1


async def test_closing_ends_every_wait_and_leaves_no_task(emulator: Emulator) -> None:
    emulator.seconds = 60
    emulator.faults.latency = 0.02
    keevx = keevx_of(emulator)
    ids = (await keevx.submit_many(some_requests(20))).task_ids
    waits = [asyncio.ensure_future(keevx.wait(one)) for one in ids]
    await until(lambda: len(emulator.polls) == 20)
    await keevx.close()
    for error in await asyncio.gather(*waits, return_exceptions=True):
        assert isinstance(error, ConfigurationError)
    assert "closed during the wait" in str(error)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert all("RequestHandler" in repr(one.get_coro()) for one in others)  # the emulator's own


async def test_a_create_that_waits_for_its_turn_does_not_begin_during_close(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be cut off as soon as those that were in flight are answered."""
    keevx = keevx_of(emulator, max_connections=2, journal=tmp_path / "run.db")
    gates = [asyncio.Event(), asyncio.Event()]

    async def lag(_: State) -> None:
        await gates[len(emulator.tasks) - 1].wait()

    monkeypatch.setattr(State, "lag", lag)

    async def begin(prompt: str) -> asyncio.Future[Submission]:
        made = len(emulator.tasks)
        submitting = asyncio.ensure_future(keevx.submit(a_request(prompt)))
        await until(lambda: len(emulator.tasks) > made)
        return submitting

    in_flight = [await begin("soon"), await begin("later")]
    waiting = asyncio.ensure_future(keevx.submit(a_request("waiting")))
    await asyncio.sleep(0.01)
    closing = asyncio.ensure_future(keevx.close())
    for gate, submitting in zip(gates, in_flight, strict=True):
        await asyncio.sleep(0.01)
        gate.set()
        await submitting
    await closing
    with pytest.raises(ConfigurationError, match="closed"):
        await waiting
    made = {task_id for each in in_flight for task_id in (await each).task_ids}
    assert made == set(emulator.tasks)
    async with Journal(tmp_path / "run.db") as journal:
        assert [entry.state async for entry in journal.entries()] == ["submitted"] * 2


async def test_closing_waits_for_no_longer_than_the_grace() -> None:
    faults = Faults(silent_after_create=1)
    async with Emulator(faults=faults) as emulator:
        keevx = keevx_of(emulator, retry=type(RETRY)(grace=0.1))
        submitting = asyncio.ensure_future(keevx.submit(a_request()))
        await until(lambda: emulator.creates.total() == 1)
        async with asyncio.timeout(60):
            await keevx.close()
            with pytest.raises(SubmissionUncertain):
                await submitting


async def test_a_cancelled_close_still_closes(emulator: Emulator) -> None:
    emulator.faults.latency = 0.5
    keevx = keevx_of(emulator)
    fan = keevx.submit_many(some_requests(3))
    running = asyncio.ensure_future(awaited(fan))
    await until(lambda: emulator.requests.total() == 3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await keevx.close()
    with pytest.raises(KeevxError):
        await running
    assert {type(error) for error in fan.errors} == {SubmissionUncertain}
    assert len(fan.errors) == emulator.creates.total() > 0


async def test_nothing_stays_in_memory_of_what_was_waited_for() -> None:
    async with speaking(0) as (_, keevx):
        (await keevx.generate_many(some_requests(50))).raise_for_errors()
        assert keevx._runtime
        assert keevx._runtime.poller.statistics() == (0, 0)

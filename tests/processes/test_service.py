"""The service of docs/examples as it is run: killed, stopped, and with several workers."""

import ast
import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from keevx_async import Journal
from keevx_async.journal.protocol import State
from keevx_async.testing import Emulator, Faults
from tests.support.emulator import until
from tests.support.fleet import RedisServer
from tests.support.ports import free_port
from tests.support.service import EXAMPLES, Caller, a_process, ended

PROGRAM = """
import asyncio, logging, sys
from fastapi import FastAPI
from keevx_async import JournalError, Keevx
from keevx_async.contrib.fastapi import KeevxService

async def main():
    logging.basicConfig(stream=sys.stdout)
    app = FastAPI()
    service = KeevxService(Keevx("test-key", journal=sys.argv[1]))
    try:
        async with service.lifespan(app):
            pass
    except JournalError:
        pass

asyncio.run(main())
"""
ORDERS = [f"order-{number}" for number in range(50)]


def test_the_service_is_at_most_60_lines_of_its_users_code() -> None:
    source = (EXAMPLES / "service.py").read_text()
    module = ast.parse(source)
    docstrings = {
        line
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    code = [
        line
        for number, line in enumerate(source.splitlines(), 1)
        if number not in docstrings and line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 60


async def order_all(caller: Caller) -> list[tuple[int, Any]]:
    """Order everything at once; an order whose connection broke has status 0."""

    async def order(key: str) -> tuple[int, Any]:
        try:
            return await caller.order(key, key)
        except OSError:  # aiohttp's ClientOSError is one
            return 0, None
        except Exception:  # noqa: BLE001 - the server was killed in the middle of an answer
            return 0, None

    return list(await asyncio.gather(*map(order, ORDERS)))


async def answered(caller: Caller) -> None:
    """Repeat every order, as its customer would, until it is answered with its ids."""

    async def repeat(key: str) -> None:
        status = 0
        while status != 202:
            status, answer = await caller.order(key, key)
            assert status in (202, 504), answer
            await asyncio.sleep(0 if status == 202 else 0.05)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for key in ORDERS:
            group.create_task(repeat(key))


async def send_callbacks(emulator: Emulator, caller: Caller) -> None:
    """Send the callback of every task, once all have ended."""
    tasks = list(emulator.tasks.values())
    await until(lambda: {task.status for task in tasks} == {"SUCCEEDED"})
    for task in tasks:
        body = {"code": 0, "msg": "ok", "task_type": task.kind.name, "data": emulator.report(task)}
        async with caller.session.post(task.body["callback_url"], json=body) as response:
            assert response.status == 204


async def settle_unsent(emulator: Emulator, path: Path) -> None:
    """Settle creates that were killed between their intent and their request, as an operator does.

    Nothing was made, so no callback will ever settle them.
    """
    for _ in range(100):  # the emulator first reads the requests that have arrived
        await asyncio.sleep(0.001)
    async with Journal(path) as journal:
        uncertain = [entry.key async for entry in journal.entries(State.UNCERTAIN)]
        for key in uncertain:
            if key not in emulator.creates:
                await journal.settle(key, [])


@pytest.mark.slow
async def test_killed_in_the_middle_of_50_orders_it_delivers_all_and_pays_none_twice(
    tmp_path: Path,
) -> None:
    port = free_port()
    # Callbacks come once, and settle the creates whose responses were lost. So that they arrive
    # after the restart, however long that takes, they are sent by the test.
    faults = Faults(latency=(0.1, 0.9), callbacks="drop")
    async with Emulator(1.0, faults=faults) as emulator:
        async with a_process(emulator, tmp_path, port) as (process, caller):
            orders = asyncio.ensure_future(order_all(caller))
            await until(lambda: emulator.creates.total() >= 20)
            process.kill()
            statuses = [status for status, _ in await orders]
        before = emulator.creates.total()
        assert before >= 20
        assert statuses.count(202) < 50, "it was killed too late to prove anything"
        await settle_unsent(emulator, tmp_path / "videos.db")
        async with a_process(emulator, tmp_path, port) as (process, caller):
            await send_callbacks(emulator, caller)
            await answered(caller)
            videos = tmp_path / "videos"
            await until(lambda: len(list(videos.glob("*.mp4"))) == 50)
            process.send_signal(signal.SIGTERM)
            await ended(process)
            assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises it again
        assert emulator.creates == dict.fromkeys(ORDERS, 1)
        assert {each.stem for each in videos.glob("*.mp4")} == set(emulator.tasks)


@pytest.mark.slow
async def test_a_probe_sees_it_stopping_while_orders_are_in_flight(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.latency = 1.0

    async def ready(caller: Caller) -> tuple[int, Any]:
        async with caller.session.get(f"{caller.origin}/ready") as answer:
            return answer.status, await answer.json()

    async with a_process(emulator, tmp_path) as (process, caller):
        assert await ready(caller) == (200, {"ready": True, "state": "ready"})
        # A kept connection: uvicorn accepts no new one once it stops.
        order = asyncio.ensure_future(caller.order("order-1"))
        await until(lambda: emulator.requests["POST /v1/image_to_video"] == 1)
        process.send_signal(signal.SIGTERM)
        status, answer = await order
        assert status == 202
        await ended(process)
        assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises it again
    async with Journal(tmp_path / "videos.db") as journal:
        entry = await journal.find("order-1")
    assert entry
    assert list(entry.task_ids) == answer["task_ids"]


@pytest.mark.slow
async def test_with_one_file_for_two_workers_the_service_says_so_and_does_not_start(
    emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="is held by another process"):
        # Whichever worker is first may have started: then the other one stops the service.
        async with a_process(emulator, tmp_path, WORKERS="2") as (process, caller):
            raise AssertionError(caller.printed + await ended(process))
    assert emulator.creates.total() == 0


async def test_the_worker_that_cannot_have_the_journal_names_the_ways_out(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with Journal(path):
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(path), stdout=asyncio.subprocess.PIPE
        )
        printed = (await holder.communicate())[0].decode()
    assert "a single worker" in printed
    assert "Redis" in printed


@pytest.mark.slow
@pytest.mark.fleet
async def test_two_workers_with_a_journal_in_redis_share_keys_and_answer_every_order(
    emulator: Emulator, tmp_path: Path, redis_server: RedisServer
) -> None:
    url = redis_server.url
    async with a_process(emulator, tmp_path, WORKERS="2", JOURNAL=url) as (process, caller):
        first = await order_all(caller)
        again = await order_all(caller)
        await until(lambda: len(list((tmp_path / "videos").glob("*.mp4"))) == 50)
        process.send_signal(signal.SIGTERM)
        await ended(process)
    assert [status for status, _ in first] == [202] * 50
    assert again == first
    assert emulator.creates == dict.fromkeys(ORDERS, 1)

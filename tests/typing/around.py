"""What stands around a client, as the type checkers see it: events, journal, callbacks, emulator.

Checked by mypy and pyright, never run.
"""

from pathlib import Path
from typing import assert_type

from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Mount

from keevx_async import CallbackReceiver, CallbackRejected, Journal, Keevx, Outcome, Task
from keevx_async.events import Ended, Event, Paused, Retrying, Submitted, Uncertain
from keevx_async.testing import EmulatedTask, Emulator, Faults


def hook(event: Event) -> None:
    match event:
        case Submitted(key=key, task_ids=task_ids):
            assert_type(key, str)
            assert_type(task_ids, tuple[str, ...])
        case Uncertain(key=key, reason=reason):
            assert_type(reason, str)
        case Retrying(error=error, delay=delay):
            assert_type(error, Exception)
            assert_type(delay, float)
        case Paused(seconds=seconds):
            assert_type(seconds, float)
        case Ended(task=task):
            assert_type(task, Task)
        case _:
            pass


def served(receiver: CallbackReceiver, seen: list[Event]) -> None:
    web.Application().add_routes(receiver.routes())
    Starlette(routes=[Mount("/keevx", app=receiver.asgi_app())])
    Starlette().mount("/keevx", receiver.asgi_app())
    assert_type(receiver.public_url, str)
    Keevx(callbacks=receiver, on_event=hook)
    Keevx(on_event=seen.append)
    CallbackReceiver("https://you.example/keevx")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def received(receiver: CallbackReceiver, token: str, body: bytes) -> int:
    try:
        assert_type(await receiver.receive(token, body), None)
    except CallbackRejected:
        return 204
    async with receiver.serving("127.0.0.1", 8080) as (host, port):
        assert_type(host, str)
        assert_type(port, int)
    return 200


async def kept(path: Path) -> None:
    Keevx(journal="run.db")
    Keevx(journal=Journal(path, on_uncertain="resubmit"))
    Journal(path, on_uncertain="retry")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with Journal(path) as journal:
        assert_type(journal, Journal)
        assert_type(journal.path, Path)
        async for entry in journal.entries():
            assert_type(entry.key, str)
            assert_type(entry.task_ids, tuple[str, ...])


async def emulated() -> None:
    async with Emulator(seconds=0.2, fail_prompts=lambda prompt: "cat" in prompt) as emulator:
        assert_type(emulator, Emulator)
        assert_type(emulator.url, str)
        assert_type(emulator.creates["A kite"], int)
        assert_type(emulator.tasks["i2v-1"], EmulatedTask)
        assert_type(emulator.video("i2v-1"), bytes)
        emulator.faults.drop_after_create = {"A kite"}
        Keevx("test-key", base_url=emulator.url)
    Emulator(0.2, fail_prompts=0.1, faults=Faults(refuse=["A kite"], callbacks="twice"))
    Emulator(faults=Faults(callbacks="never"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_mine(keevx_emulator: Emulator) -> None:
    async with Keevx("test-key", base_url=keevx_emulator.url) as keevx:
        done: list[Outcome] = [one async for one in keevx.generate_many([])]
        assert done == []

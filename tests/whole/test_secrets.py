"""The API key shows nowhere: no repr, log, error, traceback or pickle."""

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    ConfigurationError,
    FanOut,
    Keevx,
    KeevxError,
    PollPolicy,
    RetryPolicy,
)
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, some_requests
from tests.support.ports import refusing

KEY = "sk-0123456789-never-to-be-seen"
RETRY = RetryPolicy(attempts=2, first_delay=0.001, deadline=5, grace=0.1)
POLLING = PollPolicy(shortest=0.01, longest=0.05, timeout=0.2)
Verb = Callable[[Keevx], Awaitable[Any]]


def client(url: str, **settings: Any) -> Keevx:
    hurry: dict[str, Any] = {"retry": RETRY, "polling": POLLING, "timeout": 0.3}
    return Keevx(KEY, base_url=url, **hurry | settings)


def shown(value: Any) -> Iterator[str]:
    """Every way in which a value may come to be seen."""
    yield repr(value)
    yield str(value)
    if hasattr(value, "_repr_html_"):
        yield value._repr_html_()
    if not isinstance(value, FanOut):
        yield repr(pickle.dumps(value))
        yield repr(getattr(value, "__dict__", ""))


def chained(error: BaseException) -> Iterator[BaseException]:
    """An error and whatever led to it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            todo += [one.__cause__, one.__context__]
            yield one


def raised(error: BaseException) -> Iterator[str]:
    yield "".join(traceback.format_exception(error))
    yield repr(pickle.dumps(error))
    for one in chained(error):
        yield from (repr(one), str(one), repr(one.args), repr(vars(one)))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    for name in ("keevx_async", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def assert_unseen(logged: pytest.LogCaptureFixture, texts: Iterator[str]) -> None:
    for text in texts:
        assert KEY not in text
    assert KEY not in logged.text
    assert not any(KEY in repr(vars(record)) for record in logged.records)


async def test_when_all_goes_well(
    logged: pytest.LogCaptureFixture, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.api_key = KEY
    patient = PollPolicy(shortest=0.01, longest=0.05)
    async with client(emulator.url, polling=patient, timeout=60) as keevx:
        submission = await keevx.submit(a_request())
        task = await keevx.wait(submission.task_ids[0])
        fan = await keevx.generate_many(some_requests(3), download=tmp_path)
        fan.raise_for_errors()
        path = await keevx.download(task, tmp_path)
        for value in (keevx, vars(keevx)["_config"]):
            assert KEY not in repr(value)
        values = [submission, task, fan, fan.outcomes, path]
        assert_unseen(logged, (text for value in values for text in shown(value)))
    assert KEY not in repr(keevx)
    assert len(logged.records) > 5


@asynccontextmanager
async def talking_nonsense() -> AsyncIterator[str]:
    """A host that answers, and not in HTTP: aiohttp's error then holds the request's headers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


VERBS: dict[str, Verb] = {
    "submit": lambda keevx: keevx.submit(a_request()),
    "generate": lambda keevx: keevx.generate(a_request()),
    "status": lambda keevx: keevx.status("i2v-0"),
    "upload": lambda keevx: keevx.upload(b"\xff\xd8\xff"),
}
LOSSES = ("drop_after_create", "error_after_create", "garbage_after_create", "half_answer")
FAULTS: dict[str, dict[str, Any]] = {
    **{name: {name: 1.0} for name in LOSSES},
    "silent_after_create": {"silent_after_create": 1.0},
    "refused": {"refuse": 1.0},
    "refused for good": {"refuse": 1.0, "refuse_status": 400, "refuse_code": 100001},
    "rate": {"rate": 0.001, "burst": 0.0, "retry_after": 100},
    "drop_polls": {"drop_polls": 1.0},
    "poll_html": {"poll_html": 1.0},
    "poll_unauthorized": {"poll_unauthorized": 1.0},
    "upload_errors": {"upload_errors": 1.0},
}


async def _caught(keevx: Keevx, verb: Verb) -> list[BaseException]:
    try:
        await verb(keevx)
    except KeevxError as error:
        return [error]
    return []


@pytest.mark.parametrize("fault", FAULTS)
async def test_when_something_goes_wrong(fault: str, logged: pytest.LogCaptureFixture) -> None:
    faults = Faults(once=False, **FAULTS[fault])
    async with Emulator(0, faults=faults) as emulator, client(emulator.url) as keevx:
        caught = [error for verb in VERBS.values() for error in await _caught(keevx, verb)]
        fan = await keevx.submit_many(some_requests(2))
        caught += fan.errors
    assert caught
    assert_unseen(logged, (text for error in caught for text in raised(error)))
    assert_unseen(logged, shown(fan))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("host", ["nonsense", "refusing", "another key"])
async def test_when_the_host_is_not_what_it_should_be(
    host: str, verb: str, logged: pytest.LogCaptureFixture
) -> None:
    async with talking_nonsense() as nonsense, Emulator(api_key="another") as emulator:
        with refusing() as refused:
            url = {"nonsense": nonsense, "refusing": refused}.get(host, emulator.url)
            async with client(url) as keevx:
                caught = await _caught(keevx, VERBS[verb])
    assert len(caught) == 1
    assert_unseen(logged, raised(caught[0]))


async def test_when_it_is_cancelled(logged: pytest.LogCaptureFixture) -> None:
    faults = Faults(silent_after_create=1)
    async with Emulator(faults=faults) as emulator, client(emulator.url) as keevx:
        for verb in ("submit", "generate"):
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await VERBS[verb](keevx)
            assert_unseen(logged, raised(caught.value))


def test_when_the_key_itself_is_wrong(logged: pytest.LogCaptureFixture) -> None:
    for key in (f"{KEY} ü", f"{KEY}\n{KEY}", f"{KEY} {KEY}"):
        with pytest.raises(ConfigurationError) as caught:
            Keevx(key)
        assert_unseen(logged, raised(caught.value))


async def test_a_client_is_neither_pickled_nor_copied(emulator: Emulator) -> None:
    keevx = client(emulator.url)
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds the API key"):
            take(keevx)
    async with keevx:
        await keevx.submit(a_request())
        with pytest.raises(TypeError, match="holds the API key"):
            pickle.dumps(keevx)

"""The receiver under attack, over real sockets: nothing is believed that Keevx does not confirm."""

import asyncio
import hmac
import logging
import pickle
import tracemalloc
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from keevx_async import Journal, SubmissionUncertain
from keevx_async.journal.protocol import State
from keevx_async.submission.callbacks import MAX_BODY, TOKEN_TTL
from keevx_async.testing import Faults
from tests.conftest import FakeClock
from tests.support.callbacks import (
    BODY,
    SECRET,
    SERVED,
    Served,
    Told,
    a_receiver,
    in_aiohttp,
    posted,
    token_of,
)
from tests.support.client import a_request, awaited, some_requests
from tests.support.settling import HINTED, called_back, once_each, polls_per_task, until
from tests.support.thorough import THOROUGH

LOST = Faults(drop_after_create=1.0)


def forged(token: str) -> dict[str, str]:
    """Every kind of token that is not ours, by name."""
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    other = token_of(a_receiver(), "other")
    theirs = token_of(a_receiver(secret="the secret of somebody else"))
    spare = token[:-1] + chr(ord(token[-1]) + 1)  # the last letter's unused bits, where it has any

    def text(value: bytes) -> str:
        return urlsafe_b64encode(value).rstrip(b"=").decode()

    return {
        "another secret's": theirs,
        "first bit": text(bytes([raw[0] ^ 1]) + raw[1:]),
        "last bit of the mac": text(raw[:31] + bytes([raw[31] ^ 1]) + raw[32:]),
        "a later expiry": text(raw[:32] + b"\xff" * 5 + raw[37:]),
        "another key": text(raw[:-1] + b"z"),
        "a longer key": text(raw + b"z"),
        "cut by one letter": token[:-1],
        "cut to the mac": text(raw[:32]),
        "cut to the mac and expiry": text(raw[:37]),
        "cut to nothing": "-",
        "swapped: a mac of another": text(
            urlsafe_b64decode(other + "=" * (-len(other) % 4))[:32] + raw[32:]
        ),
        "padded": token + "=",
        "the unused bits": spare,
        "long": token + "A" * 3000,
        "no base64": "%21" * 40,
        "no ascii": "é" * 40,
        "standard alphabet": text(raw[:32]).replace("-", "+") + "+" * 8,
        "zeros": text(bytes(64)),
    }


KINDS = sorted(forged(token_of(a_receiver())))


@pytest.mark.parametrize("served", SERVED)
async def test_no_forged_token_is_taken(served: Served) -> None:
    async with served() as receiver:
        receiver.attach(told := Told())
        for kind, token in forged(token_of(receiver)).items():
            assert await posted(f"{receiver.public_url}/{token}", data=BODY) == 204, kind
            assert told.all == [], kind
        assert await posted(receiver.url_for("key"), data=BODY) == 204
        assert told.all == [("key", "i2v-1")]


async def test_an_expired_token_is_not_taken(clock: FakeClock) -> None:
    async with in_aiohttp(clock=clock) as receiver:
        receiver.attach(told := Told())
        url = receiver.url_for("key")
        clock.advance(TOKEN_TTL + 1)
        assert await posted(url, data=BODY) == 204
        assert told.all == []


@pytest.mark.parametrize("kind", [*KINDS, "genuine", "expired"])
def test_every_token_is_compared_once_and_in_constant_time(
    kind: str, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    receiver = a_receiver(clock=clock)
    compared: list[int] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(len(other))
        return compare(one, other)

    token = token_of(receiver)
    tokens = forged(token) | {"genuine": token, "expired": token}
    clock.advance(TOKEN_TTL + 1 if kind == "expired" else 0)
    monkeypatch.setattr("keevx_async.submission.callbacks.hmac.compare_digest", counted)
    asyncio.run(receiver._respond(tokens[kind], _chunks(BODY)))
    assert compared == [], "nobody is attached"
    receiver.attach(Told())
    asyncio.run(receiver._respond(tokens[kind], _chunks(BODY)))
    assert compared == [32]


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _answers(raw: bytes) -> bytes:
    """An answer as it came over the wire, but for the time of day."""
    lines = raw.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"date:"))


async def _wire(url: str, body: bytes) -> bytes:
    """Post and return the whole answer, byte for byte."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        return _answers(await reader.readuntil(b"\r\n\r\n"))
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("served", SERVED)
async def test_a_stranger_gets_the_answer_that_keevx_gets(served: Served) -> None:
    async with served() as receiver:
        receiver.attach(told := Told())
        genuine = await _wire(receiver.url_for("key"), BODY)
        assert genuine.startswith(b"HTTP/1.1 204 ")
        assert told.all == [("key", "i2v-1")]
        for kind, token in forged(token_of(receiver)).items():
            if token.isascii():
                assert await _wire(f"{receiver.public_url}/{token}", BODY) == genuine, kind
        for body in (b"", b"[", b"[" * 60_000, BODY):
            assert await _wire(receiver.url_for("key"), body) == genuine
            assert await _wire(receiver.url_for("key")[:-1], body) == genuine


def _endless(total: list[int]) -> Callable[[], AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(500):
            total[0] += 20_000
            yield b" " * 20_000
            await asyncio.sleep(0.001)

    return chunks


BODIES: dict[str, Any] = {
    "too large": {"data": b" " * MAX_BODY + BODY},
    "deeply nested": {"data": b'{"data":' * 8_000},
    "no callback": {"json": {"data": {"task_id": "../../../v1/figure-resource"}}},
    "a bomb": {
        "data": zlib.compress(bytes(50_000_000)),
        "headers": {"Content-Encoding": "deflate"},
    },
    "no deflate": {"data": b"\x00\xff" * 100, "headers": {"Content-Encoding": "deflate"}},
}
"""What comes over the wire; the bodies that are no callback are a table in test_callbacks."""


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("kind", sorted(BODIES))
async def test_no_body_does_harm_even_under_a_genuine_url(
    served: Served, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served() as receiver:
        receiver.attach(told := Told())
        url = receiver.url_for("key")
        if kind in ("a bomb", "no deflate"):  # aiohttp's server may refuse those by itself
            status = await _tried(url, **BODIES[kind])
            assert status in (204, 400, None)
            assert status in (await _tried(url[:-1], **BODIES[kind]), None, 204)
        else:
            assert await _tried(url, **BODIES[kind]) in (204, None)
        assert told.all == []
        assert await posted(url, data=BODY) == 204
        assert told.all == [("key", "i2v-1")]
    assert token_of(receiver) not in caplog.text


async def _tried(url: str, **body: Any) -> int | None:
    """Return the answer's status; None where the server hung up on what was still being sent."""
    try:
        return await posted(url, **body)
    except aiohttp.ClientError:
        return None


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("genuine", [True, False])
async def test_a_body_without_a_length_is_not_read_to_its_end(
    served: Served, genuine: bool
) -> None:
    async with served() as receiver:
        receiver.attach(told := Told())
        url, sent = receiver.url_for("key"), [0]
        async with asyncio.timeout(60):
            assert await _tried(url if genuine else url[:-1], data=_endless(sent)()) in (204, None)
        assert sent[0] < 5_000_000, "of 10 MB"
        assert told.all == []


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize(("genuine", "timeout"), [(True, 0.1), (False, 3600)])
async def test_a_body_that_never_comes_is_not_waited_for_and_a_strangers_is_not_read(
    served: Served, genuine: bool, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keevx_async.submission.callbacks.BODY_TIMEOUT", timeout)
    async with served() as receiver, asyncio.timeout(60):
        receiver.attach(told := Told())
        url = receiver.url_for("key") if genuine else receiver.url_for("key")[:-1]
        assert (await _unfinished(url)).startswith(b"HTTP/1.1 204 ")
        assert told.all == []


async def _unfinished(url: str) -> bytes:
    """Post a head whose body never comes; return the first line of the answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n".encode())
    try:
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


# What a callback says


@pytest.mark.parametrize("journalled", [True, False], ids=["journal", "no journal"])
async def test_another_tasks_id_is_not_taken(tmp_path: Path, journalled: bool) -> None:
    """An uncertain create is offered the id of another of our creates, and nobody's."""
    journal = Journal(tmp_path / "run.db") if journalled else None
    async with called_back(0.6, journal=journal) as (emulator, keevx, receiver):
        theirs = (await keevx.submit(a_request("theirs"), key="theirs")).task_ids[0]
        emulator.faults.drop_after_create = 1.0
        fan = keevx.generate_many([a_request("ours")], key=lambda _: "ours")
        running = asyncio.ensure_future(awaited(fan))
        await until(lambda: len(emulator.tasks) == 2)
        await asyncio.sleep(0.05)
        url = receiver.url_for("ours")
        for stolen in (theirs, "i2v-" + "0" * 32):
            asking = asyncio.ensure_future(posted(url, json={"data": {"task_id": stolen}}))
            await asyncio.sleep(0.05)
            assert not running.done()
            asking.cancel()
        (outcome,) = (await running).outcomes
        assert outcome.ok
        (ours,) = outcome.task_ids
        assert emulator.tasks[ours].prompt == "ours"
        if journal is not None:
            assert [one.task_ids async for one in journal.entries()] == [(theirs,), (ours,)]


async def test_the_word_of_a_callback_is_not_believed(tmp_path: Path) -> None:
    """Not its status, and not its URLs: what counts is what Keevx says when asked."""
    async with called_back(0.3) as (emulator, keevx, receiver):
        submission = await keevx.submit(a_request(), key="k")
        (task_id,) = submission.task_ids
        waiting = asyncio.ensure_future(keevx.wait(task_id))
        await asyncio.sleep(0.02)
        for status in ("SUCCEEDED", "FAILED"):
            lie = {
                "task_id": task_id,
                "status": status,
                "video_url": "http://evil.example/malware.mp4",
                "error_message": "<script>",
            }
            assert await posted(receiver.url_for("k"), json={"code": 0, "data": lie}) == 204
        await asyncio.sleep(0.05)
        assert not waiting.done()
        task = await waiting
        assert task.succeeded
        assert task.error_message == ""
        assert task.video_url is not None
        assert task.video_url.startswith(emulator.storage_url)
        path = await keevx.download(task, tmp_path / "video.mp4")
        assert path.read_bytes() == emulator.video(task_id)


async def test_replays_change_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.db")
    async with called_back(0.05, faults=LOST, journal=journal) as (emulator, keevx, receiver):
        fan = await keevx.generate_many([a_request()], key=lambda _: "k")
        (task_id,) = fan.task_ids
        before, polls = [one async for one in journal.entries()], emulator.polls.total()
        for _ in range(50):
            body = {"data": {"task_id": task_id}}
            assert await posted(receiver.url_for("k"), json=body) == 204
        assert [one async for one in journal.entries()] == before
        assert emulator.polls.total() == polls


async def test_replays_during_a_wait_do_not_set_its_pace(tmp_path: Path) -> None:
    async with called_back(0.5) as (emulator, keevx, receiver):
        (task_id,) = (await keevx.submit(a_request(), key="k")).task_ids
        waiting = asyncio.ensure_future(keevx.wait(task_id))
        await asyncio.sleep(0)
        body = {"data": {"task_id": task_id}}
        await asyncio.gather(*(posted(receiver.url_for("k"), json=body) for _ in range(100)))
        await waiting
        assert emulator.polls[task_id] <= 8


# Strangers


@pytest.mark.alone
@pytest.mark.slow
async def test_thousands_of_strangers_keep_no_callback_out(tmp_path: Path) -> None:
    count = 10_000 if THOROUGH else 2_000
    journal = Journal(tmp_path / "run.db")
    async with called_back(0.5, faults=LOST, journal=journal, polling=HINTED) as running:
        emulator, keevx, receiver = running
        emulator.spread = 0.8
        runtime = keevx._components()
        connector = aiohttp.TCPConnector(limit=200)
        async with aiohttp.ClientSession(connector=connector) as strangers:
            siege = asyncio.ensure_future(_siege(strangers, receiver.public_url, range(count)))
            fan = await keevx.generate_many(some_requests(60))
            answered = await siege
            tracemalloc.start()
            url, more = receiver.public_url, count + 500
            await _siege(strangers, url, range(count, more))  # connections, buffers, code paths
            before = tracemalloc.get_traced_memory()[0]
            await _siege(strangers, url, range(more, more + count // 2))
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
        assert answered == {204: count}
        fan.raise_for_errors()
        once_each(emulator, fan, 60)
        assert polls_per_task(emulator) == 1.0
        assert emulator.callbacks == {"delivered": 60}
        assert grown < 800 * count // 2
        assert runtime.reconciler is not None
        held = runtime.reconciler.statistics()
        assert held.active + held.idle <= 60
        assert Counter([one.state async for one in journal.entries()]) == {State.SUBMITTED: 60}


async def _siege(session: aiohttp.ClientSession, url: str, numbers: range) -> Counter[int]:
    answered: Counter[int] = Counter()
    made = _attempts(url, numbers)

    async def stranger() -> None:
        for target, body in made:
            async with session.post(target, data=body) as answer:
                answered[answer.status] += 1

    await asyncio.gather(*(stranger() for _ in range(200)))
    return answered


def _attempts(url: str, numbers: range) -> Iterator[tuple[str, bytes]]:
    token = token_of(a_receiver(secret="the secret of somebody else"))
    bodies = (BODY, b"", b"[" * 5_000, b'{"data":{"task_id":"i2v-%d"}}')
    for number in numbers:
        yield f"{url}/{token[:-4]}{number:04x}", bodies[number % len(bodies)]


# Secrets


async def test_secrets_show_nowhere(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the secret, and not a URL, which is one too."""
    monkeypatch.setattr("keevx_async.submission.reconciler.PAUSES", (0.01,))
    caplog.set_level(logging.DEBUG)
    async with called_back(0.05, faults=Faults(drop_after_create=1.0, callbacks="drop")) as (
        _,
        keevx,
        receiver,
    ):
        fan = await keevx.submit_many([a_request()], key=lambda _: "k")
        await posted(receiver.url_for("k"), json={"data": {"task_id": "i2v-nobodys"}})
        (error,) = fan.errors
        assert isinstance(error, SubmissionUncertain)
        told = [repr(keevx), repr(receiver), repr(fan), repr(error), str(error), caplog.text]
        told.append(repr(fan.outcomes))
        start = token_of(receiver, "k")[:20]
        for text in told:
            assert SECRET not in text
            assert start not in text
        assert SECRET.encode() not in pickle.dumps(error)
        assert b"callback" not in pickle.dumps(error.request.to_dict())

"""Ids that arrived are not lost, whatever became of the answer's framing; nor is memory."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from keevx_async.http.framing import MAX_BODY
from keevx_async.http.transport import (
    AiohttpTransport,
    HttpRequest,
    HttpResponse,
    Interruption,
    interruption_of,
)
from tests.support.raw_server import FIN, RST, RawServer, Script, Step, answer, chunked, envelope

BODY = envelope(["i2v-1"])
POST = HttpRequest("POST", "/v1/image_to_video", b'{"prompt":"a"}')
GET = HttpRequest("GET", "/v1/image_to_video/i2v-1")


@asynccontextmanager
async def exchanging(*steps: Step, total: float = 5.0) -> AsyncIterator[AiohttpTransport]:
    async with RawServer(lambda _: Script(steps)) as server:
        made = AiohttpTransport(server.url, {}, aiohttp.ClientTimeout(total=total))
        try:
            yield made
        finally:
            await made.close()


BROKEN: dict[str, tuple[Step, ...]] = {
    "a length too large, FIN": (
        answer(BODY).replace(b": %d" % len(BODY), b": %d" % (len(BODY) + 5)),
        FIN,
    ),
    "no last chunk, RST": (chunked(BODY).removesuffix(b"0\r\n\r\n"), 0.02, RST),
    "no last chunk, silence": (chunked(BODY).removesuffix(b"0\r\n\r\n"), 5.0),
    "a chunk's size that is none": (chunked(BODY).replace(b"\r\n0\r\n", b"\r\nzz\r\n"), FIN),
    "a length that is none": (answer(BODY).replace(b": %d" % len(BODY), b": -1"), FIN),
    "encoded otherwise than it says": (answer(BODY, "200 OK", "Content-Encoding: gzip"),),
    "gzip without an end": (answer(gzip.compress(BODY)[:-6], "200 OK", "Content-Encoding: gzip"),),
    "a header without an end to it": (answer(BODY, "200 OK", "X: " + "a" * 70_000), FIN),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("call", [POST, GET], ids=["POST", "GET"])
async def test_what_came_of_a_broken_answer_is_returned(name: str, call: HttpRequest) -> None:
    async with exchanging(*BROKEN[name], total=0.3) as made:
        reply = await made.exchange(call)
    assert reply.status == 200
    assert reply.body.startswith(BODY)
    whole_all_the_same = name == "a header without an end to it"
    assert reply.complete is whole_all_the_same
    assert bool(reply.reason) is not whole_all_the_same


WHOLE = {
    "chunked with a length beside": chunked(BODY, "200 OK", "Content-Length: 3"),
    "a length with chunks beside": answer(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)).replace(
        b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1
    ),
    "a header line of 64 KiB": answer(BODY, "200 OK", "X: " + "a" * (2**16 - 3)),
    "1,000 headers": answer(BODY, "200 OK", *(f"X-{n}: y" for n in range(999))),
    "gzip": answer(gzip.compress(BODY), "200 OK", "Content-Encoding: gzip"),
    "rubbish behind it": answer(BODY) + b"rubbish\x00\r\n\r\n",
    "another answer behind it": answer(BODY) + answer(b"{}"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_an_odd_answer_that_is_whole_is_whole(name: str) -> None:
    async with exchanging(WHOLE[name]) as made:
        reply = await made.exchange(POST)
    assert (reply.status, reply.body, reply.complete) == (200, BODY, True)


@pytest.mark.parametrize(
    "steps",
    [
        (answer(b" " * 3_000_000),),
        (chunked(b" " * 3_000_000, size=100_000), 1.0),
        (answer(gzip.compress(b" " * 100_000_000), "200 OK", "Content-Encoding: gzip"),),
    ],
    ids=["announced", "chunked", "inflated"],
)
async def test_an_answer_is_read_up_to_a_bound(steps: tuple[Step, ...]) -> None:
    async with exchanging(*steps) as made:
        reply = await made.exchange(POST)
        assert len(reply.body) == MAX_BODY
        assert not reply.complete
        assert "longer" in reply.reason


async def test_a_cancelled_create_hands_over_what_had_come() -> None:
    async def cut(*steps: Step) -> Interruption:
        async with exchanging(*steps) as made:
            task = asyncio.ensure_future(made.exchange(POST))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
        return interruption_of(caught.value)

    found = await cut(chunked(BODY).removesuffix(b"0\r\n\r\n"), 5.0)
    assert found.sent
    assert isinstance(found.response, HttpResponse)
    assert found.response.body == BODY
    assert not found.response.complete
    assert await cut(5.0) == Interruption(sent=True, response=None)


async def test_chunks_outweigh_a_length_even_where_they_come_later() -> None:
    raw = chunked(BODY, "200 OK", "content-length: 3")
    head = raw.index(b"\r\n\r\n") + 4
    async with exchanging(raw[:head], 0.02, raw[head:-20], 0.02, raw[-20:]) as made:
        reply = await made.exchange(POST)
    assert (reply.body, reply.complete) == (BODY, True)

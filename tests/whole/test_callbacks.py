"""The receiver alone: its URLs, and what it takes over HTTP, in aiohttp, ASGI and by hand."""

import copy
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import CallbackRejected, ConfigurationError, InvalidRequest
from keevx_async.submission.callbacks import (
    MAX_BODY,
    MAX_KEY,
    MAX_PUBLIC_URL,
    TOKEN_TTL,
    task_of,
)
from tests.conftest import FakeClock
from tests.support.callbacks import (
    BODY,
    SECRET,
    SERVED,
    Served,
    Told,
    a_receiver,
    loopback,
    posted,
    token_of,
    under_uvicorn,
)

# URLs


@given(st.text(min_size=1, max_size=100))
def test_any_key_comes_back(key: str) -> None:
    receiver = a_receiver()
    try:
        key.encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidRequest, match="must be 1 to"):
            receiver.url_for(key)
        return
    url = receiver.url_for(key)
    assert url.startswith("https://you.example/keevx/")
    assert set(url) <= set(":/.-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert receiver.verify(url.rpartition("/")[2]) == key


@pytest.mark.parametrize("key", ["k" * MAX_KEY, "é" * (MAX_KEY // 2)])
def test_the_longest_key_makes_an_url_that_any_server_takes(key: str) -> None:
    origin = "https://you.example/"
    receiver = a_receiver(origin + "p" * (MAX_PUBLIC_URL - len(origin)))
    url = receiver.url_for(key)
    assert len(url) < 2000
    token = url.rpartition("/")[2]
    assert receiver.verify(token) == key
    with pytest.raises(CallbackRejected):
        receiver.verify(token + "A")


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY + 1), "é" * MAX_KEY, "\ud800"])
def test_a_key_that_cannot_stand_in_an_url_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="must be 1 to 512 bytes of text"):
        a_receiver().url_for(key)


def test_an_url_is_good_for_as_long_as_a_result_is_kept(clock: FakeClock) -> None:
    receiver = a_receiver(clock=clock)
    token = token_of(receiver)
    clock.advance(TOKEN_TTL)
    assert receiver.verify(token) == "key"
    clock.advance(1)
    with pytest.raises(CallbackRejected):
        receiver.verify(token)


def test_whoever_has_the_secret_verifies() -> None:
    token = token_of(a_receiver())
    assert a_receiver("https://other.example", secret=SECRET.encode()).verify(token) == "key"
    with pytest.raises(CallbackRejected):
        a_receiver(secret="another secret of length").verify(token)


@pytest.mark.parametrize(
    "url",
    [
        "you.example/keevx",
        "ftp://you.example",
        "https://you.example/?q",
        "https://you.example/#f",
        "https://user:word@you.example/",
        "https://you.example/{token}",
        "https://you.example/a b",
        "https://you.example/" + "p" * MAX_PUBLIC_URL,
        "",
        None,
    ],
)
def test_a_public_url_that_cannot_be(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="the public URL must look like"):
        a_receiver(url)


@pytest.mark.parametrize("secret", ["", "fifteen letters", b"", None, 7])
def test_a_secret_that_cannot_be(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret must be at least 16") as caught:
        a_receiver(secret=secret)
    assert not secret or str(secret) not in str(caught.value)


def test_the_secret_shows_nowhere() -> None:
    receiver = a_receiver()
    assert SECRET not in repr(receiver) + str(receiver)
    for steal in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a secret"):
            steal(receiver)


# Receiving


async def test_receive_passes_a_callback_to_every_sink() -> None:
    receiver, one, two = a_receiver(), Told(), Told()
    receiver.attach(one)
    receiver.attach(two)
    await receiver.receive(token_of(receiver), BODY)
    receiver.detach(one)
    receiver.detach(one)
    await receiver.receive(token_of(receiver, "other"), BODY)
    assert one.all == [("key", "i2v-1")]
    assert two.all == [("key", "i2v-1"), ("other", "i2v-1")]


async def test_a_sink_that_fails_keeps_none_from_the_others() -> None:
    async def failing(key: str, task_id: str) -> None:
        raise ConfigurationError("full")

    receiver, told = a_receiver(), Told()
    receiver.attach(failing)
    receiver.attach(told)
    with pytest.raises(ConfigurationError, match="full"):
        await receiver.receive(token_of(receiver), BODY)
    assert told.all == [("key", "i2v-1")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"data":[]}',
        b'{"data":{"task_id":7}}',
        b'{"data":{"task_id":["i2v-1"]}}',
        b'{"data":{"task_id":{"a":1}}}',
        b"[1]",
        b"task_id=i2v-1",
        '{"data":'.encode("utf-16"),
        b'{"data":{"task_id":"i2v-1\\r\\nX-Injected: 1"}}',
        b'{"data":{"task_id":""}}',
        b'{"data":{"task_id":"../../v1/other"}}',
        b'{"data":{"task_id":".."}}',
        b'{"data":{"task_id":"one two"}}',
        b'{"data":{"task_id":"i2v-1\\n"}}',
        b'{"data":{"task_id":"\\ud800"}}',
        b'{"data":{"task_id":"' + b"i" * 201 + b'"}}',
        b'{"task_id":"i2v-1"}',
        b"[" * 60_000,
        b'{"data":' * 7_000,
        b'{"data":{"task_id":' + b"9" * 60_000 + b"}}",
        b"\xff\xfe{",
        b" " * MAX_BODY + BODY,
    ],
)
def test_a_body_that_is_not_a_callback_is_refused(body: bytes) -> None:
    with pytest.raises(CallbackRejected):
        task_of(body)


@given(st.binary(max_size=300))
def test_no_body_does_worse_than_be_rejected(body: bytes) -> None:
    with pytest.raises(CallbackRejected):
        task_of(body)


@pytest.mark.parametrize("served", SERVED)
async def test_a_callback_over_http(served: Served) -> None:
    async with served() as receiver:
        receiver.attach(told := Told())
        assert await posted(receiver.url_for("a/b c\n"), data=BODY) == 204
        assert told.all == [("a/b c\n", "i2v-1")]


@pytest.mark.parametrize("served", SERVED)
async def test_what_could_not_be_taken_may_come_again(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(key: str, task_id: str) -> None:
        raise ConfigurationError("full")

    async with served() as receiver:
        url = receiver.url_for("key")
        assert await posted(url, data=BODY) == 503, "nobody is attached yet"
        assert await posted(url + "x", data=BODY) == 503, "which is no secret"
        receiver.attach(failing)
        assert await posted(url, data=BODY) == 500
        assert await posted(url + "x", data=BODY) == 204
        receiver.detach(failing)
        receiver.attach(told := Told())
        assert await posted(url, data=BODY) == 204
        assert told.all == [("key", "i2v-1")]
    assert "full" in caplog.text
    assert token_of(receiver) not in caplog.text
    assert url not in caplog.text


@pytest.mark.parametrize("served", SERVED)
async def test_only_posts_are_taken(served: Served) -> None:
    async with served() as receiver, aiohttp.ClientSession() as session:
        receiver.attach(told := Told())
        for method in ("GET", "PUT", "DELETE"):
            async with session.request(method, receiver.url_for("key"), data=BODY) as answer:
                assert answer.status == 405
        assert told.all == []


async def test_serving_alone() -> None:
    receiver, told = a_receiver(), Told()
    receiver.attach(told)
    async with receiver.serving() as (host, port):
        assert await posted(f"http://{host}:{port}/keevx/{token_of(receiver)}", data=BODY) == 204
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}: "):
            async with receiver.serving(port=port):
                pass
    assert told.all == [("key", "i2v-1")]


async def test_the_asgi_app_alone_under_uvicorn() -> None:
    """Its root is asked for a lifespan, and strangers may try a websocket."""
    bound, origin = loopback()
    receiver, told = a_receiver(origin), Told()
    receiver.attach(told)
    async with under_uvicorn(receiver.asgi_app(), bound):
        assert await posted(receiver.url_for("key"), data=BODY) == 204
    assert told.all == [("key", "i2v-1")]


async def test_asgi_scopes_other_than_http() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is to be received")

    app: Callable[..., Awaitable[None]] = a_receiver().asgi_app()
    await app({"type": "websocket", "path": "/x"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
    with pytest.raises(ValueError, match="not lifespan"):
        await app({"type": "lifespan"}, receive, send)


async def test_an_asgi_client_that_disconnects_midway_sends_no_callback() -> None:
    receiver, told, sent = a_receiver(), Told(), []
    receiver.attach(told)
    messages: list[Any] = [
        {"type": "http.request", "body": BODY, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": f"/{token_of(receiver)}"}
    await receiver.asgi_app()(scope, receive, send)
    assert sent[0]["status"] == 204
    assert told.all == []

"""Which connection a create goes out on, and whether it was sent: over raw sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from keevx_async import ConfigurationError, Keevx
from keevx_async.http import connections as rules
from keevx_async.http.timeouts import ExchangeTimer
from keevx_async.http.transport import AiohttpTransport, HttpRequest, interruption_of
from keevx_async.http.verdict import TransportError
from tests.support.client import a_request
from tests.support.raw_server import FIN, Heard, RawServer, Script, Step, answer, envelope

POST = HttpRequest("POST", "/v1/image_to_video", b'{"prompt":"a"}')
GET = HttpRequest("GET", "/v1/image_to_video/i2v-1")
OK = answer(envelope(["i2v-1"]))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PROBE", 0.02)


@asynccontextmanager
async def transport(url: str, total: float = 5.0, **more: Any) -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(
        url, {"Authorization": "Bearer k"}, aiohttp.ClientTimeout(total=total), **more
    )
    try:
        yield made
    finally:
        await made.close()


async def connections_of(
    calls: list[HttpRequest | float], script: Callable[[Heard], Script] = lambda _: Script([OK])
) -> list[int]:
    """The number of the connection that each call came on; a number waits so many seconds."""
    async with RawServer(script) as server, transport(server.url) as made:
        for call in calls:
            if isinstance(call, HttpRequest):
                await made.exchange(call)
            else:
                await asyncio.sleep(call)
        return [one.connection for one in server.heard]


# --- Kept connections


async def test_a_connection_that_was_just_used_carries_the_next_create() -> None:
    assert await connections_of([POST, POST, GET, POST, POST]) == [1, 1, 1, 1, 1]


async def test_one_that_was_idle_for_too_long_carries_queries_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "MAX_IDLE", 0.0)
    assert await connections_of([POST, GET, GET, POST]) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Keep-Alive: timeout=0", [1, 2]),
        ("Keep-Alive: max=9, TIMEOUT=0", [1, 2]),
        ("Keep-Alive: timeout=60", [1, 1]),
        ("Keep-Alive: nonsense", [1, 1]),
    ],
)
async def test_what_the_host_says_of_keeping_is_heeded(header: str, expected: list[int]) -> None:
    said = answer(envelope(["i2v-1"]), "200 OK", header)
    assert await connections_of([POST, POST], lambda _: Script([said])) == expected


@pytest.mark.parametrize("delay", [0.0, 0.005])
async def test_a_host_that_closes_after_each_answer_makes_no_doubt(
    delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The host shares our event loop, so its close is late if the machine is busy for this long.
    monkeypatch.setattr(rules, "PROBE", 1.0)

    def closing(heard: Heard) -> Script:
        return Script([answer(envelope(heard.ids)), delay, FIN])

    async with RawServer(closing) as server, Keevx("key", base_url=server.url) as keevx:
        fan = await keevx.submit_many((a_request(f"p{n}") for n in range(60)), concurrency=4)
    assert not fan.errors
    assert len(set(fan.task_ids)) == 60


async def test_after_a_loss_on_a_used_connection_the_next_are_new() -> None:
    def dropping(heard: Heard) -> Script:
        return Script([FIN] if len(server.heard) == 3 else [OK])

    async with RawServer(dropping) as server, transport(server.url) as made:
        await made.exchange(POST)
        await made.exchange(POST)
        with pytest.raises(TransportError) as caught:
            await made.exchange(POST)
        assert caught.value.sent
        await made.exchange(POST)
        await made.exchange(POST)
        assert [one.connection for one in server.heard] == [1, 1, 1, 2, 3]


# --- Bytes that nobody asked for

STRAY = {
    "a whole answer": OK,
    "a refusal": answer(b'{"code":429,"msg":"slow down"}', "429 Too Many"),
    "part of an answer": OK[:30],
    "rubbish": b"\x00",
}


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
@pytest.mark.parametrize("pause", [None, 0.01], ids=["with the answer", "while idle"])
@pytest.mark.parametrize("call", [POST, GET], ids=["POST", "GET"])
async def test_bytes_that_came_before_the_request_are_not_its_answer(
    stray: bytes, pause: float | None, call: HttpRequest
) -> None:
    def script(heard: Heard) -> Script:
        if len(server.heard) > 1:
            return Script([answer(b"mine")])
        return Script([OK + stray] if pause is None else [OK, pause, stray])

    async with RawServer(script) as server, transport(server.url) as made:
        assert (await made.exchange(POST)).body == envelope(["i2v-1"])
        await asyncio.sleep(0.2)
        reply = await made.exchange(call)
        assert (reply.body, reply.complete) == (b"mine", True)
        assert [one.connection for one in server.heard] == [1, 2]


# --- Not sent


async def fault(url: str, total: float = 1.0, **more: Any) -> Exception:
    async with transport(url, total, **more) as made:
        with pytest.raises((TransportError, ConfigurationError)) as caught:
            await made.exchange(POST)
    return caught.value


async def test_a_tls_handshake_that_never_ends_was_not_sent() -> None:
    async with RawServer() as server:
        found = await fault(server.url.replace("http:", "https:"))
    assert isinstance(found, TransportError)
    assert not found.sent


@pytest.mark.parametrize(
    "does",
    [5.0, FIN, b"rubbish\r\n\r\n", answer(b"", "502 Bad Gateway")],
    ids=["mute", "drops", "rubbish", "refuses"],
)
async def test_a_proxy_that_does_not_connect_was_not_sent(
    does: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RawServer(lambda _: Script([does])) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        found = await fault("https://api.example")
        assert [one.method for one in proxy.heard] == ["CONNECT"]
    assert isinstance(found, TransportError)
    assert not found.sent


async def test_a_slow_resolver_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", never)
    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", never)
    found = await fault("http://api.example", 0.05)
    assert isinstance(found, TransportError)
    assert not found.sent

    async with transport("http://api.example") as made:
        task = asyncio.ensure_future(made.exchange(POST))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert not interruption_of(caught.value).sent


@pytest.mark.parametrize("host", ["api..example", "a" * 70 + ".example"])
async def test_a_host_that_cannot_be_encoded_is_a_clear_error(host: str) -> None:
    found = await fault(f"http://{host}")
    assert isinstance(found, ConfigurationError)
    assert host in str(found)


@pytest.mark.parametrize("headers", [{"X": "a\nb"}, {"X": "\ud800"}, {"": "a"}, {"X: y": "a"}])
async def test_headers_of_a_lent_session_that_cannot_be_sent_are_refused(headers: Any) -> None:
    async with aiohttp.ClientSession(headers=headers) as session:
        with pytest.raises(ConfigurationError, match="session="):
            Keevx("key", session=session)


# --- A lent session


async def hostile(response: aiohttp.ClientResponse) -> None:
    raise RuntimeError("of the session's own")


async def meddling(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
    await handler(request)
    response: aiohttp.ClientResponse = await handler(request)
    return response


@pytest.mark.parametrize(
    "given",
    [
        {"raise_for_status": True},
        {"raise_for_status": hostile},
        {"auto_decompress": False},
        {"timeout": aiohttp.ClientTimeout(total=0.000_001)},
        {"middlewares": (meddling,)},
        {"max_line_size": 10, "max_field_size": 10},
        {"headers": {"Accept-Encoding": "br", "Authorization": "Basic eDp5"}},
        {"cookies": {"a": "b"}},
    ],
    ids=lambda given: next(iter(given)),
)
async def test_nothing_of_a_lent_session_changes_a_meaning(given: dict[str, Any]) -> None:
    def refuse(_: Heard) -> Script:
        return Script([answer(b"no", "400 Bad")])

    async with (
        RawServer(refuse) as server,
        aiohttp.ClientSession(**given) as session,
        transport(server.url, session=session) as made,
    ):
        reply = await made.exchange(POST)
        assert (reply.status, reply.body, reply.complete) == (400, b"no", True)
        (heard,) = server.heard
        assert b"Authorization: Bearer k\r\n" in heard.head
        assert b"Basic" not in heard.head
        assert b"ookie" not in heard.head
        assert not session.closed


async def test_what_a_lent_session_is_lent_for_is_used() -> None:
    started: list[str] = []

    async def note(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        started.append(params.method)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    async with (
        RawServer(lambda _: Script([OK])) as server,
        aiohttp.ClientSession(
            proxy=server.url, headers={"X-Mine": "yes"}, trace_configs=[trace]
        ) as session,
        transport("http://api.example", session=session) as made,
    ):
        await made.exchange(POST)
        assert server.heard[0].path == "http://api.example/v1/image_to_video"
        assert b"X-Mine: yes\r\n" in server.heard[0].head
        assert started == ["POST"]


async def test_a_trace_that_fails_after_the_answer_costs_no_ids() -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("of the session's own")

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(fail)
    async with (
        RawServer() as server,
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        Keevx("key", base_url=server.url, session=session) as keevx,
    ):
        assert (await keevx.submit(a_request("a"))).task_ids == server.ids["a"]


async def test_a_lent_session_with_a_login_of_its_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine api.example\nlogin u\npassword p\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(ConfigurationError, match="netrc"):
            Keevx("key", base_url="https://api.example", session=session)
        Keevx("key", base_url="https://other.example", session=session)


def test_a_lent_session_of_another_loop_is_refused() -> None:
    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def use(session: aiohttp.ClientSession) -> None:
        found = await fault("http://api.example", session=session)
        assert isinstance(found, ConfigurationError)
        assert "event loop" in str(found)

    with asyncio.Runner() as one:
        session = one.run(make())
        with asyncio.Runner() as two:
            two.run(use(session))
        one.run(session.close())


# --- What this rests on: fails loudly when aiohttp changes


async def test_aiohttp_still_works_as_we_rely_on() -> None:
    """Each exchange goes through our connector, and each connection has our tap in it."""
    async with RawServer(lambda _: Script([OK])) as server, transport(server.url) as made:
        session = await made.session()
        assert isinstance(session.connector, rules.CheckedConnector)
        attempt = rules.Attempt(ExchangeTimer(None), once=True)
        rules.ATTEMPT.set(attempt)
        async with session.post(server.url, data=b'{"prompt":"a"}') as response:
            assert attempt.connecting
            assert attempt.tap is not None
            await response.read()
        rules.ATTEMPT.set(None)
        assert b"".join(attempt.tap.received or ()) == OK
    assert hasattr(aiohttp.ClientSession, "trust_env")
    async with aiohttp.ClientSession(proxy="http://p:1") as lent:
        assert str(lent._default_proxy) == "http://p:1"

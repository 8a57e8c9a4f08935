"""One exchange: was it sent? And the pool it goes through, the proxies, the key."""

import asyncio
import copy
import errno
import inspect
import logging
import pickle
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions, web
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from keevx_async import ConfigurationError
from keevx_async.http.failures import SENT, translate
from keevx_async.http.transport import AiohttpTransport, HttpRequest
from keevx_async.http.verdict import TransportError
from tests.support.emulator import until
from tests.support.ports import refusing
from tests.support.proxies import listening
from tests.support.raw_server import FIN, RST, RawServer, Script, Step, answer

KEY = "sk-never-to-be-seen"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-Team": "blue"}
BASE = "https://api.example"
POST = HttpRequest("POST", "/v1/image_to_video", b'{"prompt":"secret prompt"}')
GET = HttpRequest("GET", "/v1/image_to_video/i2v-1")
BRIEFLY = aiohttp.ClientTimeout(total=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def transport(
    base_url: str = BASE, timeout: aiohttp.ClientTimeout = BRIEFLY, **more: Any
) -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(base_url, HEADERS, timeout, **more)
    try:
        yield made
    finally:
        await made.close()


async def fault(base_url: str, call: HttpRequest = POST, **more: Any) -> TransportError:
    async with transport(base_url, **more) as made:
        with pytest.raises(TransportError) as caught:
            await made.exchange(call)
    return caught.value


# --- The table: every exception of aiohttp's, and whether Keevx may have seen the request.
# False only where aiohttp raises it while connecting, before the first byte of a request.

EXPECTED = {
    "ClientConnectionError": True,
    "ClientConnectionResetError": True,
    "ClientConnectorCertificateError": False,
    "ClientConnectorDNSError": False,
    "ClientConnectorError": False,
    "ClientConnectorSSLError": False,
    "ClientError": True,
    "ClientHttpProxyError": False,
    "ClientOSError": True,
    "ClientPayloadError": True,
    "ClientProxyConnectionError": False,
    "ClientResponseError": True,
    "ClientSSLError": False,
    "ConnectionTimeoutError": False,
    "ContentTypeError": True,
    "InvalidURL": False,
    "InvalidUrlClientError": False,
    "InvalidUrlRedirectClientError": True,  # raised when the answer was a redirect: it was sent
    "NonHttpUrlClientError": False,
    "NonHttpUrlRedirectClientError": True,  # likewise
    "RedirectClientError": True,
    "ServerConnectionError": True,
    "ServerDisconnectedError": True,
    "ServerFingerprintMismatch": False,
    "ServerTimeoutError": True,
    "SocketTimeoutError": True,
    "TooManyRedirects": True,
    "UnixClientConnectorError": False,
    "UploadAbortedError": True,
    "WSServerHandshakeError": True,
    # the standard library's, which aiohttp lets through
    "OSError": True,
    "TimeoutError": True,
    "ConnectionResetError": True,
    "BrokenPipeError": True,
    "SSLError": True,
}
NEWER = {"UploadAbortedError"}  # not in every aiohttp that we allow


def exception_classes() -> dict[str, type[Exception]]:
    """Every exception that aiohttp shows, and what stands below them."""
    shown = [*vars(client_exceptions).values(), *(getattr(aiohttp, n) for n in aiohttp.__all__)]
    found: dict[str, type[Exception]] = {
        one.__name__: one
        for one in shown
        if inspect.isclass(one) and issubclass(one, aiohttp.ClientError | OSError)
    }
    waiting = [aiohttp.ClientError]
    while waiting:
        children = [one for one in waiting.pop().__subclasses__() if "aiohttp" in one.__module__]
        found |= {one.__name__: one for one in children}
        waiting += children
    library = (OSError, TimeoutError, ConnectionResetError, BrokenPipeError, ssl.SSLError)
    return found | {one.__name__: one for one in library}


def test_the_table_knows_every_exception_of_aiohttps() -> None:
    assert {*exception_classes()} | NEWER == {*EXPECTED}, "say whether the new one means: sent"


@pytest.mark.parametrize("name", sorted(exception_classes()))
def test_sent_or_not(name: str) -> None:
    kind = exception_classes()[name]
    error = kind.__new__(kind)  # its arguments change from version to version
    assert translate(error).sent is EXPECTED[name]


def test_what_the_table_does_not_name_was_sent() -> None:
    class Surprise(Exception):
        pass

    assert translate(Surprise()).sent
    assert {kind for kind, sent in SENT.items() if not sent}, "else nothing is ever sent again"


# --- Over real sockets


async def test_a_refused_connection_was_not_sent() -> None:
    with refusing() as url:
        found = await fault(url)
    assert not found.sent
    assert "ClientConnectorError" in found.reason
    assert "Connect" in found.reason


async def test_a_name_that_cannot_be_resolved_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any, **__: Any) -> Any:
        raise OSError(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)
    found = await fault("https://api.example")
    assert not found.sent
    assert "Name or service not known" in found.reason


@pytest.mark.parametrize("limit", ["connect", "sock_connect"])
async def test_a_connect_timeout_was_not_sent(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", never)
    timeout = aiohttp.ClientTimeout(total=5, **{limit: 0.02})
    found = await fault("http://127.0.0.1:9", timeout=timeout)
    assert not found.sent
    assert "timed out" in found.reason or "timeout" in found.reason.lower()


async def test_the_wait_for_a_full_borrowed_pool_was_not_sent() -> None:
    timeout = aiohttp.ClientTimeout(total=5, connect=0.05)
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        RawServer(lambda _: Script([60.0])) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        made = AiohttpTransport(server.url, HEADERS, timeout, session)
        first = asyncio.ensure_future(made.exchange(GET))
        await until(lambda: bool(server.heard))
        with pytest.raises(TransportError) as caught:
            await made.exchange(POST)
        assert not caught.value.sent
        first.cancel()
        await asyncio.wait({first})


async def test_a_failed_tls_handshake_was_not_sent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"this is no TLS\r\n\r\n")

    async with listening(serve) as port:
        found = await fault(f"https://127.0.0.1:{port}")
    assert not found.sent
    assert "SSL" in found.reason


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (FIN, "ServerDisconnected"),
        (RST, ""),
        (b"hello\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ""),
        (b"\x15\x03\x01\x00\x02\x02\x16", ""),
    ],
    ids=lambda value: repr(value[-20:]),
)
@pytest.mark.parametrize("call", [POST, GET], ids=["POST", "GET"])
async def test_a_request_without_a_readable_answer_was_sent(
    call: HttpRequest, step: Step, reason: str
) -> None:
    async with RawServer(lambda _: Script([step, FIN])) as server:
        found = await fault(server.url, call)
    assert found.sent
    assert reason in found.reason


@pytest.mark.parametrize("limit", ["total", "sock_read"])
async def test_a_timeout_after_connecting_was_sent(limit: str) -> None:
    async with RawServer(lambda _: Script([60.0])) as server:
        found = await fault(server.url, timeout=aiohttp.ClientTimeout(**{limit: 0.05}))
    assert found.sent
    assert "timed out" in found.reason or "Timeout" in found.reason


async def test_what_is_sent_is_what_was_given() -> None:
    refusal = answer(b"\xff\x00{}", "404 No", "X-A: 1")
    async with (
        RawServer(lambda _: Script([refusal])) as server,
        transport(server.url + "/gateway/") as made,
    ):
        reply = await made.exchange(POST)
        await made.exchange(HttpRequest("GET", "/v1/image_to_video/a%2Fb"))
    assert (reply.status, reply.headers["x-a"], reply.body) == (404, "1", b"\xff\x00{}")
    create, query = server.heard
    assert create.head.startswith(b"POST /gateway/v1/image_to_video HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}\r\n".encode() in create.head
    assert b"Content-Type: application/json\r\n" in create.head
    assert b"X-Team: blue\r\n" in create.head
    assert create.body == POST.body
    assert query.head.startswith(b"GET /gateway/v1/image_to_video/a%2Fb HTTP/1.1\r\n")
    assert b"Content-Type" not in query.head


async def test_cookies_are_not_kept() -> None:
    baking = answer(b"ok", "200 OK", "Set-Cookie: a=b; Path=/")
    async with (
        RawServer(lambda _: Script([baking])) as server,
        transport(server.url.replace("127.0.0.1", "localhost")) as made,
    ):
        await made.exchange(GET)
        await made.exchange(GET)
    assert b"ookie" not in server.heard[1].head


# --- The request layer, mocked


@pytest.mark.parametrize(
    ("raised", "wanted"),
    [(RuntimeError(), TransportError), (ValueError("text"), ConfigurationError)],
)
async def test_nothing_raw_leaves_an_exchange(
    raised: Exception, wanted: type[Exception], mocked: aioresponses
) -> None:
    mocked.post(f"{BASE}/v1/image_to_video", exception=raised)
    async with transport() as made:
        with pytest.raises(wanted):
            await made.exchange(POST)


async def test_a_fault_holds_none_of_aiohttps_errors(mocked: aioresponses) -> None:
    """Some of them hold the request's headers, which a traceback with locals would show."""
    mocked.post(f"{BASE}/v1/image_to_video", exception=aiohttp.ServerDisconnectedError())
    async with transport() as made:
        with pytest.raises(TransportError) as caught:
            await made.exchange(POST)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_a_cancellation_is_not_counted_as_a_fault(mocked: aioresponses) -> None:
    mocked.post(f"{BASE}/v1/image_to_video", exception=asyncio.CancelledError())
    async with transport() as made:
        with pytest.raises(asyncio.CancelledError):
            await made.exchange(POST)


# --- What must not be seen


def errors_with_secrets() -> list[Exception]:
    url = URL(f"https://api.example/v1?signature={KEY}")
    sent = CIMultiDictProxy(CIMultiDict(HEADERS))
    info = aiohttp.RequestInfo(url, "POST", sent, url)
    return [
        aiohttp.InvalidURL(str(url), "wrong"),
        aiohttp.ClientResponseError(info, (), status=400, message="bad"),
        aiohttp.TooManyRedirects(info, ()),
        aiohttp.ServerDisconnectedError(KEY),
        aiohttp.ClientPayloadError(f"cut: {url}"),
        OSError(errno.EPIPE, f"while sending {url}"),
    ]


@pytest.mark.parametrize("error", errors_with_secrets(), ids=lambda error: type(error).__name__)
async def test_no_secret_is_in_a_fault_or_a_log(
    error: Exception, mocked: aioresponses, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mocked.post(f"{BASE}/v1/image_to_video", exception=error)
    async with transport() as made:
        with pytest.raises(TransportError) as caught:
            await made.exchange(POST)
        assert KEY not in repr(made)
    assert type(error).__name__ in caught.value.reason
    for text in (caught.value.reason, str(caught.value), repr(caught.value), caplog.text):
        assert KEY not in text
        assert "secret prompt" not in text
        assert "signature" not in text
    assert "POST /v1/image_to_video" in caplog.text, "else nothing was logged at all"


async def test_no_secret_is_logged_when_all_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with RawServer() as server, transport(server.url) as made:
        await made.exchange(POST)
    assert "HTTP 200" in caplog.text
    assert KEY not in caplog.text
    assert "secret prompt" not in caplog.text


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_transport_gives_no_copy_of_the_key(copied: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="API key"):
        copied(AiohttpTransport(BASE, HEADERS, BRIEFLY))


def test_the_host_is_shown_without_its_user() -> None:
    assert AiohttpTransport("http://me:pass@api.example:8080/v", HEADERS, BRIEFLY).host == (
        "api.example:8080"
    )


# --- The pool


async def test_one_session_serves_a_loop_until_it_is_closed_for_good() -> None:
    made = AiohttpTransport(BASE, HEADERS, BRIEFLY)
    first = await made.session()
    assert await made.session() is first
    assert not first.closed
    await made.close()
    await made.close()  # idempotent
    closed: bool = first.closed  # mypy thinks that it still is what it was
    assert closed
    with pytest.raises(ConfigurationError, match="closed"):
        await made.session()


def test_a_second_loop_gets_a_new_pool_and_the_first_one_closes_with_its_loop() -> None:
    made = AiohttpTransport(BASE, HEADERS, BRIEFLY)

    async def session() -> aiohttp.ClientSession:
        return await made.session()

    first = asyncio.run(session())
    assert first.closed, "an ended loop must leave no socket behind"
    second = asyncio.run(session())
    assert second is not first
    asyncio.run(made.close())
    assert second.closed


def test_loops_that_live_side_by_side_have_a_pool_each() -> None:
    made = AiohttpTransport(BASE, HEADERS, BRIEFLY)
    with asyncio.Runner() as one, asyncio.Runner() as two:
        first = one.run(made.session())
        second = two.run(made.session())
        assert second is not first
        still_open = not first.closed
    assert still_open
    assert first.closed
    assert second.closed


async def test_a_borrowed_session_is_used_and_never_closed() -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as session, RawServer() as server:
        async with transport(server.url, session=session) as made:
            await made.exchange(GET)
            assert (await made.session()).closed is False
        assert not session.closed
        await session.close()
        with pytest.raises(ConfigurationError, match="session="):
            await AiohttpTransport(server.url, HEADERS, BRIEFLY, session).exchange(GET)
    (heard,) = server.heard
    assert b"X-Mine: yes" in heard.head
    assert f"Bearer {KEY}".encode() in heard.head


async def test_many_at_once_are_not_held_up_by_the_pool() -> None:
    together = asyncio.Barrier(150)  # aiohttp's own pool would let only 100 through

    async def answer(_: web.Request) -> web.Response:
        await together.wait()
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/v1/image_to_video/i2v-1", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with transport(f"http://127.0.0.1:{runner.addresses[0][1]}") as made:
        replies = await asyncio.gather(*(made.exchange(GET) for _ in range(150)))
    await runner.cleanup()
    assert {reply.status for reply in replies} == {200}


# --- Proxies


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with transport("http://api.example") as made:
            await made.exchange(GET)
    assert proxy.heard[0].path == "http://api.example/v1/image_to_video/i2v-1"


@pytest.mark.parametrize("proxy", ["proxy", "localhost:3128", "socks5://127.0.0.1:9"])
async def test_a_proxy_that_cannot_be_is_a_fault(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    assert not (await fault("http://api.example")).sent


def test_an_origin_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def getproxies() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"https": "http://tls:2"}

    monkeypatch.setattr(urllib.request, "getproxies", getproxies)
    monkeypatch.setattr("keevx_async.http.transport.getproxies", getproxies)
    made = AiohttpTransport(BASE, HEADERS, BRIEFLY)
    for path in ("/a", "/b?c=1", "/d"):
        assert made.proxy(URL(f"https://api.example{path}")) == "http://tls:2"
    assert asked == 1
    made.proxy(URL("https://storage.example/a"))
    assert asked == 2

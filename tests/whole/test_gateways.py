"""Gateways, filters and wrong hosts in front of a create, over real sockets.

The server's own book judges: whatever it answers, no create may be made twice.
"""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from keevx_async import (
    APIError,
    AuthenticationError,
    CallbackReceiver,
    ConfigurationError,
    Journal,
    Keevx,
    KeevxError,
    NotStarted,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    Submission,
    SubmissionUncertain,
)
from keevx_async.http.transport import AiohttpTransport, HttpResponse
from keevx_async.journal.protocol import Entry
from tests.support.client import a_request
from tests.support.journal import entry_of
from tests.support.raw_server import Heard, RawServer, Script
from tests.support.raw_server import answer as framed

KEY = "sk-secret-0123456789"
RETRY = RetryPolicy(attempts=4, first_delay=0.001, max_delay=0.002, deadline=20, grace=2)
ENVOY = (
    b"upstream connect error or disconnect/reset before headers. reset reason: connection "
    b"termination"
)
PAGE = b"<html><head><title>Blocked</title></head><body>Your request was blocked</body></html>"
HTML = "Content-Type: text/html; charset=utf-8"
Answer = Callable[[int, tuple[str, ...], bytes], bytes]
"""Returns the answer to a create from its number, its ids and the bytes that were sent."""


def http(body: bytes | dict[str, Any], status: int = 200, *headers: str) -> bytes:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    return framed(raw, f"{status} X", *headers)


def made(ids: Sequence[str], code: int = 0, **others: Any) -> dict[str, Any]:
    return {"code": code, "msg": "ok", "data": {"task_ids": ids}, **others}


class Server(RawServer):
    """Makes every create that it is sent, and answers as it is told.

    Attributes:
        query: the answer to every GET; by default Keevx's to an unknown task.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(self._respond)
        self.query: bytes = http({"code": 100003, "msg": "task not found"}, 404)
        self._answer = answer

    @property
    def queries(self) -> int:
        return sum(heard.method == "GET" for heard in self.heard)

    def _respond(self, heard: Heard) -> Script:
        if heard.method == "GET":
            return Script([self.query])
        creates = len(self.heard) - self.queries
        return Script([self._answer(creates, heard.ids, heard.head + heard.body)])


def client(server: Server, path: Path | None = None, **settings: Any) -> Keevx:
    given: dict[str, Any] = {"base_url": server.url, "retry": RETRY, "timeout": 5, "journal": path}
    return Keevx(KEY, **given | settings)


async def ended(server: Server, path: Path | None, count: int = 1, **settings: Any) -> Any:
    """What one run of a program makes of the create "p"."""
    async with client(server, path, **settings) as keevx:
        try:
            return await keevx.submit(a_request("p", generate_count=count), key="p")
        except KeevxError as error:
            return error


async def entry(path: Path) -> Entry:
    async with Journal(path) as journal:
        return await entry_of(journal, "p")


def first(answer: bytes) -> Answer:
    """The given answer to the first create, a good one to every other."""
    return lambda number, ids, sent: answer if number == 1 else http(made(ids))


def echo(status: int, code: int | None = None) -> bytes:
    return http({"code": code or status, "msg": "upstream timed out", "data": None}, status)


GATEWAYS = {
    **{f"envelope {one}": echo(one) for one in (408, 499, 500, 502, 504, 520, 524, 529)},
    "envelope 504 under 200": echo(200, 504),
    "envelope 504 under 503": echo(503, 504),
    "envelope 1 under 502": echo(502, 1),
    "Envoy's plain 503": http(ENVOY, 503, "Content-Type: text/plain", "Server: envoy"),
    "503, come back when you like": http(ENVOY, 503, "Retry-After: soon"),
    "503 page": http(PAGE, 503, HTML),
    **{f"page {one}": http(PAGE, one, HTML) for one in (200, 302, 308, 400, 403, 404, 409, 413)},
    **{f"page {one}": http(PAGE, one, HTML) for one in (421, 425, 444, 460, 499, 502, 504)},
    "plain 401": http(b"no", 401),
    "JSON 404": http({"detail": "Not Found"}, 404),
    "message for msg": http({"code": 100001, "message": "upstream"}, 400),
    "refusal and more": http(b'{"code":100001,"msg":"x"} trailing', 400),
    "nothing": http(b"", 200),
    "accepted without ids": http({"code": 0, "msg": "ok", "data": None}),
}


@pytest.mark.parametrize("name", GATEWAYS)
async def test_what_a_gateway_says_is_uncertain_and_never_paid_twice(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.db"
    async with Server(first(GATEWAYS[name])) as server:
        for _ in range(2):  # the same program twice
            error = await ended(server, path)
            assert isinstance(error, SubmissionUncertain)
        assert server.book == {"p": 1}
    assert (await entry(path)).state == "uncertain"


REFUSALS: dict[str, tuple[bytes, type[APIError]]] = {
    "own code": (http({"code": 100001, "msg": "no good"}, 400), APIError),
    "own code under 200": (http({"code": 100006, "msg": "no good"}), APIError),
    "another own code": (http({"code": 100005, "msg": "no good"}), APIError),
    "own code under 500": (http({"code": 100001, "msg": "no good"}, 500), APIError),
    "4xx as its code": (http({"code": 422, "msg": "no good"}, 422), APIError),
    "401": (http({"code": 100002, "msg": "no good"}, 401), AuthenticationError),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_by_keevx_is_raised_as_a_refusal(name: str, tmp_path: Path) -> None:
    answer, kind = REFUSALS[name]
    async with Server(lambda *_: answer) as server:
        error = await ended(server, tmp_path / "run.db")
        assert isinstance(error, kind)
        assert "no good" in str(error)
        assert server.book == {"p": 1}
        if kind is AuthenticationError:
            assert "KEEVX_BASE_URL" in error.hint


@pytest.mark.parametrize(
    "busy",
    [
        http({"code": 530003, "msg": "retry"}),
        http({"code": 530003, "msg": "retry"}, 500),
        http({"code": 503, "msg": "busy"}, 503),
        http({"code": 503, "msg": "busy"}),
        http(ENVOY, 503, "Retry-After: 0"),
        http(PAGE, 429, HTML),
        http({"code": 429, "msg": "slow"}),
    ],
)
async def test_what_is_busy_is_tried_again(busy: bytes) -> None:
    async with Server(first(busy)) as server:
        got = await ended(server, None)
        assert isinstance(got, Submission)
        assert server.book == {"p": 2}


async def test_a_code_that_a_user_calls_busy_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keevx_async.http.verdict.BUSY_CODES", {7})
    async with Server(first(http({"code": 7, "msg": "too much to do"}))) as server:
        assert isinstance(await ended(server, None), Submission)


IDS_ANYWAY: dict[str, Callable[[Sequence[str]], bytes]] = {
    "530003": lambda ids: http(made(ids, 530003)),
    "100006": lambda ids: http(made(ids, 100006)),
    "429": lambda ids: http(made(ids, 429), 429, "Retry-After: 0"),
    "503": lambda ids: http({"data": {"task_ids": ids}}, 503, "Retry-After: 0"),
    "500 and success": lambda ids: http(made(ids), 500),
    "404 page with the answer behind it": lambda ids: http(
        json.dumps(made(ids)).encode() + PAGE, 404, HTML
    ),
    "elsewhere": lambda ids: http({"code": 530003, "msg": "x", "task_ids": ids}),
    "half readable": lambda ids: http(made([*ids, ""], 530003)),
    "cut off in the text": lambda ids: http(json.dumps(made(ids)).encode()[:-3], 503),
}


@pytest.mark.parametrize("name", IDS_ANYWAY)
async def test_ids_in_an_answer_are_kept_and_never_sent_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.db"
    got: Any = None
    async with Server(lambda number, ids, sent: IDS_ANYWAY[name](ids)) as server:
        for on_uncertain in ("report", "report", "resubmit"):
            journal = Journal(path, on_uncertain=on_uncertain)
            got = await ended(server, None, count=2, journal=journal)
            assert got.task_ids == server.ids["p"]
            if isinstance(got, SubmissionUncertain):
                assert str(got).startswith(f"task ids {', '.join(server.ids['p'])} ")
        assert server.book == {"p": 1}
        assert (await entry(path)).task_ids == server.ids["p"]
    if isinstance(got, Submission):
        assert any(server.ids["p"][0] in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize("count", [1, 3])
async def test_fewer_ids_than_asked_for_are_kept_and_reported(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(lambda number, ids, sent: http(made([ids[0]] * count))) as server:
        got = await ended(server, None, count=3)
        assert got.task_ids == (server.ids["p"][0],)
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "expected 3 task ids, got 1 distinct" in record.getMessage()


@pytest.mark.parametrize("code", [0, 530003])
async def test_another_creates_ids_make_an_answer_unreadable(code: int, tmp_path: Path) -> None:
    seen: list[str] = []

    def stale(number: int, ids: tuple[str, ...], sent: bytes) -> bytes:
        seen.extend(ids)
        return http(made(seen[:1], 0 if number == 1 else code))

    path = tmp_path / "run.db"
    async with Server(stale) as server:
        async with client(server, path) as keevx:
            await keevx.submit(a_request("a"), key="a")
            with pytest.raises(SubmissionUncertain, match=f"{seen[0]} of create a") as caught:
                await keevx.submit(a_request("p"), key="p")
        assert caught.value.task_ids == ()
        async with client(server, path) as keevx:  # a new run knows them from the journal
            await keevx.submit(a_request("a"), key="a")
            with pytest.raises(SubmissionUncertain, match=f"{seen[0]} of create a"):
                await keevx.submit(a_request("p2"), key="p2")
        assert server.book == {"a": 1, "p": 1, "p2": 1}


ELSEWHERE = "https://user:word@api.keevx.example/v1/image_to_video?token=abc"
FOREIGN: dict[str, tuple[bytes, str]] = {
    "a redirect": (http(b"", 301, f"Location: {ELSEWHERE}"), "https://api.keevx.example"),
    "a lasting redirect": (http(b"", 308, f"Location: {ELSEWHERE}"), "https://api.keevx.example"),
    "a path that is not there": (http({"detail": "Not Found"}, 404), "Not Found"),
    "a method that is not there": (http(PAGE, 405), "405"),
    "a page": (http(PAGE, 200, HTML), "a web page"),
    "a login page": (http(PAGE, 403, HTML), "and the API key"),
}


@pytest.mark.parametrize("name", FOREIGN)
async def test_a_wrong_host_is_named_and_the_create_may_be_made_elsewhere(
    name: str, tmp_path: Path
) -> None:
    answer, word = FOREIGN[name]
    path = tmp_path / "run.db"
    async with Server(lambda *_: answer) as server:
        server.query = answer
        error = await ended(server, path)
        assert isinstance(error, ConfigurationError)
        for said in (server.url, "KEEVX_BASE_URL", word):
            assert said in str(error)
        assert "token" not in str(error)
        assert "word@" not in str(error)
        assert server.queries == 1
    assert (await entry(path)).state == "planned"
    async with Server(lambda number, ids, sent: http(made(ids))) as server:
        assert isinstance(await ended(server, path), Submission)


async def test_a_base_url_that_includes_the_path_is_named_in_the_error() -> None:
    answer = http(PAGE, 404, HTML)
    async with Server(lambda *_: answer) as server:
        server.query = answer
        error = await ended(server, None, base_url=f"{server.url}/v1")
        assert f"remove the /v1: {server.url}" in str(error)


async def test_a_host_is_asked_once_for_many_creates() -> None:
    answer = http(PAGE, 404, HTML)
    async with Server(lambda *_: answer) as server:
        server.query = answer
        async with client(server) as keevx:
            fan = await keevx.submit_many([a_request(f"p{n}") for n in range(20)])
        assert isinstance(fan.stopped_by, ConfigurationError)  # so it would be for every create
        assert {type(error) for error in fan.errors} <= {ConfigurationError, NotStarted}
        assert fan.counts.ok == 0
        assert server.queries == 1


@pytest.mark.parametrize("query", [http(PAGE, 502, HTML), http(b"", 429), b"SSH-2.0-x\r\n\r\n"])
async def test_an_answer_of_an_unknown_host_leaves_a_create_uncertain(query: bytes) -> None:
    async with Server(lambda *_: http(PAGE, 404, HTML)) as server:
        server.query = query
        error = await ended(server, None)
        assert isinstance(error, SubmissionUncertain)
        assert "check the base URL" in str(error)


async def test_a_host_that_has_answered_a_query_is_keevx() -> None:
    async with Server(lambda *_: http(PAGE, 404, HTML)) as server, client(server) as keevx:
        with pytest.raises(KeevxError, match="task not found"):
            await keevx.status("i2v-0")
        with pytest.raises(SubmissionUncertain):
            await keevx.submit(a_request())
        assert server.queries == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http(b"", 308, "Location: https://api.keevx.example/v1/x"), ConfigurationError),
        (http({"detail": "Not Found"}, 404), ConfigurationError),
        (http(PAGE, 200, HTML), ResponseError),
        (http(PAGE, 403, HTML), AuthenticationError),
        (http({"code": 100002, "msg": "no"}, 401), AuthenticationError),
    ],
)
async def test_a_query_to_a_wrong_host_names_the_base_url(
    answer: bytes, kind: type[KeevxError]
) -> None:
    async with Server(lambda *_: b"") as server, client(server) as keevx:
        server.query = answer
        with pytest.raises(kind, match="KEEVX_BASE_URL"):
            await keevx.status("i2v-0")


@pytest.mark.parametrize("code", [0, 100001, 500])
async def test_an_echo_of_the_request_shows_no_secret(
    code: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sent: list[bytes] = []

    def echoing(number: int, ids: tuple[str, ...], request: bytes) -> bytes:
        sent.append(request)
        said = request.decode()
        return http({"code": code, "msg": said[:250], "request": said}, 400 if code else 200)

    receiver = CallbackReceiver("http://127.0.0.1:9/callbacks", secret="0123456789abcdef")
    path = tmp_path / "run.db"
    async with Server(echoing) as server:
        extra = {"X-Gateway-Token": "tok-9876543210"}
        error = await ended(server, path, callbacks=receiver, headers=extra)
    token = json.loads(sent[0].partition(b"\r\n\r\n")[2])["callback_url"].rpartition("/")[2]
    shown = [
        str(error),
        repr(error),
        str(vars(error)),
        *(one.getMessage() for one in caplog.records),
    ]
    shown.append((await entry(path)).reason)
    for secret in (KEY, token, "tok-9876543210"):
        assert not any(secret in text for text in shown)
    assert "***" in str(error)


async def test_a_long_message_is_quoted_briefly(tmp_path: Path) -> None:
    async with Server(lambda *_: http({"code": 100001, "msg": "x" * 100_000}, 400)) as server:
        error = await ended(server, tmp_path / "run.db")
    assert max(map(len, (str(error), error.msg, error.body))) < 1000
    assert len((await entry(tmp_path / "run.db")).reason) < 1000


async def test_no_foreign_error_leaves_and_no_entry_stays_as_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> HttpResponse:
        raise ZeroDivisionError(f"while sending {KEY}")

    path = tmp_path / "run.db"
    async with Server(lambda number, ids, sent: http(made(ids))) as server:
        with monkeypatch.context() as patch:
            patch.setattr(AiohttpTransport, "exchange", failing)
            error = await ended(server, path)
        for again in (error, await ended(server, path)):
            assert isinstance(again, SubmissionUncertain)
            assert "ZeroDivisionError" in str(again)
            assert KEY not in str(again)
        assert (await entry(path)).state == "uncertain"
        assert not server.book


async def test_a_wait_is_reckoned_by_the_servers_own_clock() -> None:
    """Its clock is a day ahead of ours: two seconds are two seconds, not a day."""
    late = http(
        {"code": 429, "msg": "slow"},
        429,
        "Date: Tue, 04 Mar 2042 05:06:07 GMT",
        "Retry-After: Tue, 04 Mar 2042 05:06:07 GMT",
    )
    async with Server(first(late)) as server:
        assert isinstance(await ended(server, None), Submission)
    hour = late.replace(b"Retry-After: Tue, 04 Mar 2042 05", b"Retry-After: Tue, 04 Mar 2042 06")
    async with Server(first(hour)) as server:
        error = await ended(server, None)
        assert isinstance(error, RateLimitError)
        assert server.book == {"p": 1}

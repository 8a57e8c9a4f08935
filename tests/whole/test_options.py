"""A client with other settings, endpoints without a verb, ping, and keys that change."""

import asyncio
import gc
from typing import Any

import pytest

from keevx_async import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    Keevx,
    PollPolicy,
    RetryPolicy,
    SubmissionUncertain,
)
from keevx_async.events import Event, Exchange
from keevx_async.testing import Emulator, Faults
from tests.support.client import RETRY, a_request, keevx_of, some_requests
from tests.support.ports import refusing
from tests.support.raw_server import FIN, RawServer, Script, Step, answer

ONCE = RetryPolicy(attempts=1)


def always(*steps: Step) -> RawServer:
    """A server that does the same at every request."""
    return RawServer(lambda _: Script(steps, made=False))


async def test_other_settings_hold_for_the_other_client_only() -> None:
    faults = Faults(refuse=1.0, refuse_status=503, once=False)
    async with Emulator(faults=faults) as emulator, keevx_of(emulator) as keevx:
        hasty = keevx.with_options(retry=ONCE)
        with pytest.raises(APIError) as first:
            await hasty.submit(a_request())
        with pytest.raises(APIError) as second:
            await keevx.submit(a_request())
    assert (first.value.attempts, second.value.attempts) == (1, RETRY.attempts)


async def test_both_have_one_journal_and_never_submit_a_key_twice(
    emulator: Emulator, tmp_path: Any
) -> None:
    async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
        other = keevx.with_options(timeout=5)
        first, second = await asyncio.gather(
            keevx.submit(a_request(), key="order-1"), other.submit(a_request(), key="order-1")
        )
    assert first.task_ids == second.task_ids
    assert emulator.creates.total() == 1


async def test_both_share_the_permits_of_one_client() -> None:
    events: list[Event] = []
    async with (
        Emulator(faults=Faults(latency=0.05)) as emulator,
        keevx_of(emulator, max_connections=1, on_event=events.append) as keevx,
    ):
        loop, other = asyncio.get_running_loop(), keevx.with_options(retry=ONCE)
        began = loop.time()
        await asyncio.gather(keevx.submit(a_request("a")), other.submit(a_request("b")))
        took = loop.time() - began
    assert took >= sum(each.seconds for each in events if isinstance(each, Exchange))


async def test_headers_are_added_and_replaced_and_the_key_stays() -> None:
    async with (
        always(answer(b'{"code":0,"msg":"ok","data":{"a":1}}')) as server,
        Keevx("test-key", base_url=server.url, headers={"x-team": "a"}) as keevx,
    ):
        other = keevx.with_options(headers={"X-Team": "b", "Authorization": "Bearer no"})
        assert await other.request("GET", "/v1/account") == {"a": 1}
        assert await keevx.request("GET", "/v1/account") == {"a": 1}
    heads = [heard.head.lower() for heard in server.heard]
    assert [b"x-team: b" in heads[0], b"x-team: a" in heads[0]] == [True, False]
    assert b"x-team: a" in heads[1]
    assert all(b"authorization: bearer test-key" in head for head in heads)
    assert all(b"user-agent: keevx_async/" in head for head in heads)


async def test_a_shorter_timeout_ends_its_own_exchanges_only() -> None:
    async with (
        Emulator(faults=Faults(latency=0.3)) as emulator,
        keevx_of(emulator, retry=ONCE) as keevx,
    ):
        with pytest.raises(ConnectionFailed):
            await keevx.with_options(timeout=0.05).status("i2v-1")
        with pytest.raises(APIError):
            await keevx.status("i2v-1")


async def test_closing_either_closes_both_and_ends_their_waits(emulator: Emulator) -> None:
    emulator.seconds = 60
    keevx = keevx_of(emulator)
    other = keevx.with_options(polling=PollPolicy(shortest=0.01, longest=0.02))
    submission = await other.submit(a_request())
    waits = [asyncio.ensure_future(each.wait(submission.task_ids[0])) for each in (keevx, other)]
    await asyncio.sleep(0.05)
    await other.close()
    for wait in waits:
        with pytest.raises(ConfigurationError):
            await wait
    with pytest.raises(ConfigurationError, match="closed"):
        await keevx.submit(a_request())
    assert repr(keevx).endswith("closed>")
    del other, keevx
    gc.collect()  # warns of what was not closed, and a warning is an error


async def test_fan_outs_of_both_work_and_download(emulator: Emulator, tmp_path: Any) -> None:
    async with keevx_of(emulator) as keevx:
        fan = await keevx.with_options(retry=ONCE).generate_many(
            some_requests(3), download=tmp_path
        )
    assert [outcome.ok for outcome in fan.outcomes] == [True] * 3
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": -1}, {"retry": 3}, {"polling": RetryPolicy()}, {"headers": {"a b": "c"}}],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Keevx("test-key").with_options(**wrong)


# An endpoint without a verb.


async def test_a_get_is_retried_and_returns_the_data(emulator: Emulator) -> None:
    async with keevx_of(emulator) as keevx:
        submission = await keevx.submit(a_request())
        errors = iter([True, False])
        emulator.faults.poll_errors = lambda _: next(errors)
        data = await keevx.request("GET", f"/v1/image_to_video/{submission.task_ids[0]}")
    assert data["task_id"] == submission.task_ids[0]


async def test_a_refusal_is_the_same_error_as_of_any_verb(emulator: Emulator) -> None:
    async with keevx_of(emulator) as keevx:
        for method in ("GET", "POST", "DELETE"):
            with pytest.raises(APIError) as caught:
                await keevx.request(method, "/v1/unknown?page=2", json={"a": [1]})
            assert (caught.value.method, caught.value.path) == (method, "/v1/unknown?page=2")
            assert caught.value.attempts == 1
    assert emulator.requests["elsewhere"] == 3


@pytest.mark.parametrize(
    "step", [FIN, answer(b"<a/>", "502 Bad Gateway")], ids=["dropped", "a gateway's page"]
)
async def test_what_is_not_a_get_is_sent_once(step: Step) -> None:
    async with always(step) as server, Keevx("test-key", base_url=server.url, retry=RETRY) as keevx:
        with pytest.raises(SubmissionUncertain, match="POST /v1/new"):
            await keevx.request("POST", "/v1/new", json={"a": 1})
    assert len(server.heard) == 1


async def test_what_cannot_be_sent_is_refused_before_anything_is(emulator: Emulator) -> None:
    async with keevx_of(emulator) as keevx:
        for method, path, body, field in [
            ("get", "/v1/a", None, "method"),
            ("GET", "v1/a", None, "path"),
            ("GET", "https://elsewhere.example/", None, "path"),
            ("GET", "/v1/a b", None, "path"),
            ("GET", "/v1/a\r\nHost: b", None, "path"),
            ("POST", "/v1/a", {"a": {1}}, "json"),
            ("POST", "/v1/a", {"a": float("nan")}, "json"),
            ("POST", "/v1/image_to_video", {}, "path"),
            ("POST", "/v1/image_to_video/?a=1", {}, "path"),
        ]:
            with pytest.raises(InvalidRequest) as caught:
                await keevx.request(method, path, json=body)
            assert [each.field for each in caught.value.violations] == [field]
    assert emulator.requests.total() == 0


# Is it Keevx, and does it take the key?


async def test_ping_takes_one_free_request(emulator: Emulator) -> None:
    async with keevx_of(emulator) as keevx:
        assert await keevx.ping() >= 0
    assert emulator.requests.total() == 1
    assert emulator.creates.total() == 0


async def test_ping_names_a_refused_key_a_wrong_host_and_no_host() -> None:
    async with Emulator(api_key="right") as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(AuthenticationError):
            await keevx.ping()
    async with (
        always(answer(b"<a/>", "404 Not Found", "Content-Type: text/html")) as server,
        Keevx("test-key", base_url=server.url) as keevx,
    ):
        with pytest.raises(ConfigurationError, match="base URL"):
            await keevx.ping()
    with refusing() as url:
        async with Keevx("test-key", base_url=url) as keevx:
            with pytest.raises(ConnectionFailed):
                await keevx.ping()


async def test_ping_asks_again_where_a_gateway_fails_for_a_moment() -> None:
    errors, drops = iter([True, True]), iter([True])
    faults = Faults(
        poll_errors=lambda _: next(errors, False), drop_polls=lambda _: next(drops, False)
    )
    async with Emulator(faults=faults) as emulator, keevx_of(emulator) as keevx:
        await keevx.ping()
    assert emulator.requests.total() == 4


# Keys that change.


async def test_a_refused_key_is_asked_for_once_more_and_nothing_is_lost() -> None:
    keys, calls = ["old"], list[str]()

    async def key() -> str:
        await asyncio.sleep(0)
        calls.append(keys[-1])
        return keys[-1]

    async with Emulator(0.02, api_key="old") as emulator, keevx_of(emulator, api_key=key) as keevx:
        await keevx.submit(a_request("before"))
        assert calls == ["old"]
        emulator.api_key = "new"
        keys.append("new")
        fan = await keevx.generate_many(some_requests(20))
        await keevx.ping()
    assert [outcome.error for outcome in fan.outcomes] == [None] * 20
    assert calls == ["old", "new"], "creates that are refused together share one call"
    assert emulator.creates.total() == 21


async def test_polls_take_up_a_new_key_too() -> None:
    keys = ["old"]
    async with (
        Emulator(0.2, api_key="old") as emulator,
        keevx_of(emulator, api_key=lambda: keys[-1]) as keevx,
    ):
        submission = await keevx.submit(a_request())
        waiting = asyncio.ensure_future(keevx.wait(submission.task_ids[0]))
        await asyncio.sleep(0.05)
        keys.append("new")
        emulator.api_key = "new"
        assert (await waiting).succeeded


async def test_the_same_key_again_is_a_refusal(emulator: Emulator) -> None:
    calls = list[int]()

    def key() -> str:
        calls.append(1)
        return "wrong"

    emulator.api_key = "right"
    async with keevx_of(emulator, api_key=key) as keevx:
        with pytest.raises(AuthenticationError):
            await keevx.submit(a_request())
    assert len(calls) == 2
    assert emulator.creates.total() == 0


@pytest.mark.parametrize("returned", ["", "two words", 7, None], ids=repr)
async def test_a_function_that_returns_no_key_is_named_and_nothing_is_sent(
    returned: Any, emulator: Emulator
) -> None:
    async with keevx_of(emulator, api_key=lambda: returned) as keevx:
        with pytest.raises(ConfigurationError):
            await keevx.submit(a_request())
    assert emulator.requests.total() == 0


async def test_a_function_that_fails_leaves_no_create_in_doubt(
    emulator: Emulator, tmp_path: Any
) -> None:
    def key() -> str:
        raise OSError("the vault is sealed; token=secret")

    # With a journal it is called when that is opened; without one, before the first request.
    with pytest.raises(ConfigurationError, match="API key raised OSError") as caught:
        await keevx_of(emulator, api_key=key, journal=tmp_path / "run.db").__aenter__()
    assert "secret" not in str(caught.value)
    async with keevx_of(emulator, api_key=key) as keevx:
        with pytest.raises(ConfigurationError, match="API key raised OSError"):
            await keevx.submit(a_request(), key="order-1")
    async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
        await keevx.submit(a_request(), key="order-1")
    assert emulator.creates.total() == 1


async def test_no_key_of_a_function_shows_in_an_error() -> None:
    body = b'{"code":100001,"msg":"bad Bearer rotated-key-1","data":null}'
    async with (
        always(answer(body, "400 Bad Request", "X-Echo: rotated-key-1")) as server,
        Keevx(lambda: "rotated-key-1", base_url=server.url) as keevx,
    ):
        with pytest.raises(APIError) as caught:
            await keevx.submit(a_request())
    assert "rotated-key-1" not in repr(vars(caught.value)) + str(caught.value)
    assert caught.value.headers["x-echo"] == "***"

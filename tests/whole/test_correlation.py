"""What an error, a log line and an event tell about the exchange behind them."""

import logging

import pytest

from keevx_async import APIError, AuthenticationError, Keevx, NotFoundError
from keevx_async.errors import request_id_of
from keevx_async.events import Event, Exchange, Retrying, Submitted
from keevx_async.testing import Emulator, Faults
from tests.support.client import RETRY, a_request, busy, keevx_of


async def test_an_error_names_its_request_and_its_attempts() -> None:
    faults = Faults(refuse=1.0, refuse_status=503, once=False)
    async with Emulator(faults=faults) as emulator, keevx_of(emulator) as keevx:
        with pytest.raises(APIError) as caught:
            await keevx.submit(a_request())
        with pytest.raises(NotFoundError) as missing:
            await keevx.status("i2v-nowhere")
    error = caught.value
    assert (error.method, error.path) == ("POST", "/v1/image_to_video")
    assert error.attempts == RETRY.attempts
    assert error.headers["content-type"].startswith("application/json")
    assert error.request_id == error.headers["x-request-id"] != ""
    assert (missing.value.method, missing.value.path) == ("GET", "/v1/image_to_video/i2v-nowhere")
    assert missing.value.attempts == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ""),
        ({"x-request-id": "a", "cf-ray": "b"}, "a"),
        ({"x-request-id": "", "cf-ray": "b"}, "b"),
        ({"x-bce-request-id": "c"}, "c"),
    ],
)
def test_the_request_id_is_the_first_header_that_has_one(
    headers: dict[str, str], expected: str
) -> None:
    assert request_id_of(headers) == expected


async def test_errors_match_by_position_and_by_name(emulator: Emulator) -> None:
    async with Keevx("wrong key".replace(" ", "-"), base_url=emulator.url) as keevx:
        emulator.faults.poll_unauthorized = 1.0
        with pytest.raises(AuthenticationError) as caught:
            await keevx.status("i2v-1")
    match caught.value:
        case APIError(401, method="GET", attempts=attempts):
            assert attempts == 1
        case _:
            pytest.fail("it should have matched")


async def test_a_retried_create_is_reported_with_its_key_and_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[Event] = []
    with caplog.at_level(logging.DEBUG, "keevx_async"):
        async with (
            Emulator(faults=busy(2)) as emulator,
            keevx_of(emulator, on_event=events.append) as keevx,
        ):
            await keevx.submit(a_request(), key="order-1")
    kinds = [(type(each), getattr(each, "attempt", None)) for each in events]
    assert kinds == [
        (Exchange, 1),
        (Retrying, 1),
        (Exchange, 2),
        (Retrying, 2),
        (Exchange, 3),
        (Submitted, None),
    ]
    assert {getattr(each, "key", None) for each in events} == {"order-1"}
    assert [each.status for each in events if isinstance(each, Exchange)] == [503, 503, 200]
    lines = [line for line in caplog.records if getattr(line, "key", None) == "order-1"]
    assert [(vars(line)["attempt"], vars(line)["status"]) for line in lines] == [
        (1, 503),
        (1, 503),
        (2, 503),
        (2, 503),
        (3, 200),
        (3, 200),
    ]
    assert [line.name for line in lines] == ["keevx_async.http"] * 5 + ["keevx_async.submission"]
    for line in lines:
        fields = vars(line)
        assert fields["elapsed_ms"] >= 0
        assert fields["request_id"]


async def test_an_exchange_without_an_answer_has_a_reason_and_no_status(emulator: Emulator) -> None:
    events: list[Event] = []
    emulator.faults.drop_polls = 1.0
    emulator.faults.once = False
    async with keevx_of(emulator, on_event=events.append) as keevx:
        submission = await keevx.submit(a_request())
        with pytest.raises(Exception, match="could not reach"):
            await keevx.status(submission.task_ids[0])
    exchanges = [each for each in events if isinstance(each, Exchange) and each.method == "GET"]
    assert [each.attempt for each in exchanges] == list(range(1, RETRY.attempts + 1))
    assert {(each.status, each.key) for each in exchanges} == {(None, "")}
    assert all(each.reason for each in exchanges)

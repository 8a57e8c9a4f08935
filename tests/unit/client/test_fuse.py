"""When the fuse of a run is blown: at once for what holds for all, else after equal refusals."""

import pytest

from keevx_async.client.fuse import Fuse
from keevx_async.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InsufficientFunds,
    InvalidRequest,
    JournalError,
    KeevxError,
    RateLimitError,
    ServerError,
    SubmissionUncertain,
    UploadError,
)
from keevx_async.http.verdict import api_error

BLURRED = APIError(400, 100006, "image URL inaccessible")
LONG = APIError(400, 100005, "prompt too long")
LOST = SubmissionUncertain(None, "key", "timed out")


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(401, 100002),
        AuthenticationError(403),
        InsufficientFunds(402, 402),
        ConfigurationError("https://example.com is not Keevx"),
    ],
)
def test_what_holds_for_every_create_blows_it_at_once(error: KeevxError) -> None:
    assert Fuse(10).blown_by(error)
    assert Fuse(0).blown_by(error)


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize(
    "error", [BLURRED, RateLimitError(429), ServerError(503), ConnectionFailed("host", "refused")]
)
def test_equal_refusals_in_a_row_blow_it(limit: int, error: KeevxError) -> None:
    fuse = Fuse(limit)
    assert [fuse.blown_by(error) for _ in range(limit)] == [False] * (limit - 1) + [True]


def test_a_success_begins_the_count_again() -> None:
    fuse = Fuse(3)
    for _ in range(5):
        assert not fuse.blown_by(BLURRED)
        assert not fuse.blown_by(BLURRED)
        fuse.accepted()


def test_another_refusal_begins_the_count_again() -> None:
    fuse = Fuse(2)
    assert not any(fuse.blown_by(error) for error in (BLURRED, LONG) * 5)
    assert not fuse.blown_by(APIError(422, LONG.code))  # another status is another refusal
    assert not fuse.blown_by(LONG)
    assert fuse.blown_by(APIError(400, 100005, "the message may differ"))


@pytest.mark.parametrize(
    "error", [LOST, InvalidRequest([]), UploadError("too large"), JournalError("another request")]
)
def test_what_says_nothing_about_the_rest_neither_counts_nor_resets(error: KeevxError) -> None:
    fuse = Fuse(2)
    assert not any(fuse.blown_by(error) for _ in range(20))
    assert not fuse.blown_by(BLURRED)
    assert not fuse.blown_by(error)
    assert fuse.blown_by(BLURRED)


def test_without_a_limit_equal_refusals_never_blow_it() -> None:
    fuse = Fuse(0)
    assert not any(fuse.blown_by(BLURRED) for _ in range(1_000))


@pytest.mark.parametrize(("status", "code"), [(402, None), (402, 402), (200, 402), (402, 100009)])
def test_an_empty_account_is_402_as_status_or_as_code(status: int, code: int | None) -> None:
    assert type(api_error(status, code, "insufficient balance")) is InsufficientFunds

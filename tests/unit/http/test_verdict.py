"""The promise about money, as a table: what was seen, what it means, what it allows."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import settings
from keevx_async import settings as policies
from keevx_async.errors import (
    APIError,
    AuthenticationError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from keevx_async.http.retry import retry_after
from keevx_async.http.verdict import (
    Ids,
    TransportError,
    Verdict,
    api_error,
    classify,
    is_busy,
    is_rate_limit,
)
from keevx_async.settings import RetryPolicy

ACCEPTED, REFUSED, UNKNOWN = Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNKNOWN
WRONG_HOST = Verdict.WRONG_HOST

# contract.md, "Money: the promise". (status, envelope's code, None without one) -> fate, sent
# again? Of a whole answer without task ids, from a host that is known to be Keevx.
MONEY = [
    # an envelope that says it was taken, and no ids: something was made
    (200, 0, UNKNOWN, False),
    (201, 0, UNKNOWN, False),
    (400, 0, UNKNOWN, False),
    (429, 0, UNKNOWN, False),
    (500, 0, UNKNOWN, False),
    # Keevx's own codes: no task was made, whatever the status
    (200, 100001, REFUSED, False),
    (200, 100002, REFUSED, False),
    (400, 100001, REFUSED, False),
    (401, 100002, REFUSED, False),
    (404, 100003, REFUSED, False),
    (413, 100004, REFUSED, False),
    (500, 100001, REFUSED, False),
    (504, 100001, REFUSED, False),
    (200, 530002, REFUSED, False),
    (200, 530003, REFUSED, True),  # the vendor's "task creation failed, retry"
    (500, 530003, REFUSED, True),
    # a 4xx as the code, in Keevx's envelope
    (200, 429, REFUSED, True),
    (200, 400, REFUSED, False),
    (400, 400, REFUSED, False),
    (403, 403, REFUSED, False),
    (400, 408, REFUSED, False),
    # 429 turns a request away before it is worked on, envelope or not
    (429, None, REFUSED, True),
    (429, 100001, REFUSED, True),
    (429, 429, REFUSED, True),
    # ... and 503 in Keevx's envelope
    (503, 503, REFUSED, True),
    (503, 1, REFUSED, True),
    (503, 100001, REFUSED, True),
    (200, 503, REFUSED, True),
    # a bare 503: its proxy may have lost the connection after the request went out
    (503, None, UNKNOWN, None),
    # an envelope that only repeats a gateway's status
    (500, 500, UNKNOWN, None),
    (502, 502, UNKNOWN, None),
    (504, 504, UNKNOWN, None),
    (200, 504, UNKNOWN, None),
    (503, 504, UNKNOWN, None),
    (524, 524, UNKNOWN, None),
    (408, 408, UNKNOWN, None),
    (499, 499, UNKNOWN, None),
    # ... or has a code of nobody's
    (200, -1, UNKNOWN, None),
    (200, 1, UNKNOWN, None),
    (400, 7, UNKNOWN, None),
    (502, 1, UNKNOWN, None),
    (200, 99_999, UNKNOWN, None),
    (200, 1_000_000, UNKNOWN, None),
    # no envelope: what happened behind the gateway, the filter or the cache is not known
    *((status, None, UNKNOWN, None) for status in (200, 201, 204, 299, 301, 302, 303, 307, 308)),
    *((status, None, UNKNOWN, None) for status in (400, 401, 403, 404, 408, 409, 413, 425, 499)),
    *((status, None, UNKNOWN, None) for status in (500, 501, 502, 504, 520, 524, 599)),
]


@pytest.mark.parametrize(("status", "code", "fate", "again"), MONEY)
def test_the_money_table(status: int, code: int | None, fate: Verdict, again: bool | None) -> None:
    assert classify(status, code) is fate
    if fate is REFUSED:
        assert is_busy(status, code) is again


@pytest.mark.parametrize("status", [*range(300, 429), *range(430, 500)])
def test_a_host_that_never_answered_as_keevx_does_is_a_wrong_one(status: int) -> None:
    assert classify(status, None, is_keevx=False) is WRONG_HOST
    assert classify(status, 100001, is_keevx=False) is REFUSED


@pytest.mark.parametrize(
    ("status", "html", "fate"),
    [
        (200, True, WRONG_HOST),
        (200, False, UNKNOWN),
        (404, True, WRONG_HOST),
        (429, True, REFUSED),
        (500, True, UNKNOWN),  # a gateway in trouble looks so, in front of Keevx too
        (502, True, UNKNOWN),
        (503, True, UNKNOWN),
    ],
)
def test_a_page_from_an_unknown_host(status: int, html: bool, fate: Verdict) -> None:
    assert classify(status, None, html=html, is_keevx=False) is fate
    assert classify(status, None, html=html) is (REFUSED if status == 429 else UNKNOWN)


def test_a_503_is_a_refusal_if_it_says_when_to_come_again() -> None:
    assert classify(503, None, retry_after=True) is REFUSED
    assert classify(502, None, retry_after=True) is UNKNOWN


statuses = st.integers(100, 999)
codes = st.integers(-(10**6), 10**7)
answers = st.fixed_dictionaries(
    {
        "complete": st.booleans(),
        "retry_after": st.booleans(),
        "html": st.booleans(),
        "is_keevx": st.booleans(),
    }
)


@given(statuses, st.none() | codes, answers)
def test_ids_that_can_be_read_are_always_accepted(
    status: int, code: int | None, answer: dict[str, Any]
) -> None:
    assert classify(status, code, ids=Ids.READ, **answer) is ACCEPTED
    assert classify(status, code, ids=Ids.DOUBTFUL, **answer) is UNKNOWN


@given(statuses, st.none() | codes, answers)
def test_without_ids_nothing_is_accepted_and_only_a_whole_refusal_is_believed(
    status: int, code: int | None, answer: dict[str, Any]
) -> None:
    fate = classify(status, code, **answer)
    assert fate in (REFUSED, WRONG_HOST, UNKNOWN)
    if not answer["complete"] or code == 0:
        assert fate is UNKNOWN
    if fate is REFUSED and code is None:
        assert status == 429 or (status == 503 and answer["retry_after"])
    if fate is WRONG_HOST:
        assert code is None
        assert not answer["is_keevx"]


@given(
    st.sampled_from([500, 502, 504, *range(520, 530)]),
    st.sampled_from([None, 500, 502, 504, *range(520, 530)]),
    answers,
)
def test_a_gateways_status_is_never_sent_again(
    status: int, code: int | None, answer: dict[str, Any]
) -> None:
    assert classify(status, code, **answer) is UNKNOWN
    assert classify(200, code or 504, **{**answer, "html": False}) is UNKNOWN


@given(statuses, st.integers(100_000, 999_999))
def test_a_code_of_keevxs_own_is_a_refusal_whatever_the_status(status: int, code: int) -> None:
    assert classify(status, code) is REFUSED


def test_users_may_name_codes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keevx_async.http.verdict.BUSY_CODES", {429, 503, 7})
    monkeypatch.setattr("keevx_async.http.verdict.REFUSAL_CODES", {504, -1})
    assert classify(200, 7) is classify(200, -1) is classify(200, 504) is REFUSED
    assert is_busy(200, 7)
    assert not is_busy(200, -1)
    assert settings.BUSY_CODES is policies.BUSY_CODES
    assert settings.REFUSAL_CODES is policies.REFUSAL_CODES


@pytest.mark.parametrize(("sent", "fate"), [(False, Verdict.NOT_SENT), (True, UNKNOWN)])
def test_what_was_sent_and_not_answered_is_unknown(sent: bool, fate: Verdict) -> None:
    assert TransportError("reason", sent=sent).verdict is fate


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, 100001, APIError),
        (413, None, APIError),
        (401, None, AuthenticationError),
        (403, 5, AuthenticationError),
        (200, 100002, AuthenticationError),
        (404, None, NotFoundError),
        (400, 100003, NotFoundError),
        (429, None, RateLimitError),
        (200, 429, RateLimitError),
        (500, 100001, ServerError),
        (503, None, ServerError),
        (200, 530003, ServerError),
    ],
)
def test_a_refusal_has_its_own_error(status: int, code: int | None, kind: type[APIError]) -> None:
    error = api_error(status, code, "said", "body")
    assert type(error) is kind
    assert (error.status, error.code, error.msg, error.body) == (status, code, "said", "body")


@given(statuses, st.none() | codes)
def test_only_429_slows_everyone_down(status: int, code: int | None) -> None:
    assert is_rate_limit(status, code) is (status == 429 or code == 429)


NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)


def wait_of(value: str | None) -> float | None:
    headers = {} if value is None else {"Retry-After": value}
    return retry_after(headers, NOW.timestamp())


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows Tokyo's time."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 7 ", 7.0),
        ("86400000000", 86_400_000_000.0),
        ("Tue, 04 Mar 2025 05:06:37 GMT", 30.0),
        ("Tuesday, 04-Mar-25 05:06:37 GMT", 30.0),  # RFC 850's form, obsolete but to be read
        ("Tue Mar  4 05:06:37 2025", 30.0),  # asctime's form: no zone is GMT
        ("Tue, 04 Mar 2025 05:06:37 -0000", 30.0),
        ("Tue, 04 Mar 2025 06:06:37 +0100", 30.0),
        ("Tue, 04 Mar 2025 05:05:00 GMT", 0.0),  # past: now
        ("", None),
        (None, None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("30 seconds", None),
        ("inf", None),
        ("nan", None),
        ("Tue, 99 Mar 2025 05:06:37 GMT", None),
        ("Tue, 04 Mar 99999 05:06:37 GMT", None),
        ("Tue, 04 Mar 2025 05:06:37 +99999999999999", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None, far_east: None) -> None:
    assert wait_of(value) == seconds


def test_a_huge_retry_after_is_huge() -> None:
    seconds = wait_of("9" * 400)
    assert seconds is not None
    assert seconds > 10**9


pieces = st.lists(
    st.sampled_from(
        ["Tue", ",", " ", "04", "Mar", "99999", "2025", ":", "05", "-", "+", "0000", "9999", "GMT"]
    )
    | st.text(max_size=3)
).map("".join)


@given(st.text() | pieces)
def test_a_garbled_retry_after_is_ignored_or_a_wait(value: str) -> None:
    seconds = wait_of(value)
    assert seconds is None or seconds >= 0
    dated = retry_after({"Retry-After": value, "Date": value}, NOW.timestamp())
    assert dated is None or dated >= 0


@given(
    st.integers(0, 10**7),
    st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_a_date_means_the_same_in_every_zone(seconds: int, zone: timezone) -> None:
    header = format_datetime((NOW + timedelta(seconds=seconds)).astimezone(zone))
    assert wait_of(header) == seconds


@pytest.mark.parametrize("hours", [-3.0, -0.5, 0.0, 0.5, 24.0])
def test_a_date_is_read_by_the_answers_own_date(hours: float) -> None:
    """Our clock or the server's is wrong by hours: the wait is what the server meant."""
    sent = NOW + timedelta(hours=hours)
    headers = {
        "Date": format_datetime(sent, usegmt=True),
        "Retry-After": format_datetime(sent + timedelta(seconds=20), usegmt=True),
    }
    assert retry_after(headers, NOW.timestamp()) == 20
    assert retry_after({**headers, "Retry-After": "7"}, NOW.timestamp()) == 7
    garbled = retry_after({**headers, "Date": "yesterday"}, NOW.timestamp())
    assert garbled == max(0.0, hours * 3600 + 20)


some_policies = st.builds(
    RetryPolicy,
    first_delay=st.floats(0, 1e6),
    max_delay=st.floats(0, 1e6),
)
chances = st.floats(0, 1, exclude_max=True)


@given(some_policies, st.integers(1, 10**6), chances)
def test_the_delay_is_full_jitter_below_a_doubling_bound(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    most = policy.max_delay
    if attempt < 40:  # 1e6 * 2**40 is above any max_delay
        most = min(most, policy.first_delay * 2 ** (attempt - 1))
    delay = policy.delay(attempt, lambda: chance)
    assert 0 <= delay <= most
    assert delay == pytest.approx(chance * policy.delay(attempt, lambda: 1.0))


def test_the_delay_reaches_from_nothing_to_its_bound() -> None:
    policy = RetryPolicy(first_delay=0.5, max_delay=3.0)
    assert [policy.delay(attempt, lambda: 1.0) for attempt in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert policy.delay(5, lambda: 0.0) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"first_delay": -1},
        {"max_delay": -0.1},
        {"deadline": 0},
        {"grace": -1},
        {"deadline": math.nan},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_a_policy_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RetryPolicy().attempts = 3  # type: ignore[misc]

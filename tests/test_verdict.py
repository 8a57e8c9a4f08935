"""The promise about money, as a table: what was seen, what it means, what it allows."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keevx_async.errors import (
    APIError,
    AuthenticationError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from keevx_async.policies import RetryPolicy
from keevx_async.verdict import (
    Fate,
    Fault,
    api_error,
    fate_of,
    is_rate_limit,
    is_transient,
    retry_after,
)

ACCEPTED, REFUSED, UNKNOWN = Fate.ACCEPTED, Fate.REFUSED, Fate.UNKNOWN

# contract.md, "Money: the promise". (status, envelope's code) -> fate, sent again?
MONEY = [
    # Keevx's own envelope says that it took it
    (200, 0, ACCEPTED, False),
    (201, 0, ACCEPTED, False),
    # ... or that it did not: no task was made
    (200, 100001, REFUSED, False),
    (200, 100002, REFUSED, False),
    (200, -1, REFUSED, False),
    (200, 530003, REFUSED, True),  # the vendor's "task creation failed, retry"
    (200, 429, REFUSED, True),
    (400, 100001, REFUSED, False),
    (401, 100002, REFUSED, False),
    (404, 100003, REFUSED, False),
    (413, 100004, REFUSED, False),
    (500, 100001, REFUSED, True),
    (500, 530003, REFUSED, True),
    (502, 1, REFUSED, True),
    (504, 1, REFUSED, True),
    # 429 and 503 turn a request away before it is worked on, envelope or not
    (429, None, REFUSED, True),
    (429, 100001, REFUSED, True),
    (503, None, REFUSED, True),
    (503, 100001, REFUSED, True),
    # a 2xx that cannot be read: it may have been made
    (200, None, UNKNOWN, None),
    (201, None, UNKNOWN, None),
    (204, None, UNKNOWN, None),
    (299, None, UNKNOWN, None),
    # 5xx without an envelope: what happened behind the gateway is not known
    (500, None, UNKNOWN, None),
    (502, None, UNKNOWN, None),
    (504, None, UNKNOWN, None),
    (520, None, UNKNOWN, None),
    (524, None, UNKNOWN, None),
    (599, None, UNKNOWN, None),
    # an error that says it went well
    (500, 0, UNKNOWN, None),
    (400, 0, UNKNOWN, None),
    # a proxy may have passed it on before it gave up
    (408, None, UNKNOWN, None),
    (499, None, UNKNOWN, None),
    # elsewhere, perhaps after it was taken
    (302, None, UNKNOWN, None),
    (303, None, UNKNOWN, None),
    # never taken here
    (400, None, REFUSED, False),
    (401, None, REFUSED, False),
    (403, None, REFUSED, False),
    (404, None, REFUSED, False),
    (413, None, REFUSED, False),
    (307, None, REFUSED, False),
    (308, None, REFUSED, False),
]


@pytest.mark.parametrize(("status", "code", "fate", "again"), MONEY)
def test_the_money_table(status: int, code: int | None, fate: Fate, again: bool | None) -> None:
    assert fate_of(status, code) is fate
    if again is not None and fate is REFUSED:
        assert is_transient(status, code) is again


statuses = st.integers(100, 999)
codes = st.integers(-(10**6), 10**6)


@given(statuses)
def test_without_an_envelope_nothing_is_ever_accepted(status: int) -> None:
    assert fate_of(status, None) in (REFUSED, UNKNOWN)


@given(st.integers(200, 299) | st.integers(500, 599).filter(lambda status: status != 503))
def test_an_unread_success_or_server_error_is_never_sent_again(status: int) -> None:
    assert fate_of(status, None) is UNKNOWN


@given(statuses, codes)
def test_an_envelope_that_refuses_is_a_refusal_whatever_the_status(status: int, code: int) -> None:
    assume(code != 0)
    assert fate_of(status, code) is REFUSED


@given(statuses)
def test_an_envelope_that_accepts_is_never_a_refusal(status: int) -> None:
    assert fate_of(status, 0) is (ACCEPTED if status < 400 else UNKNOWN)


@pytest.mark.parametrize(("sent", "fate"), [(False, Fate.NOT_SENT), (True, UNKNOWN)])
def test_what_was_sent_and_not_answered_is_unknown(sent: bool, fate: Fate) -> None:
    assert Fault("reason", sent=sent).fate is fate


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
    ],
)
def test_retry_after(value: str | None, seconds: float | None, far_east: None) -> None:
    assert retry_after(value, NOW.timestamp()) == seconds


def test_a_huge_retry_after_is_huge() -> None:
    seconds = retry_after("9" * 400, NOW.timestamp())
    assert seconds is not None
    assert seconds > 10**9


pieces = st.lists(
    st.sampled_from(
        ["Tue", ",", " ", "04", "Mar", "99999", "2025", ":", "05", "-", "+", "0000", "9999", "GMT"]
    )
    | st.text(max_size=3)
).map("".join)


@given(st.text() | pieces)
def test_a_garbled_retry_after_is_none_or_a_wait(value: str) -> None:
    seconds = retry_after(value, NOW.timestamp())
    assert seconds is None or seconds >= 0


@given(
    st.integers(0, 10**7),
    st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_a_date_means_the_same_in_every_zone(seconds: int, zone: timezone) -> None:
    header = format_datetime((NOW + timedelta(seconds=seconds)).astimezone(zone))
    assert retry_after(header, NOW.timestamp()) == seconds


policies = st.builds(
    RetryPolicy,
    first_delay=st.floats(0, 1e6),
    max_delay=st.floats(0, 1e6),
)
chances = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 10**6), chances)
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

"""Retry and poll policies, default values, and tables that users may extend. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from numbers import Integral, Real
from typing import Any, Final, cast

from attrs import Attribute, field, frozen

from .errors import ConfigurationError, brief


class NotGiven(Enum):
    """The type of ``NOT_GIVEN``, the default of arguments for which None has its own meaning.

    For example, ``timeout=None`` means no limit, and NOT_GIVEN means the policy's timeout.
    """

    NOT_GIVEN = "not given"
    """The only member."""


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

VERSION = "0.1.0"
BASE_URL = "https://api.keevx.com"
"""The base URL of the international edition, and the default."""
CHINA = "https://api.keevx.cn"
"""The base URL of the China edition."""
EDITIONS: MutableMapping[str, Mapping[str, tuple[str, ...]]] = {CHINA: {"model": ("KL",)}}
"""The values that each edition accepts, by base URL and request field. An edition or field that is
not listed accepts every value. Source: the China edition's docs."""
DEFAULT_TIMEOUT = 60.0
"""The timeout of one exchange (a request and its response), in seconds."""
DEFAULT_CONNECTIONS = 512
"""The maximum number of connections that a client opens."""
DEFAULT_CONCURRENCY = 32
"""The maximum number of fan-out items in flight at once."""
DEFAULT_FUSE = 10
"""The number of identical refusals in a row that stops a fan-out."""

BUSY_CODES: Final[set[int]] = {429, 503, 530003}
"""Codes in Keevx's envelope that mean "busy, try again": no task was made, and the ``RetryPolicy``
decides when the create is sent again. If Keevx sends you another such code, add it:
``BUSY_CODES.add(530004)``. 530003 is the vendor's "task creation failed, retry" (keevx-api.md,
"Errors")."""
REFUSAL_CODES: Final[set[int]] = set()
"""Codes in Keevx's envelope that mean "no task was made", in addition to those recognized by their
form: six digits, or an HTTP 4xx. Any other code leaves a create uncertain. Add a code only if you
know that Keevx makes no task when it sends that code: a wrong entry can make you pay twice for a
create."""


class _InvalidSetting(ConfigurationError, ValueError):
    """A policy setting is out of range. Also a ValueError, like the errors of attrs validators."""


_Validator = Callable[[Any, "Attribute[Any]", Any], None]


def _number(
    minimum: float = 0.0,
    *,
    above: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> _Validator:
    """Return a validator for numbers of any type. It rejects bools and NaN.

    Args:
        minimum: the lowest accepted value.
        above: an exclusive lower bound, which replaces ``minimum``.
        whole: whether to accept only integers.
        optional: whether to accept None and NOT_GIVEN, too.
    """
    what = "a whole number" if whole else "a number"
    what += f", {minimum:g} or more" if above is None else f" above {above:g}"
    what += ", or None" if optional else ""
    number_type: Any = Integral if whole else Real

    def validate(_: Any, setting: Attribute[Any], value: Any) -> None:
        if optional and (value is None or value is NOT_GIVEN):
            return
        if isinstance(value, number_type) and not isinstance(value, bool):
            # Every comparison with NaN is false, so NaN is never accepted.
            number: Any = value
            if number >= minimum if above is None else number > above:
                return
        raise _InvalidSetting(f"{setting.name} must be {what} (got {value!r})")

    return validate


@frozen(kw_only=True)
class RetryPolicy:
    """The rules for retrying a request after a temporary failure.

    A query is retried after every such failure; a create only if it is certain that no task was
    made. Between attempts, the client waits for a random part of a delay that doubles each time
    (exponential backoff with full jitter), or for as long as ``Retry-After`` says.

    Attributes:
        attempts: the maximum number of times that a request is sent.
        first_delay: the upper bound of the first wait, in seconds. It doubles with each wait.
        max_delay: the upper bound of every wait without a ``Retry-After``, in seconds.
        deadline: the number of seconds after the first attempt within which another may start. If
            ``Retry-After`` extends beyond the deadline, the request fails at once.
        grace: the number of seconds that a cancelled create in flight may wait for its response.
        fuse: the number of refusals in a row, all with the same status and code, that stops a
            fan-out, which then reports the remaining items as not started; 0 for no limit. A
            refused key (401, 403) or an empty account (402) stops the fan-out at once.

    Raises:
        ConfigurationError: a setting is out of range; also a ``ValueError``.
    """

    attempts: int = field(default=8, validator=_number(1, whole=True))
    first_delay: float = field(default=0.5, validator=_number(0))
    max_delay: float = field(default=30.0, validator=_number(0))
    deadline: float = field(default=600.0, validator=_number(above=0))
    grace: float = field(default=30.0, validator=_number(0))
    fuse: int = field(default=DEFAULT_FUSE, validator=_number(0, whole=True))

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            attempt: the number of attempts made so far, at least 1.
            random: returns a number in [0, 1): the fraction of the upper bound to wait.
        """
        # If a server fails for all of its clients at once, full jitter spreads out their retries
        # (AWS Architecture Blog, "Exponential Backoff And Jitter"). 2.0**1024 would overflow.
        return random() * min(self.max_delay, self.first_delay * 2.0 ** min(attempt - 1, 60))


@frozen(kw_only=True)
class PollPolicy:
    """The rules for querying the status of tasks.

    Attributes:
        shortest: the minimum interval between two queries about one task, in seconds.
        longest: the maximum interval, in seconds. It takes precedence over ``shortest``, but
            ``max_rate`` may make intervals longer.
        concurrency: the maximum number of status queries in flight at once.
        timeout: the maximum length of a wait, in seconds, if the call sets no timeout; None for no
            limit. The default is 1.5 times the vendor's documented maximum for the kind: 30 minutes
            for ``image_to_video``, 15 minutes for ``image_generate``, 3 hours for
            ``video_translate``.
        max_rate: the maximum number of status queries per second across all tasks; None for no
            limit. At the limit, the intervals of all tasks grow longer.
        polls_per_task: the average number of status queries per task, once the client has learned
            the durations of tasks in its group. A higher value detects the end sooner.

    Raises:
        ConfigurationError: a setting is out of range; also a ``ValueError``.
    """

    shortest: float = field(default=0.25, validator=_number(above=0))
    longest: float = field(default=30.0, validator=_number(above=0))
    concurrency: int = field(default=32, validator=_number(1, whole=True))
    timeout: float | NotGiven | None = field(default=NOT_GIVEN, validator=_number(0, optional=True))
    max_rate: float | None = field(default=None, validator=_number(above=0, optional=True))
    polls_per_task: float = field(default=8.0, validator=_number(1))


def _to_prices(prices: Mapping[str, float] | None) -> Mapping[str, float] | None:
    # Copied, because a budget is frozen. A value that is not a mapping is left for the validator to
    # reject.
    return dict(prices) if isinstance(prices, Mapping) else prices


def _check_prices(_: Any, __: Attribute[Any], prices: Any) -> None:
    if prices is None:
        return
    if not isinstance(prices, Mapping):
        what = "a mapping such as {'V/1080p': 0.12, 'image_generate': 0.03}"
        raise _InvalidSetting(f"prices must be {what} (got {brief(repr(prices))})")
    for name, price in cast("Mapping[object, object]", prices).items():
        if not isinstance(name, str) or not name:
            what = "text such as 'V/1080p', 'V' or 'image_generate'"
            raise _InvalidSetting(f"the names of prices must be {what} (got {name!r})")
        is_number = isinstance(price, Real) and not isinstance(price, bool)
        if not (is_number and 0 <= cast(float, price) < math.inf):
            what = "a number, 0 or more"
            raise _InvalidSetting(f"the price of {name} must be {what} (got {price!r})")


@frozen(kw_only=True)
class Budget:
    """Limits on the results of one client or, with a journal, of all its runs together.

    A create counts from just before it is sent. If it is refused, or not sent after all, it no
    longer counts. If its response is lost, it still counts, because it may have been made. Results
    already in the journal do not count again. A create that does not fit raises ``BudgetExceeded``,
    and nothing is sent.

    Attributes:
        videos: the maximum number of results; an image from ``image_generate`` counts as one.
        seconds: the maximum total length of the videos, in seconds. Images have no length. A
            translation is as long as its source, which is unknown, so ``video_translate`` is
            refused.
        cost: the maximum cost, in the currency of ``prices``. Requires ``prices``.
        prices: the price per second of video, by ``"V/1080p"`` (model and resolution), ``"V"``, or
            the kind, ``"image_to_video"``; the most specific name applies. For ``"image_generate"``
            it is the price of one image, for ``"video_translate"`` the price of one translation. If
            ``cost`` is set, a request without a price is refused. Keevx publishes no prices.

    Raises:
        ConfigurationError: no limit and no prices are set, a number is out of range, or ``cost`` is
            set without ``prices``; also a ``ValueError``.
    """

    videos: int | None = field(default=None, validator=_number(0, whole=True, optional=True))
    seconds: float | None = field(default=None, validator=_number(0, optional=True))
    cost: float | None = field(default=None, validator=_number(0, optional=True))
    prices: Mapping[str, float] | None = field(
        default=None, converter=_to_prices, validator=_check_prices, hash=False
    )

    def __attrs_post_init__(self) -> None:
        if self.cost is not None and not self.prices:
            raise _InvalidSetting(
                f"cost={self.cost!r} needs prices, such as prices={{'V/1080p': 0.12}}: "
                "Keevx publishes none"
            )
        if not self.prices and self.videos is None is self.seconds:
            raise _InvalidSetting("a Budget must limit videos, seconds or cost")


def is_retryable_status(status: int) -> bool:
    """Return whether the same GET may succeed later: 408, 425, 429, 499 or a server error.

    Status queries and downloads share this list. Creates never use it: ``http.verdict`` decides
    whether a create may be sent again.
    """
    return status in (408, 425, 429, 499) or status >= 500

"""Policies, defaults and tables that users may extend: data, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from numbers import Integral, Real
from typing import Any, Final

from attrs import Attribute, field, frozen

from .errors import ConfigurationError


class NotGiven(Enum):
    """Says "not given" where None already means something."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

VERSION = "0.1.0"
BASE_URL = "https://api.keevx.com"
CHINA = "https://api.keevx.cn"
"""The base URL of the China edition."""
EDITIONS: MutableMapping[str, Mapping[str, tuple[str, ...]]] = {CHINA: {"model": ("KL",)}}
"""What an edition lists, by its base URL and by the field of a request. Source: its docs."""
DEFAULT_TIMEOUT = 60.0
DEFAULT_CONNECTIONS = 512
DEFAULT_CONCURRENCY = 32

BUSY_CODES: Final[set[int]] = {429, 503, 530003}
"""Codes of Keevx's envelope that mean "busy, try again": no task was made, and the same create is
sent again by the RetryPolicy. Add one that Keevx gave you: ``BUSY_CODES.add(530004)``. 530003 is
the vendor's "task creation failed, retry" (keevx-api.md, "Errors")."""
REFUSAL_CODES: Final[set[int]] = set()
"""Codes of Keevx's envelope that mean "no task was made", beside those that are known by their
form: six digits, or an HTTP 4xx. Any other code leaves a create uncertain."""


class _InvalidSetting(ConfigurationError, ValueError):
    """A setting of a policy is out of its range."""


_Validator = Callable[[Any, "Attribute[Any]", Any], None]


def _number(
    at_least: float = 0.0,
    *,
    above: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> _Validator:
    """Return a validator of numbers of any library; neither a bool nor NaN is one."""
    what = "a whole number" if whole else "a number"
    what += f", {at_least:g} or more" if above is None else f" above {above:g}"
    what += ", or None" if optional else ""

    def validate(_: Any, setting: Attribute[Any], value: Any) -> None:
        if optional and (value is None or value is NOT_GIVEN):
            return
        is_number = isinstance(value, Integral if whole else Real)
        large = is_number and (value >= at_least if above is None else value > above)
        if isinstance(value, bool) or not large:
            raise _InvalidSetting(f"{setting.name} must be {what} (got {value!r})")

    return validate


@frozen(kw_only=True)
class RetryPolicy:
    """When a request that may be repeated is, and for how long.

    Attributes:
        attempts: most times one request is sent.
        first_delay: seconds; the second wait is up to twice as long, and so on.
        max_delay: seconds; no wait of our own choosing is longer.
        deadline: seconds from the first attempt after which no other begins. A Retry-After
            that reaches past it fails at once.
        grace: seconds that creates in flight are given to answer when they are cancelled.
    """

    attempts: int = field(default=8, validator=_number(1, whole=True))
    first_delay: float = field(default=0.5, validator=_number(0))
    max_delay: float = field(default=30.0, validator=_number(0))
    deadline: float = field(default=600.0, validator=_number(above=0))
    grace: float = field(default=30.0, validator=_number(0))

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds to wait after attempt number ``attempt``: full jitter.

        Args:
            attempt: attempts made so far, from 1.
            random: returns a number in [0, 1).
        """
        return random() * min(self.max_delay, self.first_delay * 2.0 ** min(attempt - 1, 60))


@frozen(kw_only=True)
class PollPolicy:
    """How tasks are waited for.

    Attributes:
        shortest: seconds; no task is asked about more often.
        longest: seconds; every task is asked about at least this often, as far as max_rate
            lets it. Where the two contradict each other, longest holds.
        concurrency: most status queries in flight.
        timeout: seconds that a wait takes at most where the call does not say; None for no
            limit. By default half as much again as the vendor says that the kind may take: 30
            minutes for ``image_to_video``, 15 for ``image_generate``, 3 hours for
            ``video_translate``.
        max_rate: status queries per second over all tasks; None for no ceiling. Above it
            every task's interval stretches.
        polls_per_task: status queries that a task takes on average once its kind's durations
            are known; more find the end sooner.
    """

    shortest: float = field(default=0.25, validator=_number(above=0))
    longest: float = field(default=30.0, validator=_number(above=0))
    concurrency: int = field(default=32, validator=_number(1, whole=True))
    timeout: float | NotGiven | None = field(default=NOT_GIVEN, validator=_number(0, optional=True))
    max_rate: float | None = field(default=None, validator=_number(above=0, optional=True))
    polls_per_task: float = field(default=8.0, validator=_number(1))


def is_retryable_status(status: int) -> bool:
    """Tell whether the same GET may succeed later: 408, 425, 429, 499 or a server error.

    Status queries and downloads share this list. A create never uses it: what may be sent again
    there is decided by ``fate_of``.
    """
    return status in (408, 425, 429, 499) or status >= 500

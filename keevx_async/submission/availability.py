"""What the Keevx at hand offers, as far as it is known: less, maybe, than the rules take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, cast

from ..errors import InvalidRequest, Violation
from ..models.request import Request

LANGUAGES: Final = "target_languages"
TTL = 3600.0
"""Seconds for which a list that Keevx gave is not asked for again."""


class Availability:
    """Refuses what is not offered before it is paid for; what is not known is let through.

    Args:
        listed: the values of each field that an edition lists.
        clock: tells the time in seconds; tests pass their own.
    """

    def __init__(
        self,
        listed: Mapping[str, tuple[str, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._offered = {field: (values, float("inf")) for field, values in listed.items()}
        self._clock = clock

    def remember(self, field: str, values: tuple[str, ...]) -> None:
        """Remember, for an hour, what Keevx says it offers."""
        self._offered[field] = (values, self._clock() + TTL)

    def values(self, field: str) -> tuple[str, ...] | None:
        """Return the values on offer, if they are known."""
        values, until = self._offered.get(field, ((), 0.0))
        return values if self._clock() < until else None

    def check(self, request: Request) -> None:
        """Let a request through.

        Raises:
            InvalidRequest: it asks for what is not offered.
        """
        if not self._offered:  # as in the main edition, mostly: every create passes here
            return
        violations = [one for field in self._offered for one in self._missing(request, field)]
        if violations:
            raise InvalidRequest(violations)

    def _missing(self, request: Request, field: str) -> list[Violation]:
        value, offered = getattr(request, field, ()), self.values(field)
        asked = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
        if offered is None or all(one in offered for one in asked):
            return []
        message = f"{value!r} is not offered here; there is {', '.join(offered)}"
        return [Violation(field, value, "offered", message)]

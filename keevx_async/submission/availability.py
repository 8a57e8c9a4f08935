"""Limits fields to the values that this edition of Keevx offers, beyond the rules in `models`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from ..errors import InvalidRequest, Violation
from ..models.request import Request

LANGUAGES: Final = "target_languages"
TTL = 3600.0
"""Seconds for which a list from Keevx is cached."""


class Availability:
    """Refuses values that are not offered, before anything is charged.

    Args:
        listed: the values that an edition offers, by field. They never expire.
        clock: returns the time in seconds; tests pass their own.

    Attributes:
        limits: for each limited field, the values offered and the time at which they expire.
            Usually empty, so every request passes.
    """

    def __init__(
        self,
        listed: Mapping[str, tuple[str, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits: dict[str, tuple[tuple[str, ...], float]] = {
            field: (values, float("inf")) for field, values in listed.items()
        }
        self._clock = clock

    def remember(self, field: str, values: tuple[str, ...]) -> None:
        """Limit a field to these values for an hour."""
        self.limits[field] = (values, self._clock() + TTL)

    def values(self, field: str) -> tuple[str, ...] | None:
        """Return a field's offered values; None if the field has no limit or the limit expired."""
        values, until = self.limits.get(field, ((), 0.0))
        return values if self._clock() < until else None

    def check(self, request: Request) -> None:
        """Check a request against the limits.

        Raises:
            InvalidRequest: a field has a value that is not offered. The error lists all violations.
        """
        violations: list[Violation] = []
        for field in self.limits:
            value: Any = getattr(request, field, ())
            offered = self.values(field)
            wanted = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
            if offered is not None and not set(wanted).issubset(offered):
                message = f"{value!r} is not offered; choose from {', '.join(offered)}"
                violations.append(Violation(field, value, "offered", message))
        if violations:
            raise InvalidRequest(violations)

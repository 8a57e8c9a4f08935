"""The rate limit, whose values a client has to discover, and the header of its refusals."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import Literal

import attrs


@attrs.define
class Bucket:
    """A token bucket. Rate and capacity are arguments of each draw, so both may change."""

    level: float = math.inf
    stamp: float = 0.0

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Take a token if there is one, and return whether there was.

        Args:
            now: seconds, of any clock.
            rate: tokens per second.
            burst: the capacity; None for a tenth of the rate, at least 1.
        """
        capacity = max(1.0, rate / 10) if burst is None else burst
        # Tokens for the time since the last draw; a full bucket overflows. The first draw of a new
        # bucket, whose level is infinite, finds it full.
        self.level = min(capacity, self.level + (now - self.stamp) * rate)
        self.stamp = now
        passes = self.level >= 1
        self.level -= passes
        return passes


def retry_after(form: float | Literal["date"] | None) -> dict[str, str]:
    """Return the Retry-After header: in seconds, as an HTTP date, or none."""
    if form is None:
        return {}
    if form == "date":
        # A date has whole seconds: two ahead is at least one second from now.
        return {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    return {"Retry-After": f"{form:g}"}

"""The rate limit, which clients must discover, and the ``Retry-After`` header."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import Literal

import attrs


@attrs.define
class Bucket:
    """A token bucket. Its rate and capacity are passed to ``take``, so both may change."""

    level: float = math.inf
    stamp: float = 0.0

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Take a token if one is available, and return whether one was taken.

        Args:
            now: the current time in seconds, on any clock.
            rate: the number of tokens per second.
            burst: the capacity; None for a tenth of the rate, but at least 1.
        """
        capacity = max(1.0, rate / 10) if burst is None else burst
        # Adds the tokens for the time since the last draw; a full bucket overflows. A new bucket's
        # level is infinite, so its first draw finds it full.
        self.level = min(capacity, self.level + (now - self.stamp) * rate)
        self.stamp = now
        passes = self.level >= 1
        self.level -= passes
        return passes


def retry_after(form: float | Literal["date"] | None) -> dict[str, str]:
    """Return a Retry-After header, in seconds or as an HTTP date; empty if ``form`` is None."""
    if form is None:
        return {}
    if form == "date":
        # A date has whole seconds, so two seconds ahead is at least one second from now.
        return {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    return {"Retry-After": f"{form:g}"}

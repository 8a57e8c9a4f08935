"""The hidden rate limit, and the header that may come with its refusals."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import Literal

import attrs


@attrs.define
class Bucket:
    """A token bucket whose rate and depth are told at each draw, so both may change."""

    level: float = math.inf
    stamp: float = 0.0

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Whether one more may pass at `now`, at `rate` per second."""
        depth = max(1.0, rate / 10) if burst is None else burst
        self.level = min(depth, self.level + (now - self.stamp) * rate)
        self.stamp = now
        passes = self.level >= 1
        self.level -= passes
        return passes


def retry_after(form: float | Literal["date"] | None) -> dict[str, str]:
    """The Retry-After header in the form asked for."""
    if form is None:
        return {}
    if form == "date":
        # A date knows whole seconds only: two ahead is at least one second from now.
        return {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    return {"Retry-After": f"{form:g}"}

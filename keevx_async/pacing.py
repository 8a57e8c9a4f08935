"""When the next create may go. A pure state machine: time comes in as an argument."""

from __future__ import annotations

DEFAULT_HOLD = 1.0
LONGEST_HOLD = 30.0


class Pacer:
    """Spaces creates under a ceiling, and holds all of them after a 429.

    Args:
        ceiling: creates per second, or None for no ceiling.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        self._spacing = 0.0 if ceiling is None else 1.0 / ceiling
        self._next = 0.0
        self._held_until = 0.0
        self._hold = DEFAULT_HOLD

    def delay(self, now: float) -> float:
        """Return the seconds until the next create may go; 0 when it may go now."""
        return max(0.0, self._next - now, self._held_until - now)

    def take(self, now: float) -> None:
        """Note that a create goes now."""
        self._next = max(self._next, now - self._spacing) + self._spacing

    def accepted(self) -> None:
        """Note that Keevx took a create."""
        self._hold = DEFAULT_HOLD

    def refused(self, now: float, retry_after: float | None = None) -> None:
        """Note a 429: hold every create, for as long as asked or a doubling while."""
        if now < self._held_until and retry_after is None:
            return
        wait = self._hold if retry_after is None else retry_after
        self._hold = min(LONGEST_HOLD, self._hold * 2)
        self._held_until = max(self._held_until, now + wait)

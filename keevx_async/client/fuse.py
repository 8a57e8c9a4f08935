"""When a run of creates is to stop, because the rest would be refused like those before."""

from __future__ import annotations

from attrs import define, field

from ..errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InsufficientFunds,
    KeevxError,
    NotStarted,
)

CERTAIN = (AuthenticationError, InsufficientFunds, ConfigurationError)
"""Refusals of the key, the account or the client's setup: they hold for every other create too."""
UNREACHABLE = (AuthenticationError, ConfigurationError, ConnectionFailed)
"""Refusals after which a status query would fail too."""


@define(eq=False)
class Fuse:
    """Decides when the creates of one run are refused for a reason that all of them share.

    Creates end in another order than they were sent in, so "in a row" is the order in which they
    ended, each after its last retry. A create that nothing was sent for does not count.

    Args:
        limit: equal refusals in a row that blow the fuse; 0 for no limit. One of ``CERTAIN`` blows
            it at once.
    """

    _limit: int = field(alias="limit")
    _last: tuple[object, ...] | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)

    def accepted(self) -> None:
        """Report that Keevx accepted a create: what was refused before does not count any more."""
        self._last, self._count = None, 0

    def blown_by(self, error: KeevxError) -> bool:
        """Report how a create failed; return whether the run is to stop.

        1. The key, the account or the setup was refused: at once.
        2. Any other refusal, or no connection: once as many in a row as the limit were equal, of
           the same class, status and code.
        3. Anything else, such as a broken request or a lost answer, says nothing about the rest.
        """
        if isinstance(error, CERTAIN):
            return True
        if isinstance(error, APIError):
            refusal: tuple[object, ...] = (type(error), error.status, error.code)
        elif isinstance(error, ConnectionFailed):
            refusal = (type(error),)
        else:
            return False
        self._count = self._count + 1 if refusal == self._last else 1
        self._last = refusal
        return 0 < self._limit <= self._count


def not_started(reason: Exception) -> NotStarted:
    """Return the error of an item that was not made because the run was stopped."""
    return NotStarted(reason.message if isinstance(reason, KeevxError) else str(reason))

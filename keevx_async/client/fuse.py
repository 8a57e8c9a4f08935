"""Decides when to stop a run because its remaining creates would be refused too."""

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
"""Errors about the key, the account or the client's setup: every other create would fail too."""
UNREACHABLE = (AuthenticationError, ConfigurationError, ConnectionFailed)
"""Errors after which a status query would fail too."""


@define(eq=False)
class Fuse:
    """Detects that creates keep failing for the same reason.

    Here, "in a row" refers to the order in which creates end after their last retry, which may
    differ from the order in which they were sent.

    Args:
        limit: the fuse blows after this many identical failures in a row; 0 for no limit. An
            error in ``CERTAIN`` blows it at once.
    """

    _limit: int = field(alias="limit")
    _last: tuple[object, ...] | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)

    def accepted(self) -> None:
        """Report that Keevx accepted a create; earlier failures no longer count."""
        self._last, self._count = None, 0

    def blown_by(self, error: KeevxError) -> bool:
        """Report how a create failed; return whether the run should stop.

        1. The key, the account or the setup was refused: stop at once.
        2. Any other refusal, or no connection: stop after ``limit`` failures in a row with the
           same class, status and code.
        3. Anything else, such as an invalid request or a lost response, does not count.
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
    """Return the error for an item that was not started because the run was stopped."""
    return NotStarted(reason.message if isinstance(reason, KeevxError) else str(reason))

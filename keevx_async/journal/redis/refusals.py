"""Interpret Redis errors, and log outages.

``refusal_of`` is a pure function; ``Outage`` condenses the errors of many callers into a few log
lines.
"""

from __future__ import annotations

import logging
import math
import re
from typing import NamedTuple

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,
    TryAgainError,
)

log = logging.getLogger("keevx_async.journal")

UNAVAILABLE = (ConnectionError, TimeoutError)
"""Errors raised if Redis does not respond, for example during a restart or a failover."""
REFUSED = {
    "READONLY": "it is a replica; writes work again once a primary is available",
    "OOM": "its memory is full; raise maxmemory",
    "NOREPLICAS": "too few replicas are connected; see min-replicas-to-write",
    "MISCONF": "it cannot save to disk; see its log",
    "BUSY": "it is running a script that does not end; see SCRIPT KILL",
    "LOADING": "it is still loading its data after a start",
    "CLUSTERDOWN": "its cluster is down, or serves only some of the keys",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "TRYAGAIN": "its cluster is moving these keys",
    "max number of clients": "it has too many clients; raise maxclients",
}
"""Temporary refusals, each with its cause or remedy.

Redis's own list is in ``createSharedObjects`` in its ``server.c``, and in ``cluster.c``. Any other
refusal means that a command, a key or a password is wrong, which waiting does not fix."""
CLASSES: dict[type[Exception], str] = {
    ReadOnlyError: "READONLY",
    OutOfMemoryError: "OOM",
    BusyLoadingError: "LOADING",
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    TryAgainError: "TRYAGAIN",
}
"""redis-py's exception classes for these refusals; redis-py removes the code from the text."""
_CODE = re.compile(r"(?:^|[\s:-])(" + "|".join(map(re.escape, REFUSED)) + r")\b")
INTERVAL = 30.0
"""Seconds between log lines about the same outage."""


class Refusal(NamedTuple):
    """The meaning of a Redis error.

    Attributes:
        reason: a short description of the error, with a remedy if one is known.
        passes: whether the same command is likely to succeed later.
    """

    reason: str
    passes: bool


def refusal_of(error: RedisError | RedisClusterException) -> Refusal:
    """Return the meaning of an error."""
    # 1. Its class or its text names a temporary refusal. Servers before version 7 put the code of
    #    an error in a script in the middle of the text, and a pipeline puts the command before it.
    # 2. Redis did not respond: this is temporary. redis-py derives its wrong-password errors from
    #    ConnectionError; those are not temporary.
    # 3. Anything else is permanent.
    text = str(error)
    code = getattr(error, "status_code", None)
    if code not in REFUSED:
        match = _CODE.search(text)
        code = match[1] if match else None
    if code is None:
        code = CLASSES.get(type(error))
    if code is not None:
        return Refusal(f"{text} ({REFUSED[code]})", True)
    is_login = isinstance(error, (AuthenticationError, AuthorizationError))
    return Refusal(text, isinstance(error, UNAVAILABLE) and not is_login)


class Outage:
    """Logs a Redis outage: one line when it starts, a few while it lasts, and one when it ends.

    Callers that retry report each failure, and a success after a failure.

    Attributes:
        ended: when the last outage ended, on the callers' clock; minus infinity if there was none.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._logged = 0.0
        self.ended = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether a call has failed, and none has succeeded since."""
        return self._began is not None

    def failed(self, reason: str, now: float) -> None:
        """Report that a call failed and will be retried."""
        if self._began is None:
            self._began = self._logged = now
            log.warning("Redis is unavailable: %s; waiting for it", reason)
        elif now - self._logged >= INTERVAL:
            self._logged = now
            lasted = now - self._began
            log.warning("Redis has been unavailable for %.0f s: %s", lasted, reason)

    def passed(self, now: float) -> None:
        """Report that a call succeeded after having failed."""
        if self._began is not None:
            log.warning("Redis is back after %.1f s", now - self._began)
            self._began, self.ended = None, now

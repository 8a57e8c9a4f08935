"""The events that a client passes to its ``on_event`` hook, as they happen.

All are frozen, and can be matched by position: ``case Submitted(key, task_ids)``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from pathlib import Path

from attrs import frozen

from .errors import ConfigurationError, KeevxError, Violation
from .models.tasks import Task

log = logging.getLogger("keevx_async.client")


@frozen
class Event:
    """The base of all events. Match on the subclasses; later versions may add some."""


@frozen
class Submitted(Event):
    """Keevx accepted a create in this run. Ids from an earlier run's journal make no event.

    Attributes:
        key: the key of the create.
        task_ids: the ids of its tasks.
    """

    key: str
    task_ids: tuple[str, ...]


@frozen
class Uncertain(Event):
    """The answer to a create was lost: it may have been paid, and is not sent again.

    Attributes:
        key: the key of the create.
        reason: what arrived instead of an answer.
    """

    key: str
    reason: str


@frozen
class Warned(Event):
    """A create is about to be sent that is valid and probably a mistake; see Request.warnings.

    Attributes:
        key: the key of the create.
        warnings: each as ``Request.warnings`` returns it.
    """

    key: str
    warnings: tuple[Violation, ...]


@frozen
class Refused(Event):
    """A create was refused for good: it made no task, and nothing was paid.

    Attributes:
        key: the key of the create.
        error: what the caller's ``submit`` raises, or the outcome's error.
    """

    key: str
    error: KeevxError


@frozen
class Retrying(Event):
    """An attempt failed in a way that may pass; another follows.

    Attributes:
        attempt: the number of the attempt that failed, from 1.
        delay: seconds until the next.
        error: why it failed.
    """

    attempt: int
    delay: float
    error: Exception


@frozen
class Paused(Event):
    """Keevx answered 429, or 402 with a ``Retry-After``: all creates of the client are held back.

    Attributes:
        seconds: for how long, by what is known now. Another 429 may extend it.
    """

    seconds: float


@frozen
class Polled(Event):
    """A status query was answered.

    Attributes:
        task_id: the task.
        status: its status, as received.
    """

    task_id: str
    status: str


@frozen
class Ended(Event):
    """A task that was waited for has ended, with a result or without.

    Attributes:
        task: its last snapshot.
    """

    task: Task


@frozen
class Mismatched(Event):
    """A downloaded video is not what was asked for; ``verify="probe"`` found it. It is kept.

    Attributes:
        task_id: the task that made it.
        path: the file.
        mismatches: how it differs from the request, a sentence each.
    """

    task_id: str
    path: Path
    mismatches: tuple[str, ...]


Emit = Callable[[Event], None]
"""A guarded hook: the client calls it without looking for errors."""


def guarded(hook: Callable[[Event], object] | None) -> Emit | None:
    """Return a hook that never raises: what the caller's hook raises is logged.

    Args:
        hook: a plain function, called on the event loop; it should return quickly.

    Raises:
        ConfigurationError: hook cannot be called, or is a coroutine function, which nothing would
            await.
    """
    if hook is None:
        return None
    # The client calls the hook between two steps of a paid create and never waits for it, so a
    # coroutine would be created and dropped without having run.
    if not callable(hook) or iscoroutinefunction(hook):
        raise ConfigurationError(
            f"on_event must be a plain function (got {hook!r})",
            hint="To handle events in a coroutine, let the function put them in a queue",
        )

    def emit(event: Event) -> None:
        # A mistake in a hook must cost neither an id nor a result.
        try:
            hook(event)
        except Exception:
            log.exception("on_event failed on %r", type(event).__name__)

    return emit

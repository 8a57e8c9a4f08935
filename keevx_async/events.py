"""What a client tells its ``on_event`` hook: small typed facts, as they happen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction

from attrs import frozen

from .errors import ConfigurationError, KeevxError
from .models.tasks import Task

log = logging.getLogger("keevx_async")


@frozen
class Event:
    """Something happened."""


@frozen
class Submitted(Event):
    """A create was accepted, in this run: ``key`` and the ``task_ids`` it was given."""

    key: str
    task_ids: tuple[str, ...]


@frozen
class Uncertain(Event):
    """A create's answer was lost: its ``key``, and the ``reason``."""

    key: str
    reason: str


@frozen
class Refused(Event):
    """A create made no task, for good: its ``key``, and the ``error`` that the caller gets."""

    key: str
    error: KeevxError


@frozen
class Retrying(Event):
    """Attempt number ``attempt`` failed with ``error``; the next begins in ``delay`` seconds."""

    attempt: int
    delay: float
    error: Exception


@frozen
class Paused(Event):
    """Keevx said 429: all creates are held, for ``seconds`` as far as is known now."""

    seconds: float


@frozen
class Polled(Event):
    """A status query about ``task_id`` was answered with ``status``."""

    task_id: str
    status: str


@frozen
class Ended(Event):
    """A ``task`` that was waited for has ended, either way."""

    task: Task


Emit = Callable[[Event], None]


def guarded(hook: Callable[[Event], object] | None) -> Emit | None:
    """Return a hook whose failure is logged and harms nothing.

    Raises:
        ConfigurationError: it is no plain function, so that nobody would run it.
    """
    if hook is None:
        return None
    if not callable(hook) or iscoroutinefunction(hook):
        raise ConfigurationError(
            f"on_event is {hook!r}; give a plain function, which may put events in a queue"
        )

    def emit(event: Event) -> None:
        try:
            hook(event)
        except Exception:
            log.exception("on_event failed on %r", type(event).__name__)

    return emit

"""The events that a client passes to its ``on_event`` hook, as they happen.

All are frozen, and can be matched by position: ``case Submitted(key, task_ids)``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Literal, Protocol

from attrs import frozen

from .errors import ConfigurationError, KeevxError, Violation
from .models.request import Request
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
        key: of the create; empty for a free request, such as a status query.
        attempt: the number of the attempt that failed, from 1.
        delay: seconds until the next.
        error: why it failed.
    """

    key: str
    attempt: int
    delay: float
    error: Exception


@frozen
class Exchange(Event):
    """One request was sent to the API, or could not be, and this is what came of it.

    A create that is retried makes one for each attempt. Downloads are not exchanges with the API.

    Attributes:
        method: such as ``POST``.
        path: below the base URL; a status query's ends with its task id.
        status: the HTTP status; None where no answer arrived.
        seconds: from handing it to the connection pool until its answer was read.
        key: of the create; empty for a free request.
        attempt: of the same request, from 1.
        request_id: what the answer's headers call it; empty where they do not.
        reason: why there is no whole answer; empty where there is.
    """

    method: str
    path: str
    status: int | None
    seconds: float
    key: str
    attempt: int
    request_id: str = ""
    reason: str = ""


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
class Downloaded(Event):
    """The main result of a task is on disk: downloaded now, or whole since an earlier run.

    Attributes:
        task_id: the task that made it.
        path: the file, or the address of the object.
        size: its bytes.
        digest: their SHA-256, in hexadecimal.
        ended_at: when the task was first seen to have ended, in seconds since the epoch. The URLs
            of its results live for 7 days from then.
    """

    task_id: str
    path: Path
    size: int
    digest: str
    ended_at: float


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


Operation = Literal["submit", "wait", "poll", "download"]
"""What a client does that takes time: submit one request, wait for tasks, poll one, download one
result."""


class Observer(Protocol):
    """An ``on_event`` hook that also follows operations, such as one that makes trace spans.

    ``Keevx(on_event=…)`` calls ``span`` if the hook has it.
    """

    def __call__(self, event: Event, /) -> object:
        """Receive an event."""
        ...

    def span(
        self, operation: Operation, subject: str, request: Request | None, /
    ) -> AbstractContextManager[object]:
        """Return what is entered when an operation begins, and left when it ends.

        It is left with the operation's error, and cannot suppress it.

        Args:
            operation: what begins.
            subject: the create's key, the task's id (of a wait: the first), or the file's name.
            request: what is submitted.
        """
        ...


Span = Callable[[Operation, str, "Request | None"], AbstractContextManager[object]]
"""A guarded ``Observer.span``: what goes wrong in it is logged."""


def guarded_span(hook: object) -> Span | None:
    """Return the ``span`` of a hook such that it never raises; None if it has none."""
    span: Span | None = getattr(hook, "span", None)
    if span is None or not callable(span):
        return None

    @contextmanager
    def enter(operation: Operation, subject: str, request: Request | None) -> Generator[None]:
        stack = ExitStack()
        try:
            stack.enter_context(span(operation, subject, request))
        except Exception:
            log.exception("on_event.span failed when %s began", operation)
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            try:
                if error is None:
                    stack.close()
                else:
                    stack.__exit__(type(error), error, error.__traceback__)
            except Exception as failed:
                if failed is not error:
                    log.exception("on_event.span failed when %s ended", operation)

    return enter

"""The events that a client passes to its ``on_event`` hook, as they happen.

All events are frozen and can be matched by position: ``case Submitted(key, task_ids)``.
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
    """The base of all events. Match on the subclasses; later versions may add more."""


@frozen
class Submitted(Event):
    """Keevx accepted a create in this run. Ids found in a journal do not emit this event.

    Attributes:
        key: the key of the create.
        task_ids: the ids of the create's tasks.
    """

    key: str
    task_ids: tuple[str, ...]


@frozen
class Uncertain(Event):
    """A create's response was lost. The create may have been charged, and is not sent again.

    Attributes:
        key: the key of the create.
        reason: the reason that no readable response arrived.
    """

    key: str
    reason: str


@frozen
class Warned(Event):
    """A create that is valid but probably a mistake is about to be sent; see ``Request.warnings``.

    Attributes:
        key: the key of the create.
        warnings: the warnings, as ``Request.warnings`` returns them.
    """

    key: str
    warnings: tuple[Violation, ...]


@frozen
class Refused(Event):
    """A create was permanently refused. It made no task, and nothing was charged.

    Attributes:
        key: the key of the create.
        error: the error that ``submit`` raises, or that the outcome contains.
    """

    key: str
    error: KeevxError


@frozen
class Retrying(Event):
    """A request failed temporarily and will be retried.

    Attributes:
        key: the create's key; empty for a free request, such as a status query.
        attempt: the failed attempt's number, from 1.
        delay: seconds until the next attempt.
        error: the error that the attempt failed with.
    """

    key: str
    attempt: int
    delay: float
    error: Exception


@frozen
class Exchange(Event):
    """The outcome of one request to the API, whether or not it could be sent.

    A retried create emits one exchange per attempt. Downloads emit none.

    Attributes:
        method: the HTTP method, such as ``POST``.
        path: the path below the base URL; a status query's path ends with its task id.
        status: the HTTP status; None if no response arrived.
        seconds: the time from handing the request to the connection pool to reading the response,
            in seconds.
        key: the create's key; empty for a free request.
        attempt: the attempt's number for this request, from 1.
        request_id: the request's id from the response's headers; empty if they contain none.
        reason: the reason that the response is incomplete or missing; empty if it is complete.
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
    """Keevx returned 429, or 402 with a ``Retry-After``, so the client paused all creates.

    Attributes:
        seconds: the length of the pause in seconds, as currently known. Another 429 may extend it.
    """

    seconds: float


@frozen
class Polled(Event):
    """A status query returned a task's status.

    Attributes:
        task_id: the task's id.
        status: the task's status, as received.
    """

    task_id: str
    status: str


@frozen
class Ended(Event):
    """A task that the client was waiting for has ended, with or without a result.

    Attributes:
        task: the task's last snapshot.
    """

    task: Task


@frozen
class Downloaded(Event):
    """A task's main result was downloaded, either now or by an earlier run.

    Attributes:
        task_id: the id of the task that made it.
        path: the path of the file, or the address of the object.
        size: its size in bytes.
        digest: its SHA-256 in hexadecimal.
        ended_at: the time at which the client first saw that the task had ended, in seconds since
            the epoch. The task's result URLs are valid for 7 days from then.
    """

    task_id: str
    path: Path
    size: int
    digest: str
    ended_at: float


@frozen
class Mismatched(Event):
    """``verify="probe"`` found that a video does not match its request. The video is kept.

    Attributes:
        task_id: the id of the task that made it.
        path: the path of the file.
        mismatches: the differences between the video and the request, one phrase each.
    """

    task_id: str
    path: Path
    mismatches: tuple[str, ...]


Emit = Callable[[Event], None]
"""A guarded hook, which never raises."""


def guarded(hook: Callable[[Event], object] | None) -> Emit | None:
    """Wrap a hook so that it never raises: its errors are logged.

    Args:
        hook: a plain function, called on the event loop; it should return quickly.

    Raises:
        ConfigurationError: the hook is not callable, or is a coroutine function, which would never
            be awaited.
    """
    if hook is None:
        return None
    # The client calls the hook between two steps of a paid create and never waits for it. A
    # coroutine would be created and dropped without running.
    if not callable(hook) or iscoroutinefunction(hook):
        raise ConfigurationError(
            f"on_event must be a plain function (got {hook!r})",
            hint="To handle events in a coroutine, have the function put them in a queue",
        )

    def emit(event: Event) -> None:
        # A bug in a hook must not cause the loss of an id or a result.
        try:
            hook(event)
        except Exception:
            log.exception("on_event failed on %r", type(event).__name__)

    return emit


Operation = Literal["submit", "wait", "poll", "download"]
"""A client operation that takes time: submit one request, wait for tasks, poll one task, or
download one result."""


class Observer(Protocol):
    """An ``on_event`` hook that also follows operations, for example to create trace spans.

    ``Keevx(on_event=…)`` calls ``span`` if the hook has that method.
    """

    def __call__(self, event: Event, /) -> object:
        """Receive an event."""
        ...

    def span(
        self, operation: Operation, subject: str, request: Request | None, /
    ) -> AbstractContextManager[object]:
        """Return a context manager for an operation: entered when it starts, exited when it ends.

        The context manager receives the operation's error, if any, but cannot suppress it.

        Args:
            operation: the operation that starts.
            subject: the create's key, the task's id (for a wait, the first task's), or the file's
                name.
            request: the request being submitted, if any.
        """
        ...


Span = Callable[[Operation, str, "Request | None"], AbstractContextManager[object]]
"""A guarded ``Observer.span``, whose errors are logged."""


def guarded_span(hook: object) -> Span | None:
    """Return a hook's ``span`` method, wrapped so that it never raises; None if there is none."""
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

"""The exception hierarchy. Every error has a message, details as attributes, and a hint.

KeevxError
├── InvalidRequest (also ValueError)   a request breaks the vendor's rules; nothing was sent
├── ConfigurationError                 the client cannot be used: no key, a bad base URL
├── APIError                           Keevx responded with an error
│   ├── AuthenticationError            401, 403, or code 100002
│   ├── InsufficientFunds              402
│   ├── NotFoundError                  404, or code 100003
│   ├── RateLimitError                 429
│   └── ServerError                    5xx, or code 530003
├── ConnectionFailed                   no connection was made, or the connection of a GET was lost
├── ResponseError                      the response to a GET could not be read
├── SubmissionUncertain                a create was sent and its response was lost
│   └── SubmissionPending              its response did not arrive within the call's timeout
├── NotStarted                         a fan-out stopped before it started the item
│   └── BudgetExceeded                 a create does not fit in the Budget; nothing was sent
├── TaskFailed                         a task ended without a result
├── WaitTimeout (also TimeoutError)    the wait ended before the tasks did
├── UploadError                        a file cannot be uploaded
├── DownloadError                      a result could not be downloaded completely
├── JournalError                       the journal cannot be opened, read or written
└── CallbackRejected                   a callback could not be verified

Every error can be pickled, copied and matched by position: ``case APIError(429)``. No error
contains the API key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

MAX_QUOTE = 300
"""The maximum number of characters that a message quotes from Keevx."""
MAX_IDS = 16
"""The maximum number of task ids that a message lists."""
CREATIONS_URL = "https://www.keevx.com/main/meta/creations"
"""The page where users can find creates whose ids were lost (keevx-api.md, "Found later")."""


def brief(text: str) -> str:
    """Return a text, truncated to ``MAX_QUOTE`` characters to keep messages readable."""
    return text if len(text) <= MAX_QUOTE else f"{text[:MAX_QUOTE]}…"


@frozen
class Violation:
    """A rule that a request breaks.

    Attributes:
        field: the field's name, or a path such as ``rows[2].prompt`` in a list of rows.
        value: the field's value.
        rule: the kind of rule, such as ``range``, ``required`` or ``unknown``.
        message: the requirement, and the value that was given instead.
    """

    field: str
    value: Any
    rule: str
    message: str

    def __str__(self) -> str:
        # The message about an unknown field already names it.
        return self.message if self.rule == "unknown" else f"{self.field}: {self.message}"


class KeevxError(Exception):
    """The base class of all errors that keevx_async raises.

    ``str(error)`` is the message, followed by the hint. The class's hint is left out if the message
    already says what to do.

    Attributes:
        hint: advice on what to do next.

    Args:
        args: the message, or the values that the message is built from.
        hint: replaces the class's hint.
    """

    # Exceptions are pickled and copied by their args and attributes, so each class passes to
    # super().__init__() exactly the arguments that its own __init__ accepts.
    __match_args__: ClassVar[tuple[str, ...]] = ("message",)
    hint: str = "Read the message; it names the cause"
    _message_has_hint: ClassVar[bool] = False

    def __init__(self, *args: object, hint: str | None = None) -> None:
        super().__init__(*args)
        if hint is not None:
            self.hint = hint

    @property
    def message(self) -> str:
        """What went wrong and where, without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        # A hint passed to this error is always printed. A class's hint is printed if the class
        # builds the message from facts; a message from the raiser contains its own advice.
        if self._message_has_hint and "hint" not in vars(self):
            return self.message
        return f"{self.message}. {self.hint}"


class InvalidRequest(KeevxError, ValueError):
    """A request breaks the vendor's rules. Nothing was sent.

    Attributes:
        violations: all broken rules, not only the first.
    """

    __match_args__ = ("violations",)
    hint = "Correct the named fields, then submit the request again"
    _message_has_hint = True

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(tuple(violations))
        self.violations: tuple[Violation, ...] = tuple(violations)

    @property
    def message(self) -> str:
        """Every violation, separated by semicolons."""
        return "; ".join(map(str, self.violations))


class ConfigurationError(KeevxError):
    """The client cannot be used: no key, a bad setting, a closed client.

    Retrying without changing anything fails again. Nothing was sent.
    """

    hint = "Check the arguments of Keevx(), KEEVX_API_KEY and KEEVX_BASE_URL"
    _message_has_hint = True


REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "x-bce-request-id",
    "x-amzn-requestid",
    "x-correlation-id",
    "x-trace-id",
    "cf-ray",
)
"""Headers that may contain a request's id, most common first. Keevx documents none of them."""


def request_id_of(headers: Mapping[str, str]) -> str:
    """Return the request id from a response's headers, or an empty string if there is none."""
    return next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), "")


class APIError(KeevxError):
    """Keevx responded with an error. A create that raises this made no task.

    Attributes:
        status: the HTTP status.
        code: the envelope's ``code``, or None if the response had no envelope.
        msg: the envelope's ``msg``.
        body: the first part of the response, as text.
        headers: the response's headers, by lower-case name. Cookies are left out, and secrets are
            masked.
        method: the request's method, such as ``POST``.
        path: the request's path, below the base URL.
        attempts: the number of times that the request was sent.
    """

    __match_args__ = ("status", "code", "msg", "body")
    hint = "Change the request, or what it refers to"

    def __init__(
        self,
        status: int,
        code: int | None = None,
        msg: str = "",
        body: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "",
        path: str = "",
    ) -> None:
        super().__init__(status, code, msg, body)
        self.status = status
        self.code = code
        self.msg = msg
        self.body = body
        self.headers: dict[str, str] = dict(headers or {})
        self.method = method
        self.path = path
        self.attempts = 1

    @property
    def request_id(self) -> str:
        """The server's id for the request, to quote to Keevx support; empty if there is none."""
        return request_id_of(self.headers)

    @property
    def message(self) -> str:
        """The status, the code and Keevx's own message."""
        code = "" if self.code is None else f", code {self.code}"
        text = brief(self.msg or self.body) or "no message"
        return f"Keevx refused (HTTP {self.status}{code}): {text}"


class AuthenticationError(APIError):
    """The API key is missing, wrong or not permitted: 401, 403 or code 100002."""

    hint = (
        "Check KEEVX_API_KEY, or the api_key given to Keevx(), and that the base URL "
        "(KEEVX_BASE_URL) belongs to the edition that issued it; some gateways also require "
        "headers={'source': 'skill'}"
    )


class InsufficientFunds(APIError):
    """The account cannot pay for the create: 402. No task was made.

    A fan-out stops at the first such refusal. The remaining items are ``NotStarted``; a later run
    submits them.
    """

    hint = "Add funds to your Keevx account, then run it again: nothing is charged twice"


class NotFoundError(APIError):
    """The task does not exist, or belongs to another account: 404 or code 100003."""

    hint = "Check the task id, and that the API key belongs to the account that created the task"


class RateLimitError(APIError):
    """Keevx kept responding with 429 for longer than the ``RetryPolicy`` allows.

    The client slows its creates down before it raises this, so even a slow pace was refused.
    """

    hint = "Lower the concurrency, set rate=, or give RetryPolicy a longer deadline"


class ServerError(APIError):
    """Keevx kept failing (5xx, code 530003) for longer than the ``RetryPolicy`` allows."""

    hint = "Try again later"


class ConnectionFailed(KeevxError):
    """No connection was made or, for a query, the connection was lost. Nothing was charged.

    If the connection is lost after a create was sent, ``SubmissionUncertain`` is raised instead.

    Attributes:
        host: the host that the client tried to reach.
        reason: the reason for the failure.
    """

    __match_args__ = ("host", "reason")
    hint = "Check the network, the base URL (KEEVX_BASE_URL) and any proxy"

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)
        self.host = host
        self.reason = reason

    @property
    def message(self) -> str:
        """The host, and the reason it could not be reached."""
        return f"could not reach {self.host}: {self.reason}"


class ResponseError(KeevxError):
    """A response could not be parsed as a Keevx response.

    Attributes:
        status: the HTTP status.
        reason: the problem with the response.
        body: the first part of the response, as text.
    """

    __match_args__ = ("status", "reason", "body")
    hint = "Check that the base URL (KEEVX_BASE_URL) points to Keevx"

    def __init__(self, status: int, reason: str, body: str = "") -> None:
        super().__init__(status, reason, body)
        self.status = status
        self.reason = reason
        self.body = body

    @property
    def message(self) -> str:
        """The status, and the problem with the response."""
        return f"unreadable response (HTTP {self.status}): {self.reason}"


class SubmissionUncertain(KeevxError):
    """A create was sent but its response was lost, so it may have been made and charged.

    The client never resends it automatically, in this run or a later one.

    Attributes:
        request: the request that was sent.
        key: the key under which it was sent.
        reason: the reason that no readable response arrived.
        task_ids: task ids from a response that could not be trusted; often empty. They may belong
            to this create: query their status.
    """

    __match_args__ = ("request", "key", "reason", "task_ids")
    hint = f"Look for it in your Keevx account ({CREATIONS_URL}) before submitting it again"

    def __init__(self, request: Any, key: str, reason: str, task_ids: Sequence[str] = ()) -> None:
        super().__init__(request, key, reason, tuple(task_ids))
        self.request = request
        self.key = key
        self.reason = reason
        self.task_ids: tuple[str, ...] = tuple(task_ids)

    @property
    def message(self) -> str:
        """The task ids that may belong to the create, the reason for the loss, and the key.

        The ids come first, so a log that truncates long lines still shows them.
        """
        ids = ""
        if self.task_ids:
            listed = ", ".join(self.task_ids[:MAX_IDS])
            more = ", …" if len(self.task_ids) > MAX_IDS else ""
            ids = f"task ids {listed}{more} may belong to it: "
        return (
            f"{ids}a create was sent but its response was lost ({self.reason}); it may have been "
            f"charged and was not sent again (key {self.key})"
        )


class SubmissionPending(SubmissionUncertain):
    """``submit(timeout=)`` timed out; the create continues in the background.

    Its task ids are recorded when they arrive. Submitting the same ``key`` again with the same
    client waits for this create and returns its ids; no second create is sent.
    """

    hint = "Submit it again with the same key to wait for its ids; no second create is sent"

    @property
    def message(self) -> str:
        """The reason the call ended, and the key."""
        return f"the create continues in the background: {self.reason} (key {self.key})"


class NotStarted(KeevxError):
    """A fan-out stopped before it submitted this item. No task was made.

    Either nothing was sent for the item, or it was in flight and was refused for the reason that
    stopped the fan-out: no funds, or a refused key.

    Attributes:
        reason: the reason the fan-out stopped; ``FanOut.stopped_by`` is the error itself.
    """

    __match_args__ = ("reason",)
    hint = "Fix that, then run it again: it continues with the items that were not started"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def message(self) -> str:
        """The reason the fan-out stopped."""
        return f"not started, because the run was stopped: {self.reason}"


class BudgetExceeded(NotStarted):
    """A create does not fit in the remaining budget. Nothing was sent.

    Attributes:
        budget: the ``Budget``.
        spent: the amounts that were made, or may have been made, in each unit that the budget
            limits: ``videos``, ``seconds``, ``cost``.
        needed: the amounts that the create would add, in the same units.
    """

    __match_args__ = ("budget", "spent", "needed")
    hint = "Raise the budget or remove it; with a journal, nothing is made twice"

    def __init__(
        self, budget: Any, spent: Mapping[str, float], needed: Mapping[str, float]
    ) -> None:
        KeevxError.__init__(self, budget, dict(spent), dict(needed))
        self.budget = budget
        self.spent: dict[str, float] = dict(spent)
        self.needed: dict[str, float] = dict(needed)

        short = [
            f"{unit}: {self.spent[unit]:,.10g} of {most:,.10g} spent, {need:,.10g} more needed"
            for unit, need in self.needed.items()
            if (most := float(getattr(budget, unit))) < self.spent[unit] + need
        ]
        self.reason = f"the budget has been reached ({'; '.join(short)})"

    @property
    def message(self) -> str:
        """The exceeded units, each with the amount spent, the limit and the amount needed."""
        return self.reason


class TaskFailed(KeevxError):
    """A task ended without a result.

    Attributes:
        task: the failed task.
        tasks: every task of the same request, including those that succeeded.
    """

    __match_args__ = ("task", "tasks")
    hint = "Change the prompt or the images, and submit again"

    def __init__(self, task: Any, tasks: Sequence[Any] = ()) -> None:
        super().__init__(task, tuple(tasks))
        self.task = task
        self.tasks: tuple[Any, ...] = tuple(tasks) or (task,)
        # Submitting again would pay a second time for a video that exists.
        if task.lacks_result:
            self.hint = "It was made and charged: query its status later, or ask Keevx about it"

    @property
    def message(self) -> str:
        """The task's id, its status and Keevx's reason."""
        if self.task.lacks_result:
            return f"task {self.task.task_id} is {self.task.status}, but Keevx reports no result"
        reason = brief(self.task.error_message) or "no reason was given"
        status = "" if self.task.status == "FAILED" else f" ({self.task.status[:40]})"
        return f"task {self.task.task_id} failed{status}: {reason}"


class WaitTimeout(KeevxError, TimeoutError):
    """The wait ended before all tasks had ended. The others keep running at Keevx.

    Attributes:
        pending: the ids of the tasks that had not ended.
        done: the tasks that had ended.
        statuses: the last status that Keevx reported for each pending task, by id. Tasks whose
            status was never received are left out.
    """

    __match_args__ = ("pending", "done", "statuses")
    hint = "They keep running at Keevx; wait for the same ids again"

    def __init__(
        self,
        pending: Sequence[str],
        done: Sequence[Any] = (),
        statuses: Mapping[str, str] | None = None,
    ) -> None:
        received = {task_id: status for task_id, status in (statuses or {}).items() if status}
        super().__init__(tuple(pending), tuple(done), received)
        self.pending: tuple[str, ...] = tuple(pending)
        self.done: tuple[Any, ...] = tuple(done)
        self.statuses: dict[str, str] = received

    @property
    def message(self) -> str:
        """The number of tasks that had not ended, and the first five with their statuses."""
        listed = [
            f"{task_id} ({status[:40]})" if (status := self.statuses.get(task_id)) else task_id
            for task_id in self.pending[:5]
        ]
        more = ["…"] if len(self.pending) > 5 else []
        tasks = ", ".join([*listed, *more])
        return f"{len(self.pending)} task(s) had not ended when the wait timed out: {tasks}"


class UploadError(KeevxError):
    """A file cannot be uploaded: unreadable, empty, too large, of an unsupported type, or refused.

    A file that breaks a known rule is refused before any of it is sent. Uploads are free.
    """

    hint = "Check the named file: it must be JPEG, PNG or WebP, and at most 20 MB"
    _message_has_hint = True


class DownloadError(KeevxError):
    """A result could not be downloaded completely. An incomplete file never has the final name.

    If the host supports resuming, the bytes received are kept next to the target, and the next
    download resumes from them.
    """

    hint = "Download the task again; it resumes from the part that arrived"
    _message_has_hint = True


class JournalError(KeevxError):
    """The journal cannot be opened, read or written. No create is sent until this is fixed.

    Attributes:
        task_ids: ids that a create had just returned but that could not be written to the journal.
    """

    __match_args__ = ("message", "task_ids")
    hint = "Make the journal's file readable and writable, then run the same program again"
    _message_has_hint = True

    def __init__(self, message: str, task_ids: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(task_ids))
        self.task_ids: tuple[str, ...] = tuple(task_ids)
        # These paid-for ids exist nowhere else, so they come before any other advice.
        if self.task_ids:
            self.hint = (
                f"Keep these task ids, which are not in the journal: {', '.join(self.task_ids)}"
            )


class CallbackRejected(KeevxError):
    """A callback was not signed with the client's secret, has expired, or could not be read.

    The callback was ignored, and no task changed.
    """

    hint = "No action is needed: callbacks for this client's own creates are accepted"
    _message_has_hint = True

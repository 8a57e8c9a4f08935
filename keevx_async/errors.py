"""The error tree. Every error says what went wrong, where, and what to do next.

KeevxError
├── InvalidRequest (also ValueError)   a request breaks the vendor's rules; nothing was sent
├── ConfigurationError                 no key, a bad base URL: the client cannot work as set up
├── APIError                           Keevx answered, and refused
│   ├── AuthenticationError            401, 403, or code 100002
│   ├── NotFoundError                  404, or code 100003
│   ├── RateLimitError                 429
│   └── ServerError                    5xx, or code 530003
├── ConnectionFailed                   no connection was made, or a GET's was lost
├── ResponseError                      an answer to a GET could not be read
├── SubmissionUncertain                a create was sent and its answer was lost
├── TaskFailed                         a task ended without a video
├── WaitTimeout                        the wait ended before the tasks did
├── UploadError
├── DownloadError
├── JournalError
└── CallbackRejected

Each keeps its fields in ``args``, so each can be pickled; none holds the API key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

_LONGEST_QUOTE = 300
_MOST_IDS = 16
_CREATIONS = "https://www.keevx.com/main/meta/creations"
"""Where a person finds creates whose ids were lost (keevx-api.md, "Found later")."""


def brief(text: str) -> str:
    """Return the beginning of a text that came from outside, as a message quotes it."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _listed(task_ids: Sequence[str]) -> str:
    return ", ".join(task_ids[:_MOST_IDS]) + (", …" if len(task_ids) > _MOST_IDS else "")


@frozen
class Violation:
    """One broken rule of a request: the field, the value it had, the rule and a sentence."""

    field: str
    value: Any
    rule: str
    message: str

    def __str__(self) -> str:
        # The message of an unknown field names it already.
        return self.message if self.rule == "unknown" else f"{self.field}: {self.message}"


class KeevxError(Exception):
    """The root of every error that keevx_async raises.

    Attributes:
        hint: what a person does next.
    """

    hint: str = "Read the message; it says what was wrong"


class InvalidRequest(KeevxError, ValueError):
    """A request breaks the vendor's rules. Nothing was sent."""

    hint = "Correct the fields that are named, and submit the request again"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(tuple(violations))
        self.violations: tuple[Violation, ...] = tuple(violations)

    def __str__(self) -> str:
        return "; ".join(map(str, self.violations))


class ConfigurationError(KeevxError):
    """The client cannot work as it was set up."""

    hint = "Check the arguments of Keevx(), KEEVX_API_KEY and KEEVX_BASE_URL"


class APIError(KeevxError):
    """Keevx answered and refused.

    Attributes:
        status: the HTTP status.
        code: the envelope's ``code``, or None where the answer had no envelope.
        msg: the envelope's ``msg``.
        body: the first part of the answer as text.
    """

    hint = "Change the request, or what it refers to"

    def __init__(self, status: int, code: int | None = None, msg: str = "", body: str = "") -> None:
        super().__init__(status, code, msg, body)
        self.status = status
        self.code = code
        self.msg = msg
        self.body = body

    def __str__(self) -> str:
        code = "" if self.code is None else f", code {self.code}"
        said = brief(self.msg or self.body) or "no message"
        return f"Keevx refused (HTTP {self.status}{code}): {said}. {self.hint}"


class AuthenticationError(APIError):
    """The API key is missing, wrong, or not allowed to do this."""

    hint = (
        "Check KEEVX_API_KEY, or the api_key given to Keevx(), and that the base URL "
        "(KEEVX_BASE_URL) is that of the edition which issued it; some gateways also want "
        "headers={'source': 'skill'}"
    )


class NotFoundError(APIError):
    """There is no such task."""

    hint = "Check the task id, and that the key belongs to the account that made it"


class RateLimitError(APIError):
    """Too many requests, for longer than the retry policy waits."""

    hint = "Lower the concurrency, set rate=, or give RetryPolicy a longer deadline"


class ServerError(APIError):
    """Keevx failed on its side, for longer than the retry policy tries."""

    hint = "Try again later"


class ConnectionFailed(KeevxError):
    """No connection was made (or, for a query, none that held). Nothing was paid."""

    hint = "Check the network, the base URL (KEEVX_BASE_URL) and any proxy"

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)
        self.host = host
        self.reason = reason

    def __str__(self) -> str:
        return f"could not reach {self.host}: {self.reason}. {self.hint}"


class ResponseError(KeevxError):
    """An answer could not be read as Keevx's."""

    hint = "Check that the base URL (KEEVX_BASE_URL) is Keevx's"

    def __init__(self, status: int, reason: str, body: str = "") -> None:
        super().__init__(status, reason, body)
        self.status = status
        self.reason = reason
        self.body = body

    def __str__(self) -> str:
        return f"unreadable answer (HTTP {self.status}): {self.reason}. {self.hint}"


class SubmissionUncertain(KeevxError):
    """A create was sent and its answer was lost: it may have been made and paid.

    It is never sent again by itself.

    Attributes:
        request: the request that was sent.
        key: the key it was sent under.
        reason: what was seen instead of an answer.
        task_ids: task ids that stood in an answer which could not be believed; often empty.
            Ask about them: they may be this create's.
    """

    hint = f"Look for it in your Keevx account ({_CREATIONS}) before you submit it again"

    def __init__(self, request: Any, key: str, reason: str, task_ids: Sequence[str] = ()) -> None:
        super().__init__(request, key, reason, tuple(task_ids))
        self.request = request
        self.key = key
        self.reason = reason
        self.task_ids: tuple[str, ...] = tuple(task_ids)

    def __str__(self) -> str:
        ids = f"task ids {_listed(self.task_ids)} may be its own: " if self.task_ids else ""
        return (
            f"{ids}a create was sent but its answer was lost ({self.reason}); it may have been "
            f"paid. It was not sent again; look for it in your Keevx account ({_CREATIONS}) "
            f"before you do (key {self.key})"
        )


class TaskFailed(KeevxError):
    """A task ended without a result.

    Attributes:
        task: the failed task.
        tasks: every task of the same request, those that succeeded included.
    """

    hint = "Change the prompt or the images, and submit again"

    def __init__(self, task: Any, tasks: Sequence[Any] = ()) -> None:
        super().__init__(task, tuple(tasks))
        self.task = task
        self.tasks: tuple[Any, ...] = tuple(tasks) or (task,)

    def __str__(self) -> str:
        if self.task.lacks_result:
            return (
                f"task {self.task.task_id} is {self.task.status}, but Keevx gives no result of it. "
                "It was made and paid: ask for its status again later, or ask Keevx about it"
            )
        said = brief(self.task.error_message) or "no reason was given"
        status = "" if self.task.status == "FAILED" else f" ({self.task.status[:40]})"
        return f"task {self.task.task_id} failed{status}: {said}. {self.hint}"


class WaitTimeout(KeevxError, TimeoutError):
    """The wait ended before the tasks did. They go on; wait again with the same ids.

    Attributes:
        pending: ids of the tasks that had not ended.
        done: the tasks that had.
        statuses: the last status of each pending task, as Keevx gave it, by id; a task that was
            not asked about, or did not answer, is left out.
    """

    hint = "They go on; wait for the same ids again"

    def __init__(
        self,
        pending: Sequence[str],
        done: Sequence[Any] = (),
        statuses: Mapping[str, str] | None = None,
    ) -> None:
        given = {one: status for one, status in (statuses or {}).items() if status}
        super().__init__(tuple(pending), tuple(done), given)
        self.pending: tuple[str, ...] = tuple(pending)
        self.done: tuple[Any, ...] = tuple(done)
        self.statuses: dict[str, str] = given

    def __str__(self) -> str:
        shown = ", ".join(map(self._shown, self.pending[:5]))
        if len(self.pending) > 5:
            shown += ", …"
        return f"{len(self.pending)} task(s) had not ended when the wait did: {shown}. {self.hint}"

    def _shown(self, task_id: str) -> str:
        status = self.statuses.get(task_id)
        return f"{task_id} ({status[:40]})" if status else task_id


class UploadError(KeevxError):
    """A file cannot be uploaded, or Keevx did not take it."""

    hint = "Check the file that is named: JPEG, PNG or WebP, 20 MB at most"


class DownloadError(KeevxError):
    """A result could not be brought home whole. No file was left under its final name."""

    hint = "Download the task again; what has come is kept"


class JournalError(KeevxError):
    """The journal cannot be opened or written. Nothing is paid for without it.

    Attributes:
        task_ids: what a create had just been given when its ids could not be written.
    """

    hint = "Make the journal's file usable, then run the same program again"

    def __init__(self, message: str, task_ids: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(task_ids))
        self.message = message
        self.task_ids: tuple[str, ...] = tuple(task_ids)

    def __str__(self) -> str:
        ids = f". Keep these task ids, which are not in it: {', '.join(self.task_ids)}"
        return self.message + (ids if self.task_ids else "")


class CallbackRejected(KeevxError):
    """A callback was not signed by us, has expired, or is not one."""

    hint = "Nothing was done with it; callbacks of this client's own creates are accepted"

"""The Emulator's records: kinds of job, tasks, uploads and refused bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import attrs

PENDING, PROCESSING, SUCCEEDED, FAILED = "PENDING", "PROCESSING", "SUCCEEDED", "FAILED"
_QUEUED = 0.2  # the fraction of its duration during which a task is PENDING

Broken = tuple[int, str]
"""A broken rule: the vendor's code and message."""


class Report(NamedTuple):
    """A recorded response to a status query.

    Attributes:
        at: the time of the response in seconds; in a recording, counted from the create.
        data: the response's data.
    """

    at: float
    data: dict[str, Any]


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of job: a row of ``endpoints.KINDS``.

    Attributes:
        name: the vendor's name; also the ``task_type`` of its callbacks.
        path: the path of its creates (POST); a GET on ``path/{task_id}`` queries a task.
        prefix: the prefix of its task ids.
        rules: returns the first rule that a body breaks, or None.
        fields: every field that a body may have.
        blank: the result fields until the task has succeeded.
        result: returns the result fields of a task that succeeded, given the storage URL.
        announced: the result fields that a callback includes.
        subject: returns a create's subject. Faults select creates, and ``creates`` counts them, by
            subject.
        working: the first and the second status of an unfinished task.
        answer: returns the data of the response to a create.
        lists: the lists that a GET returns, by the last part of their path.
    """

    name: str
    path: str
    prefix: str
    rules: Callable[[Mapping[str, Any]], Broken | None]
    fields: frozenset[str]
    blank: Mapping[str, Any]
    result: Callable[[EmulatedTask, str], dict[str, Any]]
    announced: tuple[str, ...]
    subject: Callable[[Mapping[str, Any]], str] = lambda body: str(body.get("prompt", ""))
    working: tuple[str, str] = (PENDING, PROCESSING)
    answer: Callable[[list[EmulatedTask]], object] = lambda tasks: {
        "task_ids": [task.task_id for task in tasks]
    }
    lists: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])


@attrs.frozen(eq=False)
class EmulatedTask:
    """One task. Its status is computed from the clock, so no timer is needed.

    Attributes:
        task_id: the task's id, which is unique even across emulators.
        kind: the kind of job.
        prompt: its create's subject.
        number: its position among the tasks with that subject, from 0.
        raw: the create's body, kept unparsed to save two thirds of the memory.
        created: the ``clock`` time at which the task was made.
        ready_at: the ``clock`` time at which the task ends.
        fails: whether the task ends as FAILED.
        clock: the emulator's clock, in seconds.
        timeline: the remaining statuses, if they are scripted; the first is the current status.
        recorded: the recorded status reports, with ``clock`` times.
    """

    task_id: str
    kind: Kind = attrs.field(repr=False)
    prompt: str
    number: int
    raw: bytes = attrs.field(repr=False)
    created: float
    ready_at: float
    fails: bool
    clock: Callable[[], float] = attrs.field(repr=False)
    timeline: list[str] = attrs.field(factory=list[str])
    recorded: tuple[Report, ...] = ()

    @property
    def body(self) -> dict[str, Any]:
        """The create's body, parsed from JSON."""
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def lot(self) -> str:
        """A name that is the same in every run, unlike the id. Faults use it to select the task."""
        return f"{self.prompt}#{self.number}"

    @property
    def status(self) -> str:
        """The current status: queued for a fifth of the duration, then in progress, then ended."""
        # Computed at each query, so thousands of tasks need no timers, and a frozen clock stops
        # them all.
        if self.timeline:
            return self.timeline[0]
        if self.recorded:
            return str(self.report["status"])
        now = self.clock()
        if now >= self.ready_at:
            return FAILED if self.fails else SUCCEEDED
        queued_until = self.created + _QUEUED * (self.ready_at - self.created)
        queued, processing = self.kind.working
        return queued if now < queued_until else processing

    @property
    def report(self) -> dict[str, Any]:
        """The current recorded report: the latest one that is due, or the first if none is due."""
        now = self.clock()
        due = [each for each in self.recorded if each.at <= now]
        return (due[-1] if due else self.recorded[0]).data


@attrs.frozen
class Upload:
    """One accepted upload.

    Attributes:
        url: the URL at which storage serves it.
        file_id: the vendor's id for it.
        name: the file name that was sent.
        size: the content's size in bytes.
        digest: the content's SHA-256 in hexadecimal.
        content_type: the media type, detected from the first bytes of the content.
    """

    url: str
    file_id: str
    name: str
    size: int
    digest: str
    content_type: str


class Invalid(NamedTuple):
    """A body that was refused as invalid, and the reason."""

    body: Any
    reason: str

"""The Emulator's records: a kind of job, a task, an upload, a refused body."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import attrs

PENDING, PROCESSING, SUCCEEDED, FAILED = "PENDING", "PROCESSING", "SUCCEEDED", "FAILED"
_QUEUED = 0.2  # the share of its duration that a task is PENDING

Broken = tuple[int, str]
"""A broken rule: the vendor's code and message."""


class Report(NamedTuple):
    """What Keevx answered to a status query.

    Attributes:
        at: when, in seconds; in a recording, since the create.
        data: of the answer.
    """

    at: float
    data: dict[str, Any]


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of job: a row of ``endpoints.KINDS``.

    Attributes:
        name: the vendor's name; also the ``task_type`` of its callbacks.
        path: where a POST creates; a GET on ``path/{task_id}`` queries.
        prefix: how its task ids begin.
        rules: returns the first rule that a body breaks, or None.
        fields: every field that a body may have.
        blank: the fields of a result until the task has succeeded.
        result: returns those fields once it has, given the URL of storage.
        announced: the fields of a result that a callback repeats.
        subject: what a create is about: what faults strike, and ``creates`` counts.
        working: the first and the second status of a task that has not ended.
        answer: the data of the answer to a create.
        lists: the last part of a path, and the list that a GET there answers.
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
    """One task. Its status follows from the clock, so no timer has to advance it.

    Attributes:
        task_id: unique, also among emulators.
        kind: the kind of job.
        prompt: the subject of its create.
        number: its position among the tasks of that subject, from 0.
        raw: the body of the create; unparsed, which takes a third of the memory.
        created: when it was made, by ``clock``.
        ready_at: when it ends.
        fails: whether it ends FAILED.
        clock: the emulator's clock, in seconds.
        timeline: the statuses that are still to come, if they are scripted; the first is its own.
        recorded: what a recording has Keevx report of it, each with when, by ``clock``.
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
        """The JSON body of the create."""
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def lot(self) -> str:
        """The name by which faults choose the task: the same in every run, unlike its id."""
        return f"{self.prompt}#{self.number}"

    @property
    def status(self) -> str:
        """The status now: queued for a fifth of its duration, then working, then ended."""
        # Worked out at each query: thousands of tasks need no timers, a frozen clock stops all.
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
        """The report of a recording that holds now: the last before, or else the first."""
        now = self.clock()
        due = [each for each in self.recorded if each.at <= now]
        return (due[-1] if due else self.recorded[0]).data


@attrs.frozen
class Upload:
    """One accepted upload.

    Attributes:
        url: where storage serves it.
        file_id: the vendor's id of it.
        name: the file name that was sent.
        size: in bytes.
        digest: SHA-256 of the content, in hex.
        content_type: the media type, by the first bytes of the content.
    """

    url: str
    file_id: str
    name: str
    size: int
    digest: str
    content_type: str


class Invalid(NamedTuple):
    """One body that was refused as invalid, and why: ``body, reason``."""

    body: Any
    reason: str

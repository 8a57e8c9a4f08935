"""What the emulator remembers of each task, upload and refused body."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import attrs

PENDING, PROCESSING, SUCCEEDED, FAILED = "PENDING", "PROCESSING", "SUCCEEDED", "FAILED"
_QUEUED = 0.2  # the part of a task's life that it spends PENDING

Broken = tuple[int, str]
"""A broken rule: the vendor's code and message."""


def _prompt(body: Mapping[str, Any]) -> str:
    return str(body.get("prompt", ""))


def _ids(tasks: list[EmulatedTask]) -> object:
    return {"task_ids": [task.task_id for task in tasks]}


@attrs.frozen(kw_only=True)
class Kind:
    """One endpoint of the family: a row of `kinds.KINDS`.

    `subject` names a create: what faults strike and `creates` counts. `blank` is what a task
    tells until it has a `result`, whose files lie in storage under the given URL. `working` are
    the statuses of its life, `answer` what a create answers, `lists` its GETs that only list.
    """

    name: str
    path: str
    prefix: str
    rules: Callable[[Mapping[str, Any]], Broken | None]
    fields: frozenset[str]
    blank: Mapping[str, Any]
    result: Callable[[EmulatedTask, str], dict[str, Any]]
    announced: tuple[str, ...]
    subject: Callable[[Mapping[str, Any]], str] = _prompt
    working: tuple[str, str] = (PENDING, PROCESSING)
    answer: Callable[[list[EmulatedTask]], object] = _ids
    lists: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])


@attrs.frozen(eq=False)
class EmulatedTask:
    """One task: its life is a matter of the clock, so nothing has to move it on."""

    task_id: str
    kind: Kind = attrs.field(repr=False)
    prompt: str
    number: int  # the how-manieth task of its prompt, from 0
    raw: bytes = attrs.field(repr=False)  # kept unparsed: a third of the memory
    created: float
    ready_at: float
    fails: bool
    clock: Callable[[], float] = attrs.field(repr=False)

    @property
    def body(self) -> dict[str, Any]:
        """The create's JSON body."""
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def lot(self) -> str:
        """What the faults' draws know the task by: the same in every run, unlike its id."""
        return f"{self.prompt}#{self.number}"

    @property
    def status(self) -> str:
        """The status at this moment."""
        now = self.clock()
        if now >= self.ready_at:
            return FAILED if self.fails else SUCCEEDED
        queued_until = self.created + _QUEUED * (self.ready_at - self.created)
        queued, processing = self.kind.working
        return queued if now < queued_until else processing


@attrs.frozen
class Upload:
    """One accepted upload."""

    url: str
    file_id: str
    name: str
    size: int
    digest: str  # SHA-256, hex
    content_type: str


class Invalid(NamedTuple):
    """One body refused as invalid, and why."""

    body: Any
    reason: str

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


@attrs.frozen
class Kind:
    """One endpoint of the family: a row of `kinds.KINDS`."""

    name: str
    path: str
    prefix: str
    rules: Callable[[Mapping[str, Any]], Broken | None]
    fields: frozenset[str]
    blank: Mapping[str, Any]
    result: Callable[[EmulatedTask, str], dict[str, Any]]
    announced: tuple[str, ...]
    subject: str = "prompt"


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
        return PENDING if now < queued_until else PROCESSING


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

"""Makes an item's line in ``results.jsonl``: a flat dict with its request and results."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, cast

from attrs import define, field, frozen

from keevx_async.events import Downloaded, Ended, Event, Submitted
from keevx_async.journal.protocol import first_attempt_key
from keevx_async.models.outcomes import Outcome
from keevx_async.models.request import Request
from keevx_async.models.tasks import URL_LIFE

from ..input.prompts import Job
from .counters import status_of
from .names import shown_path

FIELDS = (
    "index",
    "line",
    "key",
    "kind",
    "prompt",
    "status",
    "task_ids",
    "paths",
    "bytes",
    "sha256",
    "seconds",
    "pixels",
    "urls",
    "urls_expire_at",
    "submitted_at",
    "ended_at",
    "attempts",
    "cost",
    "mismatches",
    "error",
)
"""The fields of every item, in this order. The request's fields follow."""
CARRIED = ("submitted_at", "ended_at")
"""Fields whose values a later run may not know; the earlier values are then kept."""
_SHARED = ("key", "kind", "prompt")


@frozen
class Facts:
    """Facts about an item, collected from events.

    Attributes:
        submitted_at: the time its create was accepted, in seconds since the epoch; None if an
            earlier run made the item.
        began: the same time on the run's clock.
        ended_at: the time its last task ended, in seconds since the epoch; None if no task has
            ended.
        files: the downloaded files, by task id.
    """

    submitted_at: float | None = None
    began: float | None = None
    ended_at: float | None = None
    files: Mapping[str, Downloaded] = field(factory=dict[str, Downloaded])


@define
class EventLog:
    """Collects facts about items in progress from events, until ``take`` removes them."""

    _submitted: dict[str, tuple[float, float]] = field(factory=dict[str, tuple[float, float]])
    _ended: dict[str, float] = field(factory=dict[str, float])
    _files: dict[str, Downloaded] = field(factory=dict[str, Downloaded])

    def on_event(self, event: Event, now: float, clock: float) -> None:
        """Record an event.

        Args:
            event: a client event.
            now: the time in seconds since the epoch.
            clock: the time in seconds on the run's clock.
        """
        if isinstance(event, Submitted):
            self._submitted[event.key] = now, clock
        elif isinstance(event, Ended):
            self._ended[event.task.task_id] = now
        elif isinstance(event, Downloaded):
            self._files[event.task_id] = event

    def take(self, outcome: Outcome[Any]) -> Facts:
        """Remove and return the facts about an item."""
        submitted_at, began = self._submitted.pop(outcome.key, (None, None))
        ended: list[float] = []
        files: dict[str, Downloaded] = {}
        for task_id in outcome.task_ids:
            at = self._ended.pop(task_id, None)
            if (file := self._files.pop(task_id, None)) is not None:
                files[task_id] = file
                at = file.ended_at
            if at is not None:
                ended.append(at)
        return Facts(submitted_at, began, max(ended, default=None), files)


def record(
    outcome: Outcome[Request], job: Job, facts: Facts | None = None, cost: float | None = None
) -> dict[str, Any]:
    """Return an item's line: ``FIELDS``, then the input's columns and the request's fields.

    ``key`` is the input's key, or the first key that the journal assigned. It does not change when
    the item is resubmitted, so the item's new line replaces its old line. A column whose name has
    another meaning in ``FIELDS`` gets the prefix ``input_``.

    Args:
        outcome: the item's outcome.
        job: the item's row in the input.
        facts: the facts about the item from events.
        cost: the item's cost; None if there are no prices.
    """
    facts = facts or Facts()
    error, request = outcome.error, outcome.request
    key = job.key or first_attempt_key(outcome.key)
    files = list(facts.files.values())
    urls = [url for task in outcome.tasks for url in task.results.values()]
    main = next((task for task in outcome.tasks if task.succeeded), None)
    expires = facts.ended_at + URL_LIFE if urls and facts.ended_at is not None else None
    values = (
        outcome.index,
        job.line,
        key,
        request.kind.name,
        request.subject,
        status_of(error).value,
        list(outcome.task_ids),
        [shown_path(path) for path in outcome.paths],
        [file.size for file in files],
        [file.digest for file in files],
        main and main.duration,
        f"{main.width}x{main.height}" if main and main.width and main.height else None,
        urls,
        _iso(expires),
        _iso(facts.submitted_at),
        _iso(facts.ended_at),
        _attempts(outcome.key, key),
        cost,
        list(outcome.mismatches),
        None if error is None else str(error),
    )
    item: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    for name, value in job.row.items():
        if name not in _SHARED:
            item[f"input_{name}" if name in FIELDS else name] = _plain(value)
    for name, value in request.to_dict().items():
        if value is not None:
            item.setdefault(name, value)
    return item


def _attempts(key: str, first: str) -> int:
    """Return the number of times an item was submitted; its keys are ``KEY``, ``KEY~2`` etc."""
    if not key:
        return 0
    return int(key[len(first) + 1 :] or 1) if key.startswith(first) else 1


def _iso(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[object]", value)]
    return value

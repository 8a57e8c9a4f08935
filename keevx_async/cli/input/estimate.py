"""Estimates the requests that a run would send, for ``--dry-run`` and ``keevx check``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from keevx_async.errors import JournalError
from keevx_async.journal.encoding import other_request_error
from keevx_async.journal.protocol import Entry, State, next_attempt_key, stem_of
from keevx_async.journal.sqlite import Journal
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request, canonical_body
from keevx_async.models.tasks import Task
from keevx_async.models.usage import UsageGroup, usage_group
from keevx_async.transfer.images import inspect

from ..output.amounts import Amounts, plural, result_noun
from .prompts import Prompts

Group = tuple[str, tuple[Any, ...]]
"""A kind, with the values of the fields that determine its duration and possibly its price."""


async def estimate_prompts(
    prompts: Prompts, journal: Journal | None, *, fresh: bool = False
) -> Estimate:
    """Count the requests that a run would send, and their results.

    Keys are looked up as in a run. Nothing is written or sent, and the journal is not locked, so it
    may be in use. An item is not counted as a request if the journal has its task ids, or if its
    create is uncertain and the journal does not resubmit uncertain creates.

    Args:
        prompts: the prompts; all of them are read.
        journal: the journal, which is opened and closed here; None if there is none yet.
        fresh: whether items that were already made are made again, and count as requests.

    Raises:
        JournalError: the journal cannot be read or is incomplete, or a key belongs to another
            request.
    """
    estimate = Estimate()
    async with journal or nullcontext():
        if journal is not None and journal.lost is not None:
            raise JournalError(journal.lost)
        find = None if journal is None else _AttemptFinder(journal)
        for request in prompts:
            key = prompts.take_job(request).key
            attempts = [] if find is None else await find(request, key)
            recorded = attempts[-1].state if attempts else None
            if recorded is State.SUBMITTED and fresh:
                estimate.add_again(request, attempts)
                continue
            estimate.add(request, recorded)
    return estimate


class _AttemptFinder:
    """Finds the journal entries for each item of an input. Pass items in the input's order.

    Args:
        journal: the open journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers: Counter[str] = Counter()
        self._digests: dict[Path, str] = {}

    async def __call__(self, request: Request, key: str | None) -> list[Entry]:
        """Return the entries that keep an item from being sent; an empty list if it would be sent.

        The first entry is the item's first create. Each further entry is a resubmission of the
        previous entry, which failed. The last entry is SUBMITTED or UNCERTAIN.
        """
        for path in request.local_files():
            if path not in self._digests:
                self._digests[path] = inspect(path, limit=None).digest
        body = canonical_body(request, self._digests)
        if key is None:
            stem = stem_of(request.kind.name, body)
            self._numbers[stem] += 1
            key = f"{stem}-{self._numbers[stem]}"
        entry = await self._journal.find(key)
        if entry is not None and (entry.kind, entry.body) != (request.kind.name, body.decode()):
            raise other_request_error(self._journal.path, key, entry.body, body)
        attempts: list[Entry] = []
        failed: Task | None = None
        # 1. An attempt that is not sent again ends the search: the item is recorded.
        # 2. A failed attempt is followed by the next attempt, if it was or may have been made.
        # 3. Anything else would be sent: a first create that is planned or was refused; with
        #    --retry-failed, the next attempt; with --on-uncertain resubmit, a create without ids.
        while entry is not None and entry.state in (State.SUBMITTED, State.UNCERTAIN):
            attempts.append(entry)
            if entry.state is State.UNCERTAIN:
                return attempts if entry.is_final(resubmits=self._journal.resubmits) else []
            if (failed := await self._failed_task(entry)) is None:
                return attempts
            later = await self._journal.find(next_attempt_key(entry.key))
            # A later entry with another body is not an attempt, although its key looks like one.
            entry = later if later is not None and later.body == entry.body else None
        retries = self._journal.retries
        return [] if retries is not None and (failed is None or retries(failed)) else attempts

    async def _failed_task(self, entry: Entry) -> Task | None:
        """Return a create's first failed task; None if no task failed or a task has not ended."""
        records = [await self._journal.find_task(task_id) for task_id in entry.task_ids]
        ended = [record.task for record in records if record is not None and record.task.done]
        if len(ended) < len(records):
            return None
        return next((task for task in ended if not task.succeeded), None)


class Estimate:
    """Counts requests and their results, by kind and settings.

    Attributes:
        requests: the number of creates that would be sent, by group.
        results: the number of videos or images that the creates would make, by group.
        usage: the same results by usage group, which determines their price.
        recorded: the number of items that would not be sent, by their state in the journal.
        again: the number of requests for items that were already made.
        made_keys: the journal keys of those items, including later attempts.
    """

    def __init__(self) -> None:
        self.requests: Counter[Group] = Counter()
        self.results: Counter[Group] = Counter()
        self.usage: Counter[UsageGroup] = Counter()
        self.recorded: Counter[State] = Counter()
        self.again: int = 0
        self.made_keys: list[str] = []

    @property
    def total(self) -> int:
        """The number of items."""
        return self.requests.total() + self.recorded.total()

    def add(self, request: Request, recorded: State | None) -> None:
        """Count an item.

        Args:
            request: the item's request.
            recorded: the item's state in the journal; None if the item would be sent.
        """
        if recorded is not None:
            self.recorded[recorded] += 1
            return
        settings = tuple(getattr(request, name) for name in request.duration_fields)
        group = (request.kind.name, settings)
        self.requests[group] += 1
        self.results[group] += request.count
        self.usage[usage_group(request)] += request.count

    def add_again(self, request: Request, attempts: Iterable[Entry]) -> None:
        """Count an item that was made and will be made again.

        Args:
            request: the item's request.
            attempts: the item's journal entries.
        """
        self.add(request, None)
        self.again += 1
        self.made_keys += [entry.key for entry in attempts]

    def to_json(self, amounts: Amounts) -> dict[str, object]:
        """Return the counts as a JSON object: ``event``, the totals, then ``groups``."""
        groups = [
            {"kind": kind, **dict(zip(REQUESTS[kind].duration_fields, settings, strict=True))}
            | {"requests": count, f"{result_noun(kind)}s": self.results[kind, settings]}
            for (kind, settings), count in sorted(self.requests.items())
        ]
        totals: dict[str, float] = {"requests": self.requests.total()}
        totals |= amounts.to_json(self.usage)
        recorded = {
            state.value: self.recorded[state] for state in (State.SUBMITTED, State.UNCERTAIN)
        }
        return {"event": "plan", **totals, **recorded, "groups": groups}

    def print(self, name: str, amounts: Amounts, *, as_json: bool) -> None:
        """Print the counts to standard output: a table and the totals, or one JSON object.

        Args:
            name: the input's name.
            amounts: computes the amounts and the cost of the results.
            as_json: whether to print JSON.
        """
        if as_json:
            print(json.dumps(self.to_json(amounts)))
            return
        console = Console(highlight=False, markup=False, soft_wrap=True)
        table = Table("kind", "settings", box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("requests", "results"):
            table.add_column(heading, justify="right")
        for group, count in sorted(self.requests.items()):
            kind, values = group
            words: list[str] = []
            for field, value in zip(REQUESTS[kind].duration_fields, values, strict=True):
                if not isinstance(value, bool):
                    words.append(f"{value} s" if field == "duration" else str(value))
                elif value:  # a flag is shown by its name, if it is on
                    words.append(field)
            table.add_row(kind, " ".join(words), f"{count:,}", f"{self.results[group]:,}")
        if self.requests:
            console.print(table)
        requests = plural(self.requests.total(), "request")
        made = f", {amounts.to_text(self.usage)}" if self.usage else ""
        console.print(f"{name}: {requests}{made}; nothing was sent")
        for state, count in self.recorded.items():
            console.print(f"not counted, because they are in the journal: {count:,} {state}")

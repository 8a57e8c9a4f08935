"""``--dry-run`` and ``keevx check``: what a file would make, beyond what a journal already has."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table

from keevx_async.journal.protocol import State
from keevx_async.journal.sqlite import Journal
from keevx_async.models.encoding import canonical_body
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from keevx_async.models.usage import UsageGroup, usage_group
from keevx_async.transfer.images import inspect

from ..output.amounts import Amounts, plural, result_noun
from .prompts import Prompts

Group = tuple[str, tuple[Any, ...]]
"""A kind, and the values of the fields that its duration, and perhaps its price, depend on."""


async def estimate_prompts(prompts: Prompts, journal: Journal | None) -> Estimate:
    """Count what a run of prompts would make.

    Keys are looked up as a run looks them up, and nothing is written or sent. An item is not
    counted among the requests if the journal has its task ids, or if its create is uncertain and
    the journal does not resubmit those.

    Args:
        prompts: read to their end.
        journal: opened and closed here; None where there is none yet.
    """
    estimate = Estimate()
    async with journal or nullcontext():
        for request in prompts:
            key = prompts.take_job(request).key
            state = None
            if journal is not None:
                digests = {path: inspect(path, limit=None).digest for path in request.local_files()}
                body = canonical_body(request, digests)
                claim = await journal.claim(request.kind.name, body, key)
                # Claims without a key stay held: the next equal request must get another key.
                if key is not None:
                    await journal.release(claim.key, made=False)
                # A run would not send an item again if the journal has its ids, or if its create is
                # uncertain and stays so. Items that were refused or interrupted are sent.
                state = claim.entry.state if claim.entry else None
                if state is State.UNCERTAIN and journal.resubmits:
                    state = None
            estimate.add(request, state if state in (State.SUBMITTED, State.UNCERTAIN) else None)
    return estimate


class Estimate:
    """Counts requests and their results, by kind and settings.

    Attributes:
        requests: creates that would be sent, by group.
        results: videos or images they would make, by group.
        usage: the same, by what decides their price.
        recorded: items that would not be sent, by the state in which the journal has them.
    """

    def __init__(self) -> None:
        self.requests: Counter[Group] = Counter()
        self.results: Counter[Group] = Counter()
        self.usage: Counter[UsageGroup] = Counter()
        self.recorded: Counter[State] = Counter()

    def add(self, request: Request, recorded: State | None) -> None:
        """Count an item.

        Args:
            request: of the item.
            recorded: the state that keeps it from being sent; None if it would be sent.
        """
        if recorded is not None:
            self.recorded[recorded] += 1
            return
        settings = tuple(getattr(request, name) for name in request.duration_fields)
        group = (request.kind.name, settings)
        self.requests[group] += 1
        self.results[group] += request.count
        self.usage[usage_group(request)] += request.count

    def to_json(self, amounts: Amounts) -> dict[str, object]:
        """Return the counts as a JSON object: the totals, then ``groups``.

        Its ``event`` is ``plan``.
        """
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
            amounts: values the results.
            as_json: print JSON.
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
                elif value:  # a switch is shown by its name, where it is on
                    words.append(field)
            table.add_row(kind, " ".join(words), f"{count:,}", f"{self.results[group]:,}")
        if self.requests:
            console.print(table)
        requests = plural(self.requests.total(), "request")
        made = f", {amounts.to_text(self.usage)}" if self.usage else ""
        console.print(f"{name}: {requests}{made}; nothing was sent")
        for state, count in self.recorded.items():
            console.print(f"not counted, because the journal has them: {count:,} {state}")

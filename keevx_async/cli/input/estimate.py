"""``--dry-run``: what a file would make, beyond what a journal knows of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table

from keevx_async.journal.protocol import State
from keevx_async.journal.sqlite import Journal
from keevx_async.models.encoding import canonical_body
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request

from .prompts import Prompts

Group = tuple[str, tuple[Any, ...]]
"""A kind, and the values of the fields that how long it takes depends on, as what it costs may."""


async def print_estimate(prompts: Prompts, journal: Journal | None) -> Estimate:
    """Count what would be made; ask for keys as a run does, and write nothing."""
    estimate = Estimate()
    async with journal or nullcontext():
        for request in prompts:
            key = prompts.ended(request).key
            state = await _state(request, key, journal) if journal is not None else None
            estimate.add(request, state)
    return estimate


async def _state(request: Request, key: str | None, journal: Journal) -> State | None:
    """Return the state that keeps a request from being made; None where it would be."""
    claim = await journal.claim(request.kind.name, canonical_body(request), key)
    if key is not None:  # only equal requests without one must be held, to be told apart
        await journal.release(claim.key, made=False)
    state = claim.entry.state if claim.entry else None
    kept = state is State.SUBMITTED or (state is State.UNCERTAIN and not journal.resubmits)
    return state if kept else None


class Estimate:
    """Counts requests and what they would make, by kind and settings."""

    def __init__(self) -> None:
        self.requests: Counter[Group] = Counter()
        self.results: Counter[Group] = Counter()
        self.kept: Counter[State] = Counter()

    def add(self, request: Request, kept: State | None) -> None:
        """Count a request, or what keeps it from being made."""
        if kept is not None:
            self.kept[kept] += 1
            return
        settings = tuple(getattr(request, name) for name in request.duration_fields)
        group = (request.kind.name, settings)
        self.requests[group] += 1
        self.results[group] += request.count

    def tell(self, name: str, *, as_json: bool) -> None:
        """Print what was counted."""
        if as_json:
            print(json.dumps(self._plan()))
            return
        console = Console(highlight=False, markup=False, soft_wrap=True)
        if self.requests:
            console.print(self._table())
        made = (_several(count, what) for what, count in self._made().items() if count)
        counted = ", ".join([_several(self.requests.total(), "request"), *made])
        console.print(f"{name}: {counted}; nothing was sent")
        for state, count in self.kept.items():
            console.print(f"not counted, for the journal knows of them: {count:,} {state}")

    def _made(self) -> dict[str, int]:
        """Return how many would be made of each thing that is made."""
        made = dict.fromkeys(map(_made_of, REQUESTS), 0)
        for (kind, _), count in self.results.items():
            made[_made_of(kind)] += count
        return made

    def _plan(self) -> dict[str, object]:
        groups = [
            {"kind": kind, **dict(zip(REQUESTS[kind].duration_fields, settings, strict=True))}
            | {"requests": count, f"{_made_of(kind)}s": self.results[kind, settings]}
            for (kind, settings), count in sorted(self.requests.items())
        ]
        sums = {"requests": self.requests.total()}
        sums |= {f"{what}s": count for what, count in self._made().items()}
        kept = {state.value: self.kept[state] for state in (State.SUBMITTED, State.UNCERTAIN)}
        return {"event": "plan", **sums, **kept, "groups": groups}

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("kind")
        table.add_column("settings")
        for heading in ("requests", "results"):
            table.add_column(heading, justify="right")
        for group, count in sorted(self.requests.items()):
            kind, settings = group
            said = " ".join(_said(REQUESTS[kind].duration_fields, settings))
            table.add_row(kind, said, f"{count:,}", f"{self.results[group]:,}")
        return table


def _said(names: Iterable[str], settings: Iterable[object]) -> Iterator[str]:
    """Yield settings as a person reads them: a switch by its name, where it is on."""
    for name, value in zip(names, settings, strict=True):
        if not isinstance(value, bool):
            yield f"{value} s" if name == "duration" else str(value)
        elif value:
            yield name


def _made_of(kind: str) -> str:
    """Return what a kind makes, in a word: a video, an image."""
    return REQUESTS[kind].kind.results[0].removesuffix("_url")


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"

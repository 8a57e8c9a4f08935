"""``--dry-run``: what a file would make, beyond what a journal knows of."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext

from rich.console import Console
from rich.table import Table

from keevx_async import ImageToVideo
from keevx_async.journal import Journal, State
from keevx_async.requests import Request
from keevx_async.wire import encode_request

from .prompts import Prompts

GROUP = ("model", "aspect_resolution", "duration")


async def estimated(prompts: Prompts, journal: Journal | None) -> Estimate:
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
    claim = await journal.claim(request.kind.name, encode_request(request), key)
    if key is not None:  # only equal requests without one must be held, to be told apart
        await journal.release(claim.key, made=False)
    state = claim.entry.state if claim.entry else None
    kept = state is State.SUBMITTED or (state is State.UNCERTAIN and not journal.resubmits)
    return state if kept else None


class Estimate:
    """Counts requests and videos, by model, resolution and seconds."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.videos: Counter[tuple[str, str, int]] = Counter()
        self.kept: Counter[State] = Counter()

    def add(self, request: Request, kept: State | None) -> None:
        """Count a request, or what keeps it from being made."""
        if kept is not None:
            self.kept[kept] += 1
        elif isinstance(request, ImageToVideo):
            group = (request.model, request.aspect_resolution, request.duration)
            self.requests[group] += 1
            self.videos[group] += request.count

    def tell(self, name: str, *, as_json: bool) -> None:
        """Print what was counted."""
        if as_json:
            print(json.dumps(self._plan()))
            return
        console = Console(highlight=False, markup=False, soft_wrap=True)
        if self.requests:
            console.print(self._table())
        requests, videos = self.requests.total(), self.videos.total()
        counted = f"{_several(requests, 'request')}, {_several(videos, 'video')}"
        console.print(f"{name}: {counted}; nothing was sent")
        for state, count in self.kept.items():
            console.print(f"not counted, for the journal knows of them: {count:,} {state}")

    def _plan(self) -> dict[str, object]:
        groups = [
            dict(zip(GROUP, group, strict=True), requests=count, videos=self.videos[group])
            for group, count in sorted(self.requests.items())
        ]
        sums = {"requests": self.requests.total(), "videos": self.videos.total()}
        kept = {state.value: self.kept[state] for state in (State.SUBMITTED, State.UNCERTAIN)}
        return {"event": "plan", **sums, **kept, "groups": groups}

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("model")
        for heading in ("resolution", "duration", "requests", "videos"):
            table.add_column(heading, justify="right")
        for group, count in sorted(self.requests.items()):
            model, resolution, seconds = group
            row = (f"{count:,}", f"{self.videos[group]:,}")
            table.add_row(model, resolution, f"{seconds} s", *row)
        return table


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"

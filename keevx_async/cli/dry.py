"""``--dry-run``: what a file would make."""

from __future__ import annotations

import json
from collections import Counter

from rich.console import Console
from rich.table import Table

from keevx_async.image_to_video import ImageToVideo
from keevx_async.requests import Request

GROUP = ("model", "aspect_resolution", "duration")


class Estimate:
    """Counts requests and videos, by model, resolution and seconds."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.videos: Counter[tuple[str, str, int]] = Counter()

    def add(self, request: Request) -> None:
        """Count a request."""
        if isinstance(request, ImageToVideo):
            group = (request.model, request.aspect_resolution, request.duration)
            self.requests[group] += 1
            self.videos[group] += request.count

    def tell(self, name: str, *, as_json: bool) -> None:
        """Print what was counted."""
        requests, videos = self.requests.total(), self.videos.total()
        if as_json:
            groups = [
                dict(zip(GROUP, group, strict=True), requests=count, videos=self.videos[group])
                for group, count in sorted(self.requests.items())
            ]
            told = {"event": "plan", "requests": requests, "videos": videos, "groups": groups}
            print(json.dumps(told))
            return
        console = Console(highlight=False, markup=False, soft_wrap=True)
        console.print(self._table())
        console.print(f"{name}: {requests:,} requests, {videos:,} videos; nothing was sent")

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

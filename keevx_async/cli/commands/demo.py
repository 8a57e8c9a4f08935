"""``keevx demo``: the main job against the embedded emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keevx_async import ImageToVideo
from keevx_async.client.keevx import Keevx
from keevx_async.models.request import Request
from keevx_async.settings import RetryPolicy
from keevx_async.testing import Emulator, Faults

from ..input.prompts import Prompts
from ..output.printer import Json, Printer
from ..output.report import Report
from ..signals import STOPPING, stoppable
from .run import Concurrency, Out, run_prompts, stopping

COUNT = 20


async def demo(
    *, out: Out = Path("demo-videos"), concurrency: Concurrency = 8, json: Json = False
) -> int:
    """Run the main job on 20 prompts against an embedded emulator. Needs no key, costs nothing."""
    report = Report(COUNT, "demo", as_json=json)
    return await stoppable(_demo(report, out, concurrency, json), stopping(report, STOPPING))


async def _demo(report: Report, out: Path, concurrency: int, as_json: bool) -> int:
    faults = Faults(refuse=0.2, drop_polls=0.2, cut_downloads=0.2, latency=(0.0, 0.05))
    prompts = Prompts.of(_requests())
    retry = RetryPolicy(first_delay=0.1)
    async with (
        Emulator(seconds=1.0, spread=0.3, video_bytes=200_000, faults=faults) as emulator,
        Keevx("demo-key", base_url=emulator.url, retry=retry, on_event=report.on_event) as keevx,
    ):
        fan = keevx.generate_many(prompts, concurrency=concurrency, download=out)
        code = await run_prompts(fan, prompts, report, out)
        twice = sum(made > 1 for made in emulator.creates.values())
    made = len(emulator.tasks)
    fields = {"event": "emulator", "tasks": made, "twice": twice}
    Printer(as_json).print(fields, f"the emulator made {made} tasks, {twice} of them twice")
    return code


def _requests() -> Iterator[Request]:
    for number in range(1, COUNT + 1):
        yield ImageToVideo(
            model="V",
            prompt=f"A golden retriever running in the grass, take {number}",
            image_url="https://example.com/start_frame.jpg",
            aspect_ratio="16:9",
            aspect_resolution="1080p",
            duration=6,
        )

"""``keevx demo``: a run against the embedded emulator, which injects faults."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from keevx_async import ImageToVideo
from keevx_async.client.keevx import Keevx
from keevx_async.settings import RetryPolicy
from keevx_async.testing import Emulator, Faults

from ..input.prompts import Prompts
from ..input.resume import local_folder
from ..options import Concurrency, Json, Output
from ..output.names import output_names
from ..output.printer import Printer
from ..output.report import Report
from ..output.results_file import Results
from ..signals import print_stopping, stoppable
from .run import run_prompts

COUNT = 20


async def demo(
    *, out: Output = Path("demo-videos"), concurrency: Concurrency = 8, json: Json = False
) -> int:
    """Run 20 prompts against an embedded emulator: no key, no cost.

    A fifth of the creates are refused, a fifth of the polls are dropped, and a fifth of the
    downloads are cut short. The last lines show the number of tasks that the emulator made, the
    number of tasks made twice, and the path of the results page.
    """
    names = output_names(out)
    prompts = Prompts.from_requests(
        ImageToVideo(
            model="V",
            prompt=f"A golden retriever running in the grass, take {number}",
            image_url="https://example.com/start_frame.jpg",
            aspect_ratio="16:9",
            aspect_resolution="1080p",
            duration=6,
        )
        for number in range(1, COUNT + 1)
    )
    # Retries recover from these faults, and no fault leaves a create uncertain: the demo shows a
    # run that succeeds. The first retries are quick, because a person is watching.
    faults = Faults(refuse=0.2, drop_polls=0.2, cut_downloads=0.2, latency=(0.0, 0.05))
    retry = RetryPolicy(first_delay=0.1)

    async def work() -> int:
        async with (
            Emulator(seconds=1.0, spread=0.3, video_bytes=200_000, faults=faults) as emulator,
            Keevx(
                "demo-key", base_url=emulator.url, retry=retry, on_event=report.on_event
            ) as keevx,
        ):
            fan = keevx.generate_many(prompts, concurrency=concurrency, download=names)
            code = await run_prompts(fan, prompts, report, names)
            made, twice = len(emulator.tasks), sum(n > 1 for n in emulator.creates.values())
        fields = {"event": "emulator", "tasks": made, "twice": twice}
        Printer(json).print(fields, f"the emulator made {made} tasks, {twice} of them twice")
        report.print_page()
        return code

    def on_signal(times: int) -> None:
        report.stopping = True
        print_stopping(times)

    with closing(Results(local_folder(names.folder))) as results:
        report = Report(COUNT, "demo", results, as_json=json)
        return await stoppable(work(), on_signal)

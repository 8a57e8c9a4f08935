"""The commands. Each is a thin hand-over to the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from keevx_async.client import Keevx
from keevx_async.errors import APIError, AuthenticationError, ConfigurationError, KeevxError
from keevx_async.requests import ImageToVideo, Request
from keevx_async.testing import Emulator, Faults
from keevx_async.verdict import RetryPolicy
from keevx_async.version import VERSION

from .prompts import BadLine, jobs, problems
from .report import FAILED, INTERRUPTED, USAGE, Report

app = App(
    name="keevx",
    help="Image-to-video with Keevx: every create is paid at most once.",
    version=VERSION,
    result_action="return_value",
)
USER_ERRORS = (ConfigurationError, AuthenticationError, ValueError)
Concurrency = Annotated[int, Parameter(help="Creates under way at a time.")]
Out = Annotated[Path, Parameter(help="Folder for the videos; made if need be.")]


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        result = app(arguments, exit_on_error=False, print_error=True)
    except CycloptsError:
        return USAGE
    except KeyboardInterrupt:
        errors.print("keevx: interrupted")
        return INTERRUPTED
    except (KeevxError, ValueError) as error:
        errors.print(f"keevx: {error}")
        return USAGE if isinstance(error, USER_ERRORS) else FAILED
    return result if isinstance(result, int) else 0


@app.command(name="run")
async def run_file(
    file: Annotated[Path, Parameter(help="Prompts: JSON lines, or CSV with a header.")],
    *,
    out: Out = Path("videos"),
    concurrency: Concurrency = 32,
) -> int:
    """Submit a file of prompts, wait for the videos, download them."""
    total, wrong = problems(file)
    if wrong:
        errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        for problem in wrong:
            errors.print(str(problem))
        errors.print(f"keevx: nothing was sent; mend {file} and run again")
        return USAGE
    async with Keevx() as keevx:
        await _knock()
        requests = (job.request for job in jobs(file) if not isinstance(job, BadLine))
        return await _work_off(keevx, requests, total, out, concurrency)


@app.command
async def demo(*, out: Out = Path("demo-videos"), concurrency: Concurrency = 8) -> int:
    """Run the main job on 20 prompts against an embedded emulator. Needs no key, costs nothing."""
    faults = Faults(refuse=0.2, drop_polls=0.2, cut_downloads=0.2, latency=(0.0, 0.05))
    async with (
        Emulator(seconds=1.0, spread=0.3, video_bytes=200_000, faults=faults) as emulator,
        Keevx("demo-key", base_url=emulator.url, retry=RetryPolicy(first_delay=0.1)) as keevx,
    ):
        code = await _work_off(keevx, _demo_requests(20), 20, out, concurrency)
        twice = sum(made > 1 for made in emulator.creates.values())
    Console().print(f"the emulator made {len(emulator.tasks)} tasks, {twice} of them twice")
    return code


async def _knock() -> None:
    """Ask about a task that is not there: tells a wrong key or host before anything is paid."""
    async with Keevx(retry=RetryPolicy(attempts=2, first_delay=0.2)) as keevx:
        try:
            await keevx.status("i2v-" + "0" * 32)
        except AuthenticationError:
            raise
        except APIError:
            return


async def _work_off(
    keevx: Keevx, requests: Iterable[Request], total: int, out: Path, concurrency: int
) -> int:
    report = Report(Console(), total)
    fan = keevx.generate_many(requests, concurrency=concurrency, download=out)
    with report.live():
        try:
            async for outcome in fan:
                report.add(outcome)
        except asyncio.CancelledError:
            for outcome in fan.outcomes:
                report.add(outcome)
            report.close(out)
            raise
    return report.close(out)


def _demo_requests(count: int) -> Iterator[Request]:
    for number in range(1, count + 1):
        yield ImageToVideo(
            model="V",
            prompt=f"A golden retriever running in the grass, take {number}",
            image_url="https://example.com/start_frame.jpg",
            aspect_ratio="16:9",
            aspect_resolution="1080p",
            duration=6,
        )

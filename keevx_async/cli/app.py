"""The commands. Each is a thin hand-over to the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from keevx_async.client import Keevx
from keevx_async.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    KeevxError,
    SubmissionUncertain,
)
from keevx_async.image_to_video import ImageToVideo
from keevx_async.journal import Journal
from keevx_async.policies import RetryPolicy
from keevx_async.requests import Request
from keevx_async.testing import Emulator, Faults
from keevx_async.version import VERSION

from .commands import register
from .ledger import settlement, tell_journal
from .lines import bear_any_text, complain
from .listen import answering
from .listen import listen as take_callbacks
from .prompts import Prompts, problems
from .report import FAILED, INTERRUPTED, UNCERTAIN, USAGE, Report

app = App(
    name="keevx",
    help="Image-to-video with Keevx: every create is paid at most once.",
    version=VERSION,
    result_action="return_value",
)
register(app)
ERRORS = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
CODES: dict[type[Exception], int] = {
    CycloptsError: USAGE,
    ConfigurationError: USAGE,
    AuthenticationError: USAGE,
    ValueError: USAGE,
    SubmissionUncertain: UNCERTAIN,
}
Concurrency = Annotated[int, Parameter(help="Creates under way at a time.")]
Out = Annotated[Path, Parameter(help="Folder for the videos; made if need be.")]


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    bear_any_text()
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, KeevxError, ValueError) as error:
        complain(error)
        return next((code for kind, code in CODES.items() if isinstance(error, kind)), FAILED)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # who read it has gone, as head does
        return FAILED
    return result if isinstance(result, int) else 0


@app.command(name="run")
async def run_file(
    file: Annotated[Path, Parameter(help="Prompts: JSON lines, or CSV with a header.")],
    *,
    out: Out = Path("videos"),
    journal: Annotated[
        Path | None, Parameter(help="Record of this run; name it again to go on.")
    ] = None,
    on_uncertain: Annotated[
        Literal["report", "resubmit"],
        Parameter(help="What to do with creates of earlier runs that may have been paid."),
    ] = "report",
    concurrency: Concurrency = 32,
    callbacks: Annotated[
        str | None,
        Parameter(help="Public URL of --listen: Keevx tells of ended tasks, and of lost answers."),
    ] = None,
    listen: Annotated[
        str, Parameter(help="HOST:PORT that takes the callbacks.")
    ] = "127.0.0.1:8080",
) -> int:
    """Submit a file of prompts, wait for the videos, download them."""
    total, wrong = problems(file)
    if wrong:
        for problem in wrong:
            ERRORS.print(str(problem))
        ERRORS.print(f"keevx: nothing was sent; mend {file} and run again")
        return USAGE
    record = None if journal is None else Journal(journal, on_uncertain=on_uncertain)
    async with (
        answering(callbacks, listen) as receiver,
        Keevx(journal=record, callbacks=receiver) as keevx,
    ):
        await _knock()
        return await _work_off(keevx, Prompts(file), total, out, concurrency)


app.command(take_callbacks, name="listen")


@app.command(name="journal")
async def show_journal(
    file: Annotated[Path, Parameter(help="A journal, as named to run.")],
    *,
    settle: Annotated[
        list[str] | None,
        Parameter(help="KEY=ID[,ID…] or KEY=none: what became of an uncertain create."),
    ] = None,
) -> int:
    """Show what a journal holds, and the creates whose answer was lost; settle them."""
    if not file.is_file():
        ERRORS.print(f"keevx: there is no journal {file}")
        return USAGE
    with Journal(file) as record:
        for word in settle or []:
            key, ids = settlement(word)
            await record.settle(key, ids)
        return tell_journal(Console(soft_wrap=True, highlight=False, markup=False), record)


@app.command
async def demo(*, out: Out = Path("demo-videos"), concurrency: Concurrency = 8) -> int:
    """Run the main job on 20 prompts against an embedded emulator. Needs no key, costs nothing."""
    faults = Faults(refuse=0.2, drop_polls=0.2, cut_downloads=0.2, latency=(0.0, 0.05))
    async with (
        Emulator(seconds=1.0, spread=0.3, video_bytes=200_000, faults=faults) as emulator,
        Keevx("demo-key", base_url=emulator.url, retry=RetryPolicy(first_delay=0.1)) as keevx,
    ):
        code = await _work_off(keevx, Prompts.of(_demo_requests(20)), 20, out, concurrency)
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


async def _work_off(keevx: Keevx, prompts: Prompts, total: int, out: Path, concurrency: int) -> int:
    report = Report(Console(), total)
    fan = keevx.generate_many(prompts, concurrency=concurrency, download=out, key=prompts.key)
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

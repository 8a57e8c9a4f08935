"""``keevx run``: a file of prompts, worked off."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Annotated, Literal

from attrs import frozen
from cyclopts import Parameter

from keevx_async.client.fanout import FanOut
from keevx_async.client.keevx import Keevx, check_credentials
from keevx_async.errors import KeevxError
from keevx_async.journal import Journal
from keevx_async.models.request import Request
from keevx_async.models.video_translate import VideoTranslate
from keevx_async.transfer.paths import OutputNames

from ..input.estimate import print_estimate
from ..input.prompts import Job, Problem, Prompts, problems, told
from ..input.sources import Form, Source, opened
from ..output.console import printable
from ..output.next_steps import next_steps
from ..output.printer import Place
from ..output.report import ERRORS, OK, USAGE, Report
from ..output.results_file import Results
from ..signals import AT_ONCE, STOPPING, stoppable
from .listen import serve_callbacks
from .worker import LEAVING, Fleet, named, producer_for

Concurrency = Annotated[int, Parameter(help="Creates under way at a time.")]
Out = Annotated[
    Place, Parameter(help="Folder for the results, made if need be, or a template of their names.")
]


@frozen(kw_only=True)
class Run:
    """A run as it was asked for: what ``run`` was given, checked."""

    source: Source
    total: int
    out: Path
    journal: Path | None
    on_uncertain: Literal["report", "resubmit"]
    on_failed: Literal["report", "resubmit"]
    concurrency: int
    callbacks: str | None
    listen: str
    docket: str | None
    fleet: str
    as_json: bool
    quiet: bool

    @property
    def folder(self) -> Path:
        """Where results.jsonl stands."""
        return OutputNames(self.out).folder

    @property
    def journal_words(self) -> str | None:
        """What names the journal on a command line."""
        if self.docket is not None:
            return named(self.docket, self.fleet)
        return None if self.journal is None else shlex.quote(str(self.journal))

    def record(self) -> Journal | None:
        """Return the journal, if there is to be one."""
        if self.journal is None:
            return None
        return Journal(self.journal, on_uncertain=self.on_uncertain, on_failed=self.on_failed)


def run(
    file: Annotated[
        Place, Parameter(help="Prompts: JSON lines, or CSV with a header; - for standard input.")
    ],
    /,
    *,
    out: Out = Path("videos"),
    journal: Annotated[
        Place | None, Parameter(help="Record of this run; name it again to go on.")
    ] = None,
    format: Annotated[
        Form | None, Parameter(help="Of the prompts; by default as they look.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Check, and count what would be made; send nothing.")
    ] = False,
    retry_failed: Annotated[
        bool,
        Parameter(
            negative="",
            help="Make, and pay, anew what failed in earlier runs: all tasks of an item.",
        ),
    ] = False,
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
    docket: Annotated[
        str | None,
        Parameter(help="Redis of a fleet that does the work; see keevx worker."),
    ] = None,
    fleet: Fleet = "keevx",
    json: Annotated[
        bool, Parameter(negative="", help="Tell events as JSON lines; all else on standard error.")
    ] = False,
    quiet: Annotated[
        bool, Parameter(negative="", help="Tell errors and the last line only.")
    ] = False,
) -> int:
    """Submit a file of prompts, wait for the results, download them."""
    if retry_failed and journal is None:
        ERRORS.print("keevx: --retry-failed needs --journal, which knows what failed")
        return USAGE
    if docket is not None and (journal or callbacks or on_uncertain == "resubmit"):
        ERRORS.print(
            "keevx: a fleet has its own journal, and its workers are told of --on-uncertain; "
            "leave --journal, --callbacks and --on-uncertain out beside --docket"
        )
        return USAGE
    OutputNames(out)  # first of all: a bad template is told before anything is sent
    with opened(file, format) as source:
        total, wrong = problems(source)
        if callbacks is not None and not wrong:
            _, wrong = problems(source, _own_callback)
        if wrong:
            return _report_problems(wrong, source)
        asked = Run(
            source=source,
            total=total,
            out=out,
            journal=journal,
            on_uncertain=on_uncertain,
            on_failed="resubmit" if retry_failed else "report",
            concurrency=concurrency,
            callbacks=callbacks,
            listen=listen,
            docket=docket,
            fleet=fleet,
            as_json=json,
            quiet=quiet,
        )
        return asyncio.run(_estimate(asked) if dry_run else _reported(asked))


def _report_problems(wrong: list[Problem], source: Source) -> int:
    for line in told(wrong):
        ERRORS.print(printable(line))
    ERRORS.print(f"keevx: nothing was sent; fix {source.name} and run again")
    return USAGE


def _own_callback(job: Job) -> str | None:
    if job.request.callback_url is None:
        return None
    return "callback_url: must not be set, for --callbacks gives each create one of its own"


async def _estimate(run: Run) -> int:
    record = run.record() if run.journal is not None and run.journal.is_file() else None
    (await print_estimate(Prompts(run.source), record)).tell(run.source.name, as_json=run.as_json)
    return OK


async def _reported(run: Run) -> int:
    with closing(Results(run.folder)) as results:
        report = Report(run.total, run.source.name, results, as_json=run.as_json, quiet=run.quiet)
        polite = STOPPING if run.docket is None else LEAVING
        return await stoppable(_run(run, report), stopping(report, polite))


def stopping(report: Report, polite: str) -> Callable[[int], None]:
    """Return what takes the signals that stop a run.

    Args:
        report: of the run.
        polite: what a person is told after the first.
    """

    def on_signal(times: int) -> None:
        report.stopping = True
        ERRORS.print(polite if times == 1 else AT_ONCE)

    return on_signal


async def _run(run: Run, report: Report) -> int:
    prompts = Prompts(run.source)
    async with _client(run, report) as keevx:
        await check_credentials(keevx)
        asked = with_languages(keevx, prompts)
        fan = keevx.generate_many(
            asked, concurrency=run.concurrency, download=run.out, key=prompts.key
        )
        code = await run_prompts(fan, prompts, report, run.out)
    if not run.quiet:
        failed = [] if run.docket else report.failed  # what a fleet made stays as it is
        for line in next_steps(report.tally, failed, run.journal_words, run.folder):
            ERRORS.print(line, soft_wrap=True)  # a command must be whole to be copied
    return code


async def with_languages(keevx: Keevx, prompts: Prompts) -> AsyncGenerator[Request]:
    """Yield requests; before the first translation, have the client know what can be spoken.

    Then one to another language is refused before it is sent.
    """
    known = False
    for request in prompts:
        if not known and isinstance(request, VideoTranslate):
            known = True
            with suppress(KeevxError):  # unknown, it is Keevx that refuses
                await keevx.target_languages()
        yield request


@asynccontextmanager
async def _client(run: Run, report: Report) -> AsyncGenerator[Keevx]:
    """Open what makes the creates, or has a fleet make them."""
    if run.docket is not None:
        async with producer_for(run.docket, run.fleet, report) as keevx:
            yield keevx
        return
    async with (
        serve_callbacks(run.callbacks, run.listen) as receiver,
        Keevx(journal=run.record(), callbacks=receiver, on_event=report.on_event) as keevx,
    ):
        yield keevx


async def run_prompts(fan: FanOut[Request], prompts: Prompts, report: Report, out: Path) -> int:
    """Report every outcome, also of a run that is cut short; return the exit code."""
    folder = OutputNames(out).folder
    try:
        with report.live():
            await _follow(fan, prompts, report)
    except KeevxError:
        if report.tally.ended:  # else it had not begun, and the error says it all
            report.close(folder)
        raise
    return report.close(folder)


async def _follow(fan: FanOut[Request], prompts: Prompts, report: Report) -> None:
    try:
        async for outcome in fan:
            report.add(outcome, prompts.ended(outcome.request))
    except asyncio.CancelledError:
        if not report.stopping:
            raise
    finally:
        for outcome in fan.outcomes:
            report.add(outcome, prompts.ended(outcome.request))

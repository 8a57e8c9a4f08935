"""``keevx run``: submits a file of prompts, waits for the results and downloads them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from keevx_async.client.fanout import FanOut
from keevx_async.client.keevx import Keevx, check_credentials
from keevx_async.errors import ConfigurationError, KeevxError
from keevx_async.journal.sqlite import Journal
from keevx_async.models.request import Request
from keevx_async.models.video_translate import VideoTranslate
from keevx_async.transfer.paths import OutputNames

from ..input.estimate import estimate_prompts
from ..input.prompts import Job, Prompts, find_problems, problem_lines
from ..input.resume import Found, begin, find_made, is_there, journal_path, open_journal
from ..input.sources import Source, open_source
from ..options import PromptFile, RunOptions
from ..output.confirm import confirm
from ..output.console import ERRORS, OK, USAGE, print_error, printable
from ..output.next_steps import next_steps
from ..output.report import Report
from ..output.results_file import Results
from ..signals import print_stopping, stoppable
from .listen import serve_callbacks
from .worker import fleet_arguments, producer_for

FLEET_STOPPING = "stopping: the fleet continues with what was added"


def run(file: PromptFile, /, *, options: RunOptions = RunOptions()) -> int:  # noqa: B008 - frozen
    """Submit a file of prompts, wait for the results, and download them.

    All lines are checked before the first is sent. A journal, by default keevx.db beside the
    results, lets a second run resume the first and pay for nothing twice. A signal stops it with
    everything known saved.

    Raises:
        ConfigurationError: options exclude each other, or one is invalid. Nothing was sent.
    """
    # Creates are paid for, so everything that can be checked is checked before the first is sent:
    # 1. That the options go together, and that the template can name the results.
    # 2. The input, read to its end; if it is valid, once more for what --callbacks rules out.
    # 3. That the results folder is writable, and that no other run writes there.
    # 4. The key and the host, with a query that costs nothing.
    names = OutputNames(options.out)
    journal = journal_path(options, names.folder)
    if options.docket is not None and (
        options.journal or options.callbacks or options.on_uncertain == "resubmit" or options.fresh
    ):
        raise ConfigurationError(
            "--journal, --callbacks, --on-uncertain and --fresh cannot be used with --docket: a "
            "fleet has its own journal; pass --on-uncertain to its workers instead"
        )
    if options.docket is not None and options.retry_failed:
        raise ConfigurationError("--retry-failed cannot be used with --docket")
    with open_source(file, options.format) as source:
        total, problems = find_problems(source)
        if options.callbacks is not None and not problems:
            _, problems = find_problems(source, _check_callback)
        if problems:
            for line in problem_lines(problems):
                ERRORS.print(printable(line))
            print_error(f"nothing was sent; fix {source.name} and run again")
            return USAGE
        if options.dry_run:
            return asyncio.run(_print_estimate(source, journal, options))
        found = asyncio.run(find_made(source, journal, options))
        if options.fresh and found.made:
            question = f"--fresh makes and pays for {found.made:,} of {found.total:,} again"
            confirm(question, yes=options.yes)
        return asyncio.run(_run_reported(source, total, names, journal, found, options))


def _check_callback(job: Job) -> str | None:
    if job.request.callback_url is None:
        return None
    return "callback_url: must not be set with --callbacks, which sets it for every create"


async def _print_estimate(source: Source, path: Path | None, options: RunOptions) -> int:
    journal = None
    if is_there(path):  # do not create one
        journal = open_journal(path, options)
    estimate = await estimate_prompts(Prompts(source), journal)
    estimate.print(source.name, as_json=options.json)
    return OK


async def _run_reported(
    source: Source,
    total: int,
    names: OutputNames,
    path: Path | None,
    found: Found,
    options: RunOptions,
) -> int:
    """Open the report and the client, run the prompts, and print what to do next."""

    async def work() -> int:
        prompts, record = Prompts(source), open_journal(path, options)
        async with _open_client(options, report, record) as keevx:
            await check_credentials(keevx)
            if record is not None:
                await begin(record, found, options)
            fan = keevx.generate_many(
                with_languages(keevx, prompts),
                concurrency=options.concurrency,
                download=options.out,
                key=prompts.key,
            )
            code = await run_prompts(fan, prompts, report, names)
        if not options.quiet:
            journal = None if path is None else shlex.quote(str(path))
            failed_tasks = report.failed_tasks
            if options.docket is not None:  # a fleet has its own journal, and retries no failure
                journal, failed_tasks = fleet_arguments(options.docket, options.fleet), []
            for text, command in next_steps(report.counters, failed_tasks, journal, names.folder):
                ERRORS.print(text)
                if command is not None:  # on a line of its own and never wrapped, to be copied
                    ERRORS.print(f"  {command}", soft_wrap=True)
        return code

    def on_signal(times: int) -> None:
        report.stopping = True
        if times == 1 and options.docket is not None:
            print_error(FLEET_STOPPING)
        else:
            print_stopping(times)

    with closing(Results(names.folder)) as results:
        report = Report(total, source.name, results, as_json=options.json, quiet=options.quiet)
        return await stoppable(work(), on_signal)


async def with_languages(keevx: Keevx, prompts: Prompts) -> AsyncGenerator[Request]:
    """Yield the requests; before the first translation, fetch the languages that are offered.

    The client then refuses any other language before it is sent. Where they cannot be fetched,
    Keevx itself refuses.
    """
    fetched = False
    for request in prompts:
        if not fetched and isinstance(request, VideoTranslate):
            fetched = True
            with suppress(KeevxError):
                await keevx.target_languages()
        yield request


@asynccontextmanager
async def _open_client(
    options: RunOptions, report: Report, journal: Journal | None
) -> AsyncGenerator[Keevx]:
    """Open the client that sends the creates, or the one that has a fleet send them."""
    if options.docket is not None:
        async with producer_for(options.docket, options.fleet, report) as keevx:
            yield keevx
        return
    async with (
        serve_callbacks(options.callbacks, options.listen) as receiver,
        Keevx(journal=journal, callbacks=receiver, on_event=report.on_event) as keevx,
    ):
        yield keevx


async def run_prompts(
    fan: FanOut[Request], prompts: Prompts, report: Report, names: OutputNames
) -> int:
    """Report every outcome of a fan-out, and return the exit code.

    When it is cut short, by a signal or an error, the outcomes that are known are reported too.

    Raises:
        KeevxError: the whole run failed. The summary is printed if an item had ended by then.
    """
    try:
        with report.live():
            try:
                async for outcome in fan:
                    report.add(outcome, prompts.take_job(outcome.request))
            except asyncio.CancelledError:
                # A signal ends the run early but in order. Any other cancellation is not ours.
                if not report.stopping:
                    raise
            finally:
                # What ended after the loop: creates in flight have time to be answered.
                for outcome in fan.outcomes:
                    report.add(outcome, prompts.take_job(outcome.request))
    except KeevxError:
        # Where nothing has begun, the error is all there is to print.
        if report.counters.ended:
            report.close(names.folder)
        raise
    return report.close(names.folder)

"""``keevx run``: submits a file of prompts, waits for the results and downloads them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from attrs import frozen

from keevx_async.client.fanout import FanOut
from keevx_async.client.keevx import Keevx
from keevx_async.errors import ConfigurationError, KeevxError
from keevx_async.journal.sqlite import Journal
from keevx_async.models.request import Request
from keevx_async.models.video_translate import VideoTranslate
from keevx_async.settings import DEFAULT_FUSE, Budget, RetryPolicy
from keevx_async.submission.budget import Valuation
from keevx_async.transfer.fitting import Fit
from keevx_async.transfer.output_paths import OutputNames

from ..fields import FieldOptions
from ..input.estimate import Estimate, estimate_prompts
from ..input.inputs import Input, open_prompts
from ..input.prompts import Job, Prompts, find_problems, jobs, problem_lines
from ..input.resume import begin, find_made, has_journal, journal_path, local_folder, open_journal
from ..input.selection import Selection, Survey
from ..input.warnings import Warnings
from ..limits import MAX_UNASKED, LimitOptions
from ..options import InputOptions, PromptFile, RunOptions
from ..output.amounts import Amounts
from ..output.confirm import can_ask, confirm
from ..output.console import ERRORS, OK, STOPPED, USAGE, print_error, print_error_event, printable
from ..output.names import NamedColumns, output_names
from ..output.next_steps import next_steps
from ..output.report import Report
from ..output.results_file import Results
from ..signals import print_stopping, stoppable
from .listen import serve_callbacks
from .worker import fleet_arguments, producer_for

FLEET_STOPPING = "stopping: the fleet continues with what was added"


def run(
    file: PromptFile = None,
    /,
    *,
    prompts: InputOptions = InputOptions(),  # noqa: B008 - frozen
    fields: FieldOptions = FieldOptions(),  # noqa: B008 - frozen
    limits: LimitOptions = LimitOptions(),  # noqa: B008 - frozen
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> int:
    """Submit a file of prompts, wait for the results, and download them.

    All lines are checked before the first is sent. A journal, by default keevx.db beside the
    results, lets a second run resume the first without paying twice. If a signal stops the run,
    everything known so far is saved.

    Raises:
        ConfigurationError: an option is invalid, or options exclude each other. Nothing was sent.
    """
    # Creates are paid for, so everything possible is checked before the first one is sent:
    # 1. The options are compatible, and the template can name the results.
    # 2. The input is valid. It is read to its end, and a second time with --callbacks.
    # 3. The results folder is writable, and no other run writes there.
    # 4. The key and the host work (a free query), and the journal belongs to them.
    # A person is asked for consent last, so that nobody agrees and is then refused.
    names = output_names(options.out)
    journal = journal_path(options, names.folder)
    if options.docket is not None and (
        options.journal
        or options.callbacks
        or options.on_uncertain == "resubmit"
        or options.fresh
        or options.record
        or options.fuse != DEFAULT_FUSE
    ):
        raise ConfigurationError(
            "--journal, --callbacks, --on-uncertain, --fresh, --record and --fuse cannot be used "
            "with --docket: a fleet has its own journal; pass --on-uncertain and --fuse to its "
            "workers instead"
        )
    if options.docket is not None and options.retry_failed:
        raise ConfigurationError("--retry-failed cannot be used with --docket")
    if options.docket is not None and (limits.is_limited or limits.rate):
        raise ConfigurationError(
            "--max-videos, --max-seconds, --max-cost and --rate cannot be used with --docket; "
            "pass them to the fleet's workers instead"
        )
    budget, survey = limits.budget(), Survey()
    with open_prompts(file, prompts, fields, names.columns) as source:
        named = NamedColumns(names.columns, source)
        with Warnings(source, quiet=options.quiet) as warnings:

            def add(job: Job) -> None:
                warnings.add(job)
                survey.add(job)
                named.add(job)

            total, problems = find_problems(source, add)
        problems = problems or named.problems()
        if options.callbacks is not None and not problems:
            _, problems = find_problems(source, _check_callback)
        if problems:
            for line in problem_lines(problems):
                ERRORS.print(printable(line))
                if options.json:
                    hint = f"Fix {source.name} and run again"
                    print_error_event(ConfigurationError(line, hint=hint), exit=USAGE)
            print_error(f"nothing was sent; fix {source.name} and run again")
            return USAGE
        if warnings.stop(strict=prompts.strict):
            return USAGE
        if (count := source.count(total)) and not options.quiet:
            ERRORS.print(printable(count))
        selection = limits.selection(total)
        if selection.total < total:
            survey = Survey.of(selection.apply(jobs(source)))
        plan = Plan(source, selection, survey, budget, prompts.fit, named)
        plan.check()
        for sentence in () if options.quiet else survey.duplicates():
            print_error(f"{source.name}: {sentence}")
        if options.dry_run:
            return asyncio.run(_print_estimate(plan, journal, options))
        estimate = asyncio.run(find_made(plan.prompts(), journal, options))
        question = _question(plan, estimate)
        if question is not None and not limits.yes:
            if options.docket is None:
                asyncio.run(_check_access(journal, names, options))
            if not _agrees(question, estimate):
                print_error("nothing was sent")
                return STOPPED
        return asyncio.run(_run_reported(plan, names, journal, estimate, limits, options))


@frozen
class Plan:
    """The plan for a run.

    Attributes:
        source: the validated input.
        selection: the rows to run.
        survey: the totals for those rows.
        budget: the limits and prices; None if neither was passed.
        fit: the ``--fit`` mode for local images.
        named: the columns used in result names.
    """

    source: Input
    selection: Selection
    survey: Survey
    budget: Budget | None
    fit: Fit
    named: NamedColumns

    def check(self) -> None:
        """Check that the budget can value every row.

        Raises:
            ConfigurationError: a row has no price, or its duration is unknown.
        """
        if self.budget is not None:
            valuation = Valuation(self.budget)
            for group in self.survey.usage:
                valuation.check(group)

    def prompts(self) -> Prompts:
        """Return the prompts in the selected rows."""
        return Prompts(self.selection.apply(jobs(self.source)))


def _check_callback(job: Job) -> str | None:
    if job.request.callback_url is None:
        return None
    return "callback_url: must not be set with --callbacks, which sets it for every create"


async def _print_estimate(plan: Plan, path: Path | None, options: RunOptions) -> int:
    record = open_journal(path, options) if has_journal(path) else None  # do not create one
    estimate = await estimate_prompts(plan.prompts(), record, fresh=options.fresh)
    estimate.print(plan.source.name, Amounts(plan.budget), as_json=options.json)
    return OK


def _question(plan: Plan, estimate: Estimate | None) -> str | None:
    """Return the question to ask a person before the run, if any; see ``_agrees``."""
    parts: list[str] = []
    if estimate is not None and estimate.again:
        parts.append(f"--fresh makes and pays for {estimate.again:,} of {estimate.total:,} again")
    # Items in the journal are not made again, so the question does not count them.
    usage = plan.survey.usage if estimate is None else estimate.usage
    most = plan.budget.videos if plan.budget is not None else None
    if min(usage.total(), usage.total() if most is None else most) > MAX_UNASKED:
        limit = "" if most is None or most >= usage.total() else f"; the limit is {most:,}"
        parts.append(f"This makes {Amounts(plan.budget).to_text(usage)}{limit}")
    return ". ".join(parts) or None


async def _check_access(path: Path | None, names: OutputNames, options: RunOptions) -> None:
    """Check that the folder, journal, key and host can be used. Only a free query is sent.

    Raises:
        KeevxError: any of these cannot be used.
    """
    # Nothing is created yet, because the person may still say no.
    if (folder := local_folder(names.folder)).exists():
        Results(folder).close()
    record = open_journal(path, options) if has_journal(path) else None
    async with Keevx(journal=record) as keevx:
        await keevx.ping()
        await keevx.generate_many((), download=names)  # only checks that a bucket is writable


def _agrees(question: str, estimate: Estimate | None) -> bool:
    """Ask before a large run or before paying again; return whether to continue.

    Raises:
        ConfigurationError: paying again needs consent, and nobody can be asked.
    """
    # If nobody can be asked, a script runs the command, and a script may make many results. To pay
    # again for existing results, a script must pass both --fresh and --yes.
    if can_ask():
        return confirm(f"{question}. Continue?")
    if estimate is not None and estimate.again:
        raise ConfigurationError(f"{question}: pass --yes to agree; nothing was sent")
    return True


async def _run_reported(
    plan: Plan,
    names: OutputNames,
    path: Path | None,
    estimate: Estimate | None,
    limits: LimitOptions,
    options: RunOptions,
) -> int:
    """Open the report and the client, run the prompts, and print the next steps."""

    async def work() -> int:
        prompts, record = plan.prompts(), open_journal(path, options)
        async with _open_client(plan, limits.rate, record, options, report) as keevx:
            await keevx.ping()
            if record is not None:
                await begin(record, estimate, options)
            fan = keevx.generate_many(
                with_languages(keevx, prompts),
                concurrency=options.concurrency,
                download=plan.named.bind(names, prompts),
                key=prompts.key,
            )
            code = await run_prompts(fan, prompts, report, names)
        report.print_page()
        if not options.quiet:
            journal = None if path is None else shlex.quote(str(path))
            failed_tasks = report.failed_tasks
            if options.docket is not None:  # a fleet has its own journal, and retries no failure
                journal, failed_tasks = fleet_arguments(options.docket, options.fleet), []
            steps = next_steps(report.counters, failed_tasks, report.reasons, journal, names.folder)
            for text, command in steps:
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

    with closing(Results(local_folder(names.folder))) as results:
        report = Report(
            plan.selection.total,
            plan.source.name,
            results,
            amounts=Amounts(plan.budget),
            planned=plan.survey.usage,
            as_json=options.json,
            quiet=options.quiet,
        )
        return await stoppable(work(), on_signal)


async def with_languages(keevx: Keevx, prompts: Prompts) -> AsyncGenerator[Request]:
    """Yield the requests; before the first translation, fetch the available languages.

    The client then refuses a request for any other language without sending it. If the languages
    cannot be fetched, Keevx refuses such a request.
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
    plan: Plan, rate: float | None, journal: Journal | None, options: RunOptions, report: Report
) -> AsyncGenerator[Keevx]:
    """Open a client that sends creates to Keevx or passes them to a fleet."""
    if options.docket is not None:
        async with producer_for(options.docket, options.fleet, report) as keevx:
            yield keevx
        return
    async with (
        serve_callbacks(options.callbacks, options.listen) as receiver,
        Keevx(
            journal=journal,
            budget=plan.budget,
            rate=rate,
            callbacks=receiver,
            retry=RetryPolicy(fuse=options.fuse),
            fit=plan.fit,
            verify="probe" if options.verify else "content",
            on_event=report.on_event,
            record=options.record,
        ) as keevx,
    ):
        yield keevx


async def run_prompts(
    fan: FanOut[Request], prompts: Prompts, report: Report, names: OutputNames
) -> int:
    """Report every outcome of a fan-out, and return the exit code.

    If the fan-out is cut short by a signal, an error or its fuse, the outcomes known by then are
    still reported.

    Raises:
        KeevxError: the whole run failed. If any item has ended, the summary is printed first.
    """
    try:
        with report.live():
            try:
                async for outcome in fan:
                    report.add(outcome, prompts.take_job(outcome.request))
            except asyncio.CancelledError:
                # A signal ends the run early but cleanly. Any other cancellation is raised.
                if not report.stopping:
                    raise
            finally:
                # Items that ended after the loop: creates in flight have a grace period.
                for outcome in fan.outcomes:
                    report.add(outcome, prompts.take_job(outcome.request))
    except KeevxError:
        # If no item has ended, there is only the error to print.
        if report.counters.ended:
            report.close(names.folder)
            report.print_page()
        raise
    return report.close(names.folder, fan.stopped_by)

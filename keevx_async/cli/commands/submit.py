"""``keevx submit``: submits one paid request, with an option for each request field."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import App, Parameter

from keevx_async import ImageToVideo
from keevx_async.client.fanout import FanOut
from keevx_async.client.keevx import Keevx
from keevx_async.errors import ConfigurationError, InvalidRequest, SubmissionUncertain
from keevx_async.events import Event, Submitted
from keevx_async.models.advice import FIXED_BY_FIT
from keevx_async.models.outcomes import Outcome
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from keevx_async.transfer.fitting import Fit, check_fit

from ..fields import submit_options
from ..input.inputs import with_paths
from ..input.prompts import file_problem, option_name
from ..input.sources import working_folder
from ..options import FLAG, Download, FitOption, Json, PathOption
from ..output.console import ERRORS, OK, UNCERTAIN, print_error, printable
from ..output.printer import Printer, save_task_ids
from ..registry import HELP
from ..signals import print_stopping, stoppable
from .tasks import INTERACTIVE_RETRY, wait_and_fetch

Key = Annotated[str | None, Parameter(help="Key of this create in the journal.")]
Record = Annotated[
    PathOption | None,
    Parameter(
        help="Journal file; running the same command again then prints the same ids for free."
    ),
]
Wait = Annotated[bool, FLAG, Parameter(help="Wait for the results.")]


def _make_command(kind: type[Request]) -> Callable[..., Awaitable[int]]:
    """Return the command that submits one kind of request."""

    async def submit(
        *,
        wait: Wait = False,
        download: Download = None,
        key: Key = None,
        journal: Record = None,
        fit: FitOption = "none",
        json: Json = False,
        **fields: Any,
    ) -> int:
        request, printer = _parse_request(kind, fields, check_fit(fit)), Printer(json)
        for warning in request.warnings():
            if fit == "none" or warning.rule not in FIXED_BY_FIT:
                ERRORS.print(printable(f"warning: {warning}"), style="yellow")

        async def work() -> int:
            sent: list[Event] = []
            async with Keevx(
                journal=journal, fit=fit, retry=INTERACTIVE_RETRY, on_event=sent.append
            ) as keevx:
                fan = keevx.submit_many([request], key=lambda _: key)
                # A failed create has raised its error. A create without ids is uncertain: its
                # message has been printed, and there is nothing to wait for.
                ids = await _submit(fan, printer, journal)
                if not ids:
                    return UNCERTAIN
                if not any(isinstance(event, Submitted) for event in sent):
                    print_error(f"nothing was sent: these ids are from an earlier run ({journal})")
                if not (wait or download):
                    return OK
                return await wait_and_fetch(keevx, ids, printer, download)

        return await stoppable(work(), print_stopping)

    # The signature that cyclopts reads: the request's fields, then the command's own options.
    own = inspect.signature(submit, eval_str=True).parameters.values()
    cast(Any, submit).__signature__ = inspect.Signature(
        [*submit_options(kind), *(option for option in own if option.kind != option.VAR_KEYWORD)]
    )
    return submit


def _parse_request(kind: type[Request], fields: dict[str, Any], fit: Fit) -> Request:
    """Return the request that the options describe; a source that is not a URL is a local file.

    Raises:
        ConfigurationError: the request is invalid; the message lists every problem with its option.
    """
    try:
        request = kind.from_dict(with_paths(fields, working_folder()))
    except InvalidRequest as error:
        problems = [f"--{option_name(v.field)}: {v.message}" for v in error.violations]
        raise ConfigurationError("; ".join(problems)) from None
    problems = [
        problem
        for path in request.local_files()
        if (problem := file_problem(path, kind.kind, fit)) is not None
    ]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return request


async def _submit(fan: FanOut[Request], printer: Printer, journal: Path | None) -> list[str]:
    """Send the create, print its outcome, and return its task ids.

    The list is empty if the create is uncertain. If cancelled, print the outcome known by then,
    because the create may have been charged.
    """
    try:
        (outcome,) = [outcome async for outcome in fan]
    except asyncio.CancelledError:
        for outcome in fan.outcomes:
            with suppress(OSError):  # the ids were saved, and the cancellation continues
                _print_outcome(outcome, printer, journal)
        raise
    _print_outcome(outcome, printer, journal)
    if outcome.error is not None and not isinstance(outcome.error, SubmissionUncertain):
        raise outcome.error
    return list(outcome.task_ids)


def _print_outcome(outcome: Outcome[Request], printer: Printer, journal: Path | None) -> None:
    error, ids = outcome.error, outcome.task_ids
    if isinstance(error, SubmissionUncertain):
        print_error(error)
        if journal is not None:
            print_error(
                "once you know its task ids, record them, or KEY=none if it made no task:",
                f"keevx journal {journal} --settle {error.key}=ID",
            )
    # Paid results can only be found by their ids, which a closed pipe must not lose.
    if not ids:
        return
    try:
        printer.print({"key": outcome.key, "task_ids": ids}, *ids)
    except OSError:
        save_task_ids(ids)
        raise


submit = App(name="submit", help=HELP["submit:submit"])
for _kind in REQUESTS.values():
    if _kind.kind == ImageToVideo.kind:
        submit.default(_make_command(_kind))
    _name = _kind.kind.name
    # The first phrase of the request's docstring.
    _summary = (inspect.getdoc(_kind) or "").partition(",")[0].partition(".")[0] + "."
    # With a dash, like other commands, and with an underscore, like the API.
    submit.command(_make_command(_kind), name=(_name.replace("_", "-"), _name), help=_summary)

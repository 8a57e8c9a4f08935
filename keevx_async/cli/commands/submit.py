"""``keevx submit``: one paid create, its options derived from the request of its kind."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import attrs
from cyclopts import App, Parameter

from keevx_async import ImageToVideo
from keevx_async.client.fanout import FanOut
from keevx_async.client.keevx import Keevx
from keevx_async.errors import ConfigurationError, InvalidRequest, SubmissionUncertain
from keevx_async.models.outcomes import Outcome
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request

from ..input.prompts import describe_fault, with_paths
from ..input.sources import working_folder
from ..output.printer import FLAG, Download, Json, Place, Printer, keep_ids, print_error
from ..output.report import ERRORS, OK, UNCERTAIN
from ..registry import HELP
from ..signals import AT_ONCE, STOPPING, stoppable
from .tasks import DEFAULT_WAIT, wait_and_fetch

Key = Annotated[str | None, Parameter(help="Names this create in the journal.")]
Record = Annotated[
    Place | None,
    Parameter(help="Record: the same command again pays nothing, and prints the same ids."),
]
Wait = Annotated[bool, FLAG, Parameter(help="Wait until the results are made.")]

WORDS = {
    "``pathlib.Path``": "local file",
    "``MODELS``": "keevx models",
    ", or an earlier task that made one": "",
    "URLs, local paths or earlier tasks": "URLs or local files",
}
"""What a request's docstring says to who writes Python, and what a command line says."""


def _submitting(kind: type[Request]) -> Callable[..., Awaitable[int]]:
    """Return the command that makes a create of a kind."""

    async def submit(
        *,
        wait: Wait = False,
        download: Download = None,
        key: Key = None,
        journal: Record = None,
        json: Json = False,
        **fields: Any,
    ) -> int:
        request, teller = _request(kind, fields), Printer(json)

        async def work() -> int:
            async with Keevx(journal=journal, retry=DEFAULT_WAIT) as keevx:
                fan = keevx.submit_many([request], key=lambda _: key)
                ids = await _create(fan, teller, journal)
                if not (ids and (wait or download)):
                    return OK if ids else UNCERTAIN
                return await wait_and_fetch(keevx, ids, teller, download)

        return await stoppable(
            work(), lambda times: ERRORS.print(STOPPING if times == 1 else AT_ONCE)
        )

    cast(Any, submit).__signature__ = _signature(kind, submit)
    return submit


async def _create(fan: FanOut[Request], teller: Printer, journal: Path | None) -> list[str]:
    """Make the create, and tell what came of it, also when interrupted; return its ids."""
    try:
        (outcome,) = [outcome async for outcome in fan]
    except asyncio.CancelledError:
        for outcome in fan.outcomes:
            with suppress(OSError):  # the ids were saved, and the interruption goes on
                _tell(outcome, teller, journal)
        raise
    _tell(outcome, teller, journal)
    if outcome.error is not None and not isinstance(outcome.error, SubmissionUncertain):
        raise outcome.error
    return list(outcome.task_ids)


def _tell(outcome: Outcome[Request], teller: Printer, journal: Path | None) -> None:
    ids = outcome.task_ids
    if isinstance(outcome.error, SubmissionUncertain):
        _uncertain(outcome.error, journal)
    if not ids:
        return
    try:
        teller.print({"key": outcome.key, "task_ids": ids}, *ids)
    except OSError:
        keep_ids(ids)
        raise


def _uncertain(error: SubmissionUncertain, journal: Path | None) -> None:
    print_error(error)
    if journal is not None:
        print_error(f"when you know: keevx journal {journal} --settle {error.key}=ID (or =none)")


def _request(kind: type[Request], given: dict[str, Any]) -> Request:
    """Return the request that options make; a source that is no URL is a local file."""
    try:
        request = kind.from_dict(with_paths(kind, given, working_folder()))
    except InvalidRequest as error:
        faults = [f"--{one.field.replace('_', '-')}: {one.message}" for one in error.violations]
        raise ConfigurationError("; ".join(faults)) from None
    missing = [
        fault for path in request.local_files() if (fault := describe_fault(path, kind.kind))
    ]
    if missing:
        raise ConfigurationError("; ".join(missing))
    return request


def _options(kind: type[Request]) -> list[inspect.Parameter]:
    """Return an option for each field of a kind's request, with the help its docstring gives."""
    types, helps = get_type_hints(kind), _helps(inspect.getdoc(kind) or "")
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is attrs.NOTHING else one.default,
            annotation=Annotated[types[one.name], _said(helps.get(one.name), one.default)],
        )
        for one in attrs.fields(cast(Any, kind))  # Request itself is none of attrs
    ]


def _said(said: str | None, default: object) -> Parameter:
    switch_off = None if default is True else ""  # --no-NAME, where it is on
    return Parameter(
        help=said, negative=switch_off, show_default=bool(default), consume_multiple=True
    )


def _said_of(kind: type[Request]) -> str:
    """Return the first words of a request's docstring."""
    return (inspect.getdoc(kind) or "").partition(",")[0] + "."


def _helps(docstring: str) -> dict[str, str]:
    """Return what a docstring's Args say, by name, in a command line's words."""
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", docstring, re.MULTILINE)
    return {name: " ".join(_in_words(said).split()) for name, said in found}


def _in_words(said: str) -> str:
    for code, word in WORDS.items():
        said = said.replace(code, word)
    return said.replace("``", "")


def _signature(kind: type[Request], command: Callable[..., object]) -> inspect.Signature:
    """Return what the command line reads: the request's fields, then the command's own."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    return inspect.Signature(
        [*_options(kind), *(one for one in own if one.kind != one.VAR_KEYWORD)]
    )


submit = App(name="submit", help=HELP["submit:submit"])
for _kind in REQUESTS.values():
    if _kind.kind == ImageToVideo.kind:
        submit.default(_submitting(_kind))
    _name = _kind.kind.name
    submit.command(_submitting(_kind), name=_name, help=_said_of(_kind))
    submit.command(_submitting(_kind), name=_name.replace("_", "-"), show=False)

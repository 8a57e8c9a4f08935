"""``keevx journal``: shows a journal's contents, and settles its uncertain creates."""

from __future__ import annotations

import json as json_module
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from keevx_async.client.keevx import Keevx
from keevx_async.errors import ConfigurationError
from keevx_async.journal.protocol import Entry, JournalProtocol, State, TaskRecord
from keevx_async.journal.sqlite import Journal
from keevx_async.settings import Budget
from keevx_async.submission.reservations import read_resent

from ..limits import Prices, read_prices
from ..options import FLAG, Fleet, Json, PathOption
from ..output.amounts import Amounts
from ..output.console import OK, UNCERTAIN, print_error
from ..output.printer import Printer
from .worker import adopting_journal, fleet_arguments, open_docket

TASK_STATES = {
    "home": "downloaded",
    "made": "not downloaded",
    "failed": "failed",
    "waiting": "in progress",
}
"""Task states in JSON, each with its name in text output."""


async def journal(
    file: Annotated[
        PathOption | None, Parameter(help="Journal file of a run, such as videos/keevx.db.")
    ] = None,
    /,
    *,
    docket: Annotated[
        str | None, Parameter(help="Redis URL of a fleet, to show its journal instead.")
    ] = None,
    fleet: Fleet = "keevx",
    settle: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="KEY=ID[,ID…] or KEY=none: the tasks that an uncertain create made.",
        ),
    ] = None,
    failed: Annotated[
        bool,
        FLAG,
        Parameter(help="List the creates that failed, each with its last error."),
    ] = False,
    adopt: Annotated[
        bool,
        FLAG,
        Parameter(
            help="Hand the journal over to KEEVX_API_KEY and KEEVX_BASE_URL, e.g. for a new key."
        ),
    ] = False,
    prices: Prices = None,
    json: Json = False,
) -> int:
    """Show a journal's contents, and settle its uncertain creates.

    A journal can be shown while a run is writing it, but not settled or handed over. Both are
    done before the journal is shown. The exit code is 3 as long as any create is uncertain.

    Raises:
        ConfigurationError: the journal does not exist, or a settlement is malformed.
    """
    if (file is None) == (docket is None):
        raise ConfigurationError("pass one journal: either a file, or a fleet with --docket")
    amounts = Amounts(None if prices is None else Budget(prices=read_prices(prices)))
    settlements = [parse_settlement(text) for text in settle or []]
    if docket is not None:
        if adopt:
            await _hand_over(adopting_journal(docket, fleet), fleet)
        async with open_docket(docket, fleet) as queue:
            for key, ids in settlements:
                await queue.settle(key, ids)
            name = fleet_arguments(docket, fleet)
            return await print_journal(
                Printer(json), queue.journal, queue.journal.records(), name, amounts, failed=failed
            )
    if file is None or not file.is_file():
        raise ConfigurationError(f"no journal at {file}; pass the journal file of a run")
    if adopt:
        await _hand_over(Journal(file, adopt=True), str(file))
    async with Journal(file) as record:
        if record.lost is not None:
            print_error(record.lost)
        for key, ids in settlements:
            await record.settle(key, ids)
        return await print_journal(
            Printer(json), record, _records_of(record), str(file), amounts, failed=failed
        )


async def _hand_over(journal: JournalProtocol, name: str) -> None:
    """Hand a journal over to the host and the API key in the environment."""
    async with Keevx(journal=journal):
        print_error(f"{name} now belongs to this host and API key")


def parse_settlement(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the key and the task ids in ``KEY=ID[,ID]``; ``KEY=none`` has no ids.

    The key may contain ``=``; the last ``=`` separates the key from the ids.

    Raises:
        ConfigurationError: the text is malformed.
    """
    key, equals, value = text.rpartition("=")
    ids = tuple(value.replace(",", " ").split())
    if not (key and equals and ids):
        raise ConfigurationError(f"--settle must be KEY=ID[,ID] or KEY=none (got {text!r})")
    return key, () if ids == ("none",) else ids


Record = tuple[Entry, Sequence[TaskRecord | None]]
"""A create's journal entry, and the records of its tasks."""


async def _records_of(journal: Journal) -> AsyncIterator[Record]:
    async for entry in journal.entries():
        yield entry, [await journal.find_task(task_id) for task_id in entry.task_ids]


async def print_journal(
    printer: Printer,
    journal: JournalProtocol,
    records: AsyncIterator[Record],
    name: str,
    amounts: Amounts,
    *,
    failed: bool = False,
) -> int:
    """Print uncertain creates and the totals, and return the exit code.

    In JSON, every create is printed.

    Args:
        printer: prints the creates and the totals.
        journal: the open journal.
        records: all creates in the journal, with their tasks.
        name: the command-line arguments that name the journal, for the hint.
        amounts: computes the amounts and the cost of results that were or may have been made.
        failed: whether to print failed creates instead, as text or as JSON.
    """
    counts: Counter[str] = Counter()
    tasks: Counter[str] = Counter(dict.fromkeys(TASK_STATES, 0))
    async for entry, task_records in records:
        counts[entry.state] += 1
        for record in task_records:
            if record is None or not record.task.done:
                tasks["waiting"] += 1
            elif not record.task.succeeded:
                tasks["failed"] += 1
            else:
                tasks["made" if record.path is None else "home"] += 1
        # A person can only act on uncertain creates; a program gets every create.
        shown = State.REFUSED if failed else State.UNCERTAIN
        if entry.state is shown or (printer.as_json and not failed):
            fields = {
                "key": entry.key,
                "state": entry.state.value,
                "task_ids": entry.task_ids,
                "at": datetime.fromtimestamp(entry.at, UTC).isoformat(" ", "seconds"),
                "reason": entry.reason,
                "kind": entry.kind,
                "prompt": _prompt_of(entry),
            }
            line = "{state}  {key}  {at}  {reason}  {prompt!r}".format_map(fields)
            printer.print(fields, line)
    summary = _format_counts(counts) or "empty"
    if tasks.total():
        labels = {TASK_STATES[state]: count for state, count in tasks.items()}
        summary += f"; {tasks.total():,} tasks: {_format_counts(labels)}"
    totals = {state.value: counts[state] for state in State}
    # Count like a budget, which includes uncertain creates because they may have been charged.
    usage = Counter(await journal.usage()) + await read_resent(journal)
    if usage:
        summary += f"; spent: {amounts.to_text(usage)}"
    made = {"made": amounts.to_json(usage)}
    printer.print({"journal": name, **totals, "tasks": dict(tasks), **made}, f"{name}: {summary}")
    if not counts[State.UNCERTAIN]:
        return OK
    print_error(
        "look for the uncertain creates in your Keevx account and record the task ids of each, or "
        "KEY=none to let the next run submit it again:",
        f"keevx journal {name} --settle KEY=ID",
    )
    return UNCERTAIN


def _prompt_of(entry: Entry) -> str:
    try:
        return str(json_module.loads(entry.body)["prompt"])
    except (KeyError, TypeError, ValueError):  # another kind, or a damaged record
        return entry.body


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count)

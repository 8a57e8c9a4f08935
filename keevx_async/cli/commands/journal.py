"""What a person is told of a journal, and tells it."""

from __future__ import annotations

import json as json_module
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from keevx_async.errors import ConfigurationError
from keevx_async.journal.protocol import Entry, JournalProtocol, State, TaskRecord
from keevx_async.journal.sqlite import Journal

from ..output.printer import Json, Place, Printer, print_error
from ..output.report import OK, UNCERTAIN, USAGE
from .worker import Fleet, named, queue

ENDS = ("home", "made", "failed", "waiting")
"""What becomes of a task, as far as a journal knows; made: it succeeded, and is not home yet."""


async def journal(
    file: Annotated[Place | None, Parameter(help="A journal, as named to run.")] = None,
    /,
    *,
    docket: Annotated[
        str | None, Parameter(help="Redis of a fleet, whose journal it is instead.")
    ] = None,
    fleet: Fleet = "keevx",
    settle: Annotated[
        list[str] | None,
        Parameter(help="KEY=ID[,ID…] or KEY=none: what became of an uncertain create."),
    ] = None,
    json: Json = False,
) -> int:
    """Show what a journal holds, and the creates whose answer was lost; settle them."""
    if (file is None) == (docket is None):
        print_error("name one journal: a file, or a fleet's by --docket")
        return USAGE
    if docket is not None:
        async with queue(docket, fleet) as asked:
            name = named(docket, fleet)
            return await _settled(settle, asked.settle, asked.journal, name, Printer(json))
    if file is None or not file.is_file():
        print_error(f"there is no journal {file}")
        return USAGE
    async with Journal(file) as record:
        return await _settled(settle, record.settle, record, str(file), Printer(json))


async def _settled(
    words: list[str] | None,
    settle: Callable[[str, Sequence[str]], Awaitable[None]],
    record: JournalProtocol,
    name: str,
    teller: Printer,
) -> int:
    for word in words or []:
        await settle(*settlement(word))
    return await print_journal(teller, record, name)


async def print_journal(teller: Printer, journal: JournalProtocol, name: str) -> int:
    """Print counts and every uncertain create, for a machine every create; return the exit code."""
    counts: Counter[str] = Counter()
    tasks: Counter[str] = Counter(dict.fromkeys(ENDS, 0))
    async for entry in journal.entries():
        counts[entry.state] += 1
        for one in entry.task_ids:
            tasks[_end_of(await journal.find_task(one))] += 1
        if teller.as_json or entry.state is State.UNCERTAIN:
            _print(teller, entry)
    told = _listed(counts) or "empty"
    if tasks.total():
        told += f"; of {tasks.total()} tasks: {_listed(tasks)}"
    sums = {state.value: counts[state] for state in State}
    teller.print({"journal": name, **sums, "tasks": dict(tasks)}, f"{name}: {told}")
    if not counts[State.UNCERTAIN]:
        return OK
    print_error(
        "look for the uncertain ones in your Keevx account, then tell: "
        f"keevx journal {name} --settle KEY=ID (or KEY=none, and it is made when run again)"
    )
    return UNCERTAIN


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()) if number)


def _end_of(record: TaskRecord | None) -> str:
    """Return which of ``ENDS`` a task has come to."""
    if record is None or not record.task.done:
        return "waiting"
    if not record.task.succeeded:
        return "failed"
    return "home" if record.path is not None else "made"


def _print(teller: Printer, entry: Entry) -> None:
    fields = {
        "key": entry.key,
        "state": entry.state.value,
        "task_ids": entry.task_ids,
        "at": datetime.fromtimestamp(entry.at, UTC).isoformat(" ", "seconds"),
        "reason": entry.reason,
        "kind": entry.kind,
        "prompt": json_module.loads(entry.body).get("prompt", entry.body),
    }
    line = "{state}  {key}  {at}  {reason}  {prompt!r}".format_map(fields)
    teller.print(fields, line)


def settlement(word: str) -> tuple[str, tuple[str, ...]]:
    """Return the key and the ids that KEY=ID[,ID] says; none for KEY=none.

    Raises:
        ConfigurationError: it is of another form.
    """
    key, equals, said = word.rpartition("=")
    ids = tuple(one for one in said.replace(",", " ").split())
    if not (key and equals and ids):
        raise ConfigurationError(f"--settle {word!r} is not of the form KEY=ID[,ID] or KEY=none")
    return key, () if ids == ("none",) else ids

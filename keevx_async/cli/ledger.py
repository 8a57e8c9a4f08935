"""What a person is told of a journal, and tells it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from keevx_async.errors import ConfigurationError
from keevx_async.journal import Entry, Journal, State

from .lines import complain
from .report import OK, UNCERTAIN, USAGE
from .text import printable


async def journal(
    file: Annotated[Path, Parameter(help="A journal, as named to run.")],
    /,
    *,
    settle: Annotated[
        list[str] | None,
        Parameter(help="KEY=ID[,ID…] or KEY=none: what became of an uncertain create."),
    ] = None,
) -> int:
    """Show what a journal holds, and the creates whose answer was lost; settle them."""
    if not file.is_file():
        complain(f"there is no journal {file}")
        return USAGE
    with Journal(file) as record:
        for word in settle or []:
            key, ids = settlement(word)
            await record.settle(key, ids)
        return tell_journal(Console(soft_wrap=True, highlight=False, markup=False), record)


def tell_journal(console: Console, journal: Journal) -> int:
    """Print counts and every uncertain create; return the exit code."""
    counts: Counter[State] = Counter()
    for entry in journal.entries():
        counts[entry.state] += 1
        if entry.state is State.UNCERTAIN:
            _tell_uncertain(console, entry)
    told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    console.print(f"{journal.path}: {told or 'empty'}")
    if not counts[State.UNCERTAIN]:
        return OK
    console.print(
        "Look for the uncertain ones in your Keevx account, then tell: "
        f"keevx journal {journal.path} --settle KEY=ID (or KEY=none, and it is made when run again)"
    )
    return UNCERTAIN


def _tell_uncertain(console: Console, entry: Entry) -> None:
    when = datetime.fromtimestamp(entry.at, UTC).isoformat(" ", "seconds")
    prompt = json.loads(entry.body).get("prompt", "")
    line = f"uncertain  {entry.key}  {when}  {entry.reason}  {prompt!r}"
    console.print(printable(line), emoji=False)


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

"""The journal of a run: which file it is, and what it has of the input already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from attrs import field, frozen

from keevx_async.errors import ConfigurationError
from keevx_async.journal.protocol import Entry, State, next_attempt_key, stem_of
from keevx_async.journal.sqlite import Journal
from keevx_async.models.encoding import canonical_body

from ..options import RunOptions
from ..output.console import print_error
from .prompts import Prompts
from .sources import Source

JOURNAL = "keevx.db"
"""The name of the default journal, in the folder of the results."""


def journal_path(options: RunOptions, folder: Path) -> Path | None:
    """Return the journal of a run: the one that is named, else one beside the results.

    None with ``--no-journal``, and for a fleet, which has its own.

    Args:
        options: of the run.
        folder: where the results go.

    Raises:
        ConfigurationError: options exclude each other.
    """
    if options.no_journal:
        for name, value in (
            ("--journal", options.journal is not None),
            ("--retry-failed", options.retry_failed),
            ("--fresh", options.fresh),
        ):
            if value:
                raise ConfigurationError(f"{name} cannot be used with --no-journal")
    if options.no_journal or options.docket is not None:
        return None
    return options.journal if options.journal is not None else folder / JOURNAL


def open_journal(path: Path | None, options: RunOptions) -> Journal | None:
    """Return the journal of a run, which is opened later; None without one."""
    if path is None:
        return None
    return Journal(path, on_uncertain=options.on_uncertain, on_failed=options.on_failed)


def is_there(path: Path | None) -> bool:
    """Return whether there is a journal that something was written to."""
    return path is not None and path.is_file() and path.stat().st_size > 0


@frozen
class Found:
    """What a journal has of the items of a file.

    Attributes:
        total: items in the file.
        made: items that were made, and are not made again.
        uncertain: items whose answer was lost.
        keys: the keys of those that were made, with those of their later attempts.
    """

    total: int = 0
    made: int = 0
    uncertain: int = 0
    keys: Sequence[str] = field(factory=tuple[str, ...], repr=False)

    @property
    def text(self) -> str:
        """What a person is told at the start of a run; empty where there is nothing."""
        parts: list[str] = []
        if self.made:
            parts.append(
                f"{self.made:,} of {self.total:,} were made by an earlier run: not made again; "
                "--fresh makes new ones"
            )
        if self.uncertain:
            parts.append(f"{self.uncertain:,} uncertain: left alone")
        return "; ".join(parts)


async def find_made(source: Source, path: Path | None, options: RunOptions) -> Found:
    """Look up which items of a checked file were made by earlier runs. Takes no lock.

    Args:
        source: the file.
        path: the journal; None, or a file that is not there yet, has nothing.
        options: of the run.

    Raises:
        JournalError: the journal cannot be read.
    """
    if not is_there(path):
        return Found()
    total, states, keys = 0, Counter[State](), list[str]()
    numbers: Counter[str] = Counter()
    async with Journal(cast(Path, path)) as journal:
        prompts = Prompts(source)
        for request in prompts:
            total += 1
            key = prompts.take_job(request).key
            if key is None:
                stem = stem_of(request.kind.name, canonical_body(request))
                numbers[stem] += 1
                key = f"{stem}-{numbers[stem]}"
            attempts = await _attempts(journal, key)
            if not attempts:
                continue
            last = attempts[-1]
            if last.is_submitted and options.retry_failed and await _has_failed(journal, last):
                continue
            states[last.state] += 1
            if last.is_submitted and options.fresh:
                keys += [entry.key for entry in attempts]
    uncertain = 0 if options.on_uncertain == "resubmit" else states[State.UNCERTAIN]
    return Found(total, states[State.SUBMITTED], uncertain, keys)


async def begin(journal: Journal, found: Found, options: RunOptions) -> None:
    """Name the journal of a run that is about to begin, and what it has of the input.

    With ``--fresh``, what was made is set aside, so that it is made anew.

    Args:
        journal: open.
        found: in it.
        options: of the run.
    """
    if not options.quiet:
        print_error(f"journal {journal.path}: the same command again resumes this run")
        if found.text and not options.fresh:
            print_error(found.text)
    if options.fresh:
        await journal.set_aside(found.keys)


async def _attempts(journal: Journal, key: str) -> list[Entry]:
    """Return the entry of a key, and those under which it was resubmitted after it had failed."""
    attempts: list[Entry] = []
    entry = await journal.find(key)
    while entry is not None and (not attempts or entry.body == attempts[0].body):
        attempts.append(entry)
        if not await _has_failed(journal, entry):
            break
        entry = await journal.find(next_attempt_key(entry.key))
    return attempts


async def _has_failed(journal: Journal, entry: Entry) -> bool:
    """Return whether all tasks of a create have ended, and one has failed."""
    records = [await journal.find_task(task_id) for task_id in entry.task_ids]
    ended = [record.task for record in records if record is not None and record.task.done]
    return len(ended) == len(records) and not all(task.succeeded for task in ended)

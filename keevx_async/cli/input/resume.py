"""Finds and opens a run's journal, and looks up the input's items in it."""

from __future__ import annotations

from pathlib import Path

from keevx_async.errors import ConfigurationError
from keevx_async.journal.protocol import State
from keevx_async.journal.sqlite import Journal
from keevx_async.models.object_path import ObjectPath

from ..options import RunOptions
from ..output.console import print_error
from .estimate import Estimate, estimate_prompts
from .prompts import Prompts

JOURNAL = "keevx.db"
"""The file name of the default journal, in the folder that ``local_folder`` returns."""


def journal_path(options: RunOptions, folder: Path) -> Path | None:
    """Return the path of a run's journal: ``--journal``, or by default a file beside the results.

    Return None with ``--no-journal``, and for a fleet, which has its own journal.

    Args:
        options: the run's options.
        folder: the results folder.

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
    return options.journal if options.journal is not None else local_folder(folder) / JOURNAL


def local_folder(folder: Path) -> Path:
    """Return the local folder for a run's records.

    This is the results folder, or the working folder if the results go to object storage.
    """
    return Path() if isinstance(folder, ObjectPath) else folder


def open_journal(path: Path | None, options: RunOptions) -> Journal | None:
    """Return a run's journal, not yet opened; None if there is no path."""
    if path is None:
        return None
    return Journal(path, on_uncertain=options.on_uncertain, on_failed=options.on_failed)


def has_journal(path: Path | None) -> bool:
    """Return whether a non-empty journal exists."""
    return path is not None and path.is_file() and path.stat().st_size > 0


async def find_made(prompts: Prompts, path: Path | None, options: RunOptions) -> Estimate | None:
    """Find the items of a checked input that earlier runs made, without locking the journal.

    Args:
        prompts: the input's prompts; read only if there is a journal.
        path: the journal's path.
        options: the run's options.

    Returns:
        An estimate of the items already made and still to be made; None if there is no journal.

    Raises:
        JournalError: the journal cannot be read, or is incomplete.
    """
    if not has_journal(path):
        return None
    return await estimate_prompts(prompts, open_journal(path, options), fresh=options.fresh)


async def begin(journal: Journal, estimate: Estimate | None, options: RunOptions) -> None:
    """Print the journal's path and the number of items already in it, before a run starts.

    With ``--fresh``, the items' existing entries are set aside, and the items are made again.

    Args:
        journal: the open journal.
        estimate: the result of ``find_made``.
        options: the run's options.
    """
    if not options.quiet:
        print_error(f"journal {journal.path}: run the same command again to resume")
        if text := _recorded_text(estimate):
            print_error(text)
    if estimate is not None and estimate.made_keys:
        await journal.set_aside(estimate.made_keys)


def _recorded_text(estimate: Estimate | None) -> str:
    parts: list[str] = []
    if estimate is not None and (made := estimate.recorded[State.SUBMITTED]):
        parts.append(
            f"{made:,} of {estimate.total:,} were made by an earlier run and are not made again; "
            "pass --fresh to make new ones"
        )
    if estimate is not None and (uncertain := estimate.recorded[State.UNCERTAIN]):
        parts.append(f"{uncertain:,} uncertain: left alone")
    return "; ".join(parts)

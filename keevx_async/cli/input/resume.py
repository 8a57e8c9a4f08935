"""The journal of a run: which file it is, and what it has of the input already."""

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
"""The name of the default journal; see ``local_folder`` for where it is."""


def journal_path(options: RunOptions, folder: Path) -> Path | None:
    """Return the journal of a run: the one that is named, else one beside the results.

    None with ``--no-journal``, and for a fleet, which has its own.

    Args:
        options: the options of the run.
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
    return options.journal if options.journal is not None else local_folder(folder) / JOURNAL


def local_folder(folder: Path) -> Path:
    """Return where the records of a run are kept: beside its results, where these are on disk.

    Of results in object storage they are kept in the working folder.
    """
    return Path() if isinstance(folder, ObjectPath) else folder


def open_journal(path: Path | None, options: RunOptions) -> Journal | None:
    """Return the journal of a run, which is opened later; None without one."""
    if path is None:
        return None
    return Journal(path, on_uncertain=options.on_uncertain, on_failed=options.on_failed)


def has_journal(path: Path | None) -> bool:
    """Return whether a non-empty journal exists."""
    return path is not None and path.is_file() and path.stat().st_size > 0


async def find_made(prompts: Prompts, path: Path | None, options: RunOptions) -> Estimate | None:
    """Look up which items of a checked input were made by earlier runs. Takes no lock.

    Args:
        prompts: the prompts of the input; read only where there is a journal.
        path: the journal.
        options: the options of the run.

    Returns:
        What is still to be made; None where there is no journal yet, so that all is.

    Raises:
        JournalError: the journal cannot be read, or is incomplete.
    """
    if not has_journal(path):
        return None
    return await estimate_prompts(prompts, open_journal(path, options), fresh=options.fresh)


async def begin(journal: Journal, estimate: Estimate | None, options: RunOptions) -> None:
    """Name the journal of a run that is about to begin, and what it has of the input.

    With ``--fresh``, what was made is set aside, so that it is made again.

    Args:
        journal: open.
        estimate: in it.
        options: the options of the run.
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

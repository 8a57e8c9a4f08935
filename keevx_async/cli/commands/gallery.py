"""``keevx gallery``: rebuilds the page and the table in a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from keevx_async.errors import ConfigurationError

from ..options import FLAG, PathOption
from ..output.console import OK
from ..output.names import shown_path
from ..output.results_file import NAME
from ..output.views import CSV_NAME, Views


def gallery(
    results: Annotated[
        PathOption, Parameter(help="A results.jsonl written by keevx run, or its folder.")
    ] = Path(NAME),
    /,
    *,
    parquet: Annotated[
        bool, FLAG, Parameter(help="Also write results.parquet; needs keevx_async[frames].")
    ] = False,
) -> int:
    """Rebuild index.html and results.csv from a results.jsonl.

    Nothing is sent. Result files that were moved together with results.jsonl are found beside it.

    Raises:
        ConfigurationError: the file does not exist, or has no lines written by ``keevx run``.
    """
    path = results / NAME if results.is_dir() else results
    views = Views(path)
    if not path.is_file() or not views.write():
        raise ConfigurationError(
            f"{shown_path(path)} is not a keevx results file; pass the {NAME} of a run"
        )
    written = [views.page, path.with_name(CSV_NAME)]
    if parquet:
        written.append(views.write_parquet())
    for file in written:
        print(shown_path(file))
    return OK

"""``keevx gallery``: makes the page and the table of a folder again."""

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
        PathOption, Parameter(help="A results.jsonl of keevx run, or the folder that it is in.")
    ] = Path(NAME),
    /,
    *,
    parquet: Annotated[
        bool, FLAG, Parameter(help="Write results.parquet too; needs keevx_async[frames].")
    ] = False,
) -> int:
    """Make index.html and results.csv again from a results.jsonl.

    Nothing is sent. Files that were moved along with results.jsonl are found beside it.

    Raises:
        ConfigurationError: there is no such file, or no line of it is one of ours.
    """
    path = results / NAME if results.is_dir() else results
    views = Views(path)
    if not path.is_file() or not views.write():
        raise ConfigurationError(
            f"{shown_path(path)} is not a results file of keevx; pass the {NAME} of a run"
        )
    written = [views.page, path.with_name(CSV_NAME)]
    if parquet:
        written.append(views.write_parquet())
    for file in written:
        print(shown_path(file))
    return OK

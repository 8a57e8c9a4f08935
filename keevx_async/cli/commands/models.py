"""``keevx check`` and ``keevx models``: what the rules say. They send nothing and need no key."""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

import attrs
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from keevx_async.models.rules import MODELS, ModelRules

from ..input.estimate import print_estimate
from ..input.prompts import Prompts, problems, told
from ..input.sources import Form, opened
from ..output.console import printable
from ..output.printer import Json, Place, Printer, print_error
from ..output.report import OK, USAGE

_NAMES = tuple(one.name for one in attrs.fields(ModelRules))
_WORDS = {"True": "yes", "False": "no", "None": "as durations"}


def check(
    file: Annotated[
        Place, Parameter(help="Prompts: JSON lines, or CSV with a header; - for standard input.")
    ],
    /,
    *,
    format: Annotated[
        Form | None, Parameter(help="Of the prompts; by default as they look.")
    ] = None,
    json: Json = False,
) -> int:
    """Check a file of prompts, and count what it would make. Sends nothing."""
    teller = Printer(json)
    with opened(file, format) as source:
        _, wrong = problems(source)
        if wrong:
            if json:
                for problem in wrong:
                    teller.print(attrs.asdict(problem))
            else:
                teller.print({}, *told(wrong))
            print_error(f"fix what is named in {source.name}, and check again")
            return USAGE
        asyncio.run(print_estimate(Prompts(source), None)).tell(source.name, as_json=json)
    return OK


def models(*, json: Json = False) -> int:
    """Show what each model takes: a table, or tab-separated when piped."""
    console = Console(highlight=False, markup=False, emoji=False)
    if json:
        for model, rules in MODELS.items():
            Printer(True).print({"model": model, **attrs.asdict(rules)})
    elif console.is_terminal:
        console.print(_table())
    else:
        for row in [("model", *_NAMES), *((model, *_cells(MODELS[model])) for model in MODELS)]:
            print(*row, sep="\t", flush=True)
    return OK


def _table() -> Table:
    """Return a row for each rule and a column for each model, so that 80 columns hold it."""
    table = Table("model", *MODELS, show_lines=False)
    columns = map(_cells, MODELS.values())
    for name, *cells in zip(_NAMES, *columns, strict=True):
        table.add_row(name.replace("_", " "), *cells)
    return table


def _cells(rules: ModelRules) -> list[str]:
    return [_cell(getattr(rules, name)) for name in _NAMES]


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, cast(tuple[object, ...], value)))
    return printable(_WORDS.get(str(value), str(value)))

"""``keevx check`` and ``keevx models``: what the rules say. They send nothing and need no key."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, cast

import attrs
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from keevx_async import ImageToVideo
from keevx_async.rules import MODELS, ModelRules

from .lines import Json, Teller, complain
from .prompts import Job, jobs, problems
from .report import OK, USAGE
from .text import printable

_NAMES = tuple(one.name for one in attrs.fields(ModelRules))
_WORDS = {"True": "yes", "False": "no", "None": "as durations"}


def check(
    file: Annotated[Path, Parameter(help="Prompts: JSON lines, or CSV with a header.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Check a file of prompts, and count what it would make. Sends nothing."""
    teller = Teller(json)
    _, wrong = problems(file)
    for problem in wrong:
        teller.tell(attrs.asdict(problem), str(problem))
    if wrong:
        complain(f"{file} has {_many(len(wrong), 'problem')}; mend what is named, and check again")
        return USAGE
    _count(file, teller)
    return OK


def _count(file: Path, teller: Teller) -> None:
    requests, videos = Counter[str](), Counter[str]()
    for job in jobs(file):
        if isinstance(job, Job) and isinstance(job.request, ImageToVideo):
            requests[job.request.model] += 1
            videos[job.request.model] += job.request.count
    for model in sorted(requests):
        fields = {"model": model, "requests": requests[model], "videos": videos[model]}
        teller.tell(fields, f"{model}  {_makes(requests[model], videos[model])}")
    if not teller.as_json:
        teller.tell({}, f"{file}: {_makes(requests.total(), videos.total())}; nothing was sent")


def _makes(requests: int, videos: int) -> str:
    return f"{_many(requests, 'request')}, {_many(videos, 'video')}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def models(*, json: Json = False) -> int:
    """Show what each model takes: a table, or tab-separated when piped."""
    console = Console(highlight=False, markup=False, emoji=False)
    if json:
        for model, rules in MODELS.items():
            Teller(True).tell({"model": model, **attrs.asdict(rules)})
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

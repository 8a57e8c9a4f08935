"""``keevx check`` and ``keevx models``, which need neither a key nor the network."""

from __future__ import annotations

import asyncio
from typing import cast

import attrs
from rich.console import Console
from rich.table import Table

from keevx_async.models.rules import MODELS, ModelRules
from keevx_async.settings import Budget

from ..fields import FieldOptions
from ..input.estimate import estimate_prompts
from ..input.inputs import open_prompts
from ..input.prompts import Job, Prompts, find_problems, problem_lines
from ..input.selection import Survey
from ..input.warnings import Warnings
from ..limits import Prices, read_prices
from ..options import InputOptions, Json, PromptFile
from ..output.amounts import Amounts
from ..output.console import ERRORS, OK, USAGE, print_error, printable
from ..output.printer import Printer

_RULES = tuple(attribute.name for attribute in attrs.fields(ModelRules))
_WORDS = {"True": "yes", "False": "no", "None": "as durations"}


def check(
    file: PromptFile = None,
    /,
    *,
    prompts: InputOptions = InputOptions(),  # noqa: B008 - frozen
    fields: FieldOptions = FieldOptions(),  # noqa: B008 - frozen
    prices: Prices = None,
    json: Json = False,
) -> int:
    """Check a file of prompts and print an estimate. Sends nothing.

    If there are problems, they are printed to standard output, and the exit code is 2. Warnings
    about values that are allowed but probably mistakes are printed there too. With ``--strict``,
    they also set the exit code to 2.

    Raises:
        ConfigurationError: standard input is a terminal, or cannot be copied.
    """
    printer = Printer(json)
    with open_prompts(file, prompts, fields) as source:
        survey = Survey()
        with Warnings(source) as warnings:

            def add(job: Job) -> None:
                warnings.add(job)
                survey.add(job)

            total, problems = find_problems(source, add)
        # Problems are the results of this command, so they go to standard output.
        if problems and not json:
            printer.print({}, *problem_lines(problems))
        elif problems:
            for problem in problems:
                printer.print(attrs.asdict(problem))
        for warning in warnings:
            values = {"event": "warning", **attrs.asdict(warning)}
            printer.print(values, f"warning: {warning}")
        if problems or (warnings and prompts.strict):
            print_error(f"fix {source.name} and check again")
            return USAGE
        if count := source.count(total):
            ERRORS.print(printable(count))
        estimate = asyncio.run(estimate_prompts(Prompts(source), None))
        for sentence in survey.duplicates():
            print_error(f"{source.name}: {sentence}")
        budget = None if prices is None else Budget(prices=read_prices(prices))
        estimate.print(source.name, Amounts(budget), as_json=json)
    return OK


def models(*, json: Json = False) -> int:
    """List what each model accepts; tab-separated when piped.

    On a terminal each model is a column, so the table fits into 80 columns. When piped, and as
    JSON, each model is a line.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if json:
        for model, rules in MODELS.items():
            Printer(True).print({"model": model, **attrs.asdict(rules)})
    elif console.is_terminal:
        table = Table("model", *MODELS, show_lines=False)
        for name, *row in zip(_RULES, *map(_format_rules, MODELS.values()), strict=True):
            table.add_row(name.replace("_", " "), *row)
        console.print(table)
    else:
        print("model", *_RULES, sep="\t")
        for model, rules in MODELS.items():
            print(model, *_format_rules(rules), sep="\t", flush=True)
    return OK


def _format_rules(rules: ModelRules) -> list[str]:
    """Return the value of each rule as text: lists with commas, flags as yes or no."""
    texts: list[str] = []
    for name in _RULES:
        value: object = getattr(rules, name)
        if isinstance(value, tuple):
            texts.append(", ".join(map(str, cast(tuple[object, ...], value))))
        else:
            texts.append(printable(_WORDS.get(str(value), str(value))))
    return texts

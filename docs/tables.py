"""The site's tables that are made from the package, so that the two cannot disagree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from keevx_async import MODELS, ModelRules

SCHEMA = Path(__file__).parent / "keevx-json.schema.json"
HEAD = (
    "model",
    "for",
    "resolution",
    "duration, s",
    "start frame",
    "end frame",
    "references",
    "audio",
    "videos",
)


def models(rules: Mapping[str, ModelRules] = MODELS) -> list[str]:
    """Return the lines of the models table, one row per model."""
    rows = [HEAD, tuple("---" for _ in HEAD), *(_row(*item) for item in rules.items())]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(name: str, rules: ModelRules) -> tuple[str, ...]:
    return (
        f"`{name}`",
        rules.summary,
        _list(rules.resolutions),
        _durations(rules),
        rules.start_frame,
        "with a start frame" if rules.end_frame else "unused",
        _references(rules),
        "yes" if rules.audio else "no",
        f"1 to {rules.max_count}",
    )


def _durations(rules: ModelRules) -> str:
    if rules.reference_durations is None:
        return _list(rules.durations)
    return f"{_list(rules.durations)}; with references alone {_list(rules.reference_durations)}"


def _references(rules: ModelRules) -> str:
    if not rules.max_references:
        return "unused"
    minimum = 1 if rules.start_frame == "unused" else 0
    return f"{minimum} to {rules.max_references}"


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def json_lines(*, events: bool) -> list[str]:
    """Return a table for each line that the command line prints as JSON, from its schema.

    Args:
        events: those with an ``event``, or those without.
    """
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    lines: list[str] = []
    for reference in schema["anyOf"]:
        name = reference["$ref"].rpartition("/")[2]
        line = schema["$defs"][name]
        if bool(line["properties"]["event"]) is not events:
            continue
        lines += [f"### {name}", "", line["description"], "", "| field | type | |", "|---|---|---|"]
        for field, rules in line["properties"].items():
            if field != "event":
                optional = "" if field in line["required"] else ", optional"
                kind = f"{_type(rules)}{optional}"
                lines.append(f"| `{field}` | {kind} | {rules['description']} |")
        lines.append("")
    return lines


def _type(rules: Mapping[str, Any]) -> str:
    """Return the type of a field in words: a reference by its name, a constant by its type."""
    if "$ref" in rules:
        name: str = rules["$ref"].rpartition("/")[2]
        return name
    types = rules.get("type", "string")
    return " or ".join([types] if isinstance(types, str) else types)


TABLES: dict[str, Callable[[], list[str]]] = {
    "{{ models }}": models,
    "{{ events }}": partial(json_lines, events=True),
    "{{ results }}": partial(json_lines, events=False),
}


def filled(lines: Iterable[str]) -> Iterator[str]:
    """Yield a page's lines, with each placeholder replaced by its table."""
    for line in lines:
        yield from TABLES[line]() if line in TABLES else (line,)

"""The site's tables that are made from the package, so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from keevx_async import MODELS, ModelRules

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


TABLES = {"{{ models }}": models}


def filled(lines: Iterable[str]) -> Iterator[str]:
    """Yield a page's lines, with each placeholder replaced by its table."""
    for line in lines:
        yield from TABLES[line]() if line in TABLES else (line,)

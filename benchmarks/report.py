"""Writes findings as JSON, as a Markdown table and as a chart."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from attrs import Factory, define, frozen

from .picture import Bar, bars


@frozen
class Row:
    """A row of the table.

    Attributes:
        figure: the name of the figure.
        measured: the median and its spread, as text.
        goal: the target value; empty if the row is only for information.
        reached: whether the goal was reached; None if there is no goal or nothing was measured.
    """

    figure: str
    measured: str
    goal: str = ""
    reached: bool | None = None


@define
class Finding:
    """A scenario's findings: rows for the table, bars for the chart, and all raw results."""

    rows: list[Row]
    raw: Any
    bars: list[Bar] = Factory(list)


def as_json(finding: Finding, quick: bool) -> dict[str, Any]:
    """Return a finding in the form in which it is stored."""
    return {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": quick,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **attrs.asdict(finding),
    }


_REACHED = {True: ", reached", False: ", missed", None: ""}
Kept = dict[str, dict[str, Any]]
"""Findings by scenario."""


def python() -> str:
    """Return the running Python's version, which is also its column in the table."""
    return "{}.{}".format(*platform.python_version_tuple())


def markdown(kept: dict[str, Kept]) -> str:
    """Return a table of all findings, with a column for each Python version.

    Args:
        kept: the findings by Python version.
    """
    pythons = sorted(kept, key=lambda version: tuple(map(int, version.split("."))))
    goals: dict[str, str] = {}
    cells: dict[tuple[str, str], str] = {}
    for version in pythons:
        for finding in kept[version].values():
            for row in finding["rows"]:
                goals[row["figure"]] = row["goal"]
                cells[row["figure"], version] = row["measured"] + _REACHED[row["reached"]]
    columns = ["figure: median (least to most)", "goal", *(f"Python {each}" for each in pythons)]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for figure, goal in goals.items():
        measured = (cells.get((figure, version), "") for version in pythons)
        lines.append(f"| {' | '.join([figure, goal, *measured])} |")
    findings = [finding for each in kept.values() for finding in each.values()]
    taken = sorted(
        {f"{one['taken'][:10]}, Python {one['python']}, {one['machine']}" for one in findings}
    )
    quick = ", some of it with --quick" if any(one["quick"] for one in findings) else ""
    return "\n".join([*lines, "", f"Taken {'; '.join(taken)}{quick}.", ""])


def write(folder: Path, findings: Kept) -> None:
    """Store findings in a folder, next to those of other scenarios and Python versions.

    The chart shows the running Python version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    kept: dict[str, Kept] = json.loads(path.read_text()) if path.exists() else {}
    current = kept[python()] = {**kept.get(python(), {}), **findings}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    (folder / "results.md").write_text(markdown(kept))
    rows = {bar["name"]: Bar(**bar) for finding in current.values() for bar in finding["bars"]}
    if rows:
        order = sorted(rows.values(), key=lambda bar: -bar.value)
        title = "Creates per second, relative to a plain aiohttp loop"
        subtitle = "64 at once over loopback; medians of interleaved runs; longer is better"
        (folder / "creates.svg").write_text(bars(title, subtitle, order))

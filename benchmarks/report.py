"""What was found, as JSON, as a Markdown table and as a picture."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from attrs import Factory, define, frozen

from .picture import Bar, bars


@frozen
class Row:
    """One figure of the table.

    Attributes:
        figure: what was measured.
        measured: the median and its spread, as text.
        goal: what it should be; empty for what is there for information.
        reached: whether it is; None where there is no goal or nothing was measured.
    """

    figure: str
    measured: str
    goal: str = ""
    reached: bool | None = None


@define
class Finding:
    """What a scenario found: rows for the table, bars for the picture, and every raw result."""

    rows: list[Row]
    raw: Any
    bars: list[Bar] = Factory(list)


def as_json(finding: Finding, quick: bool) -> dict[str, Any]:
    """Return a finding as it is kept."""
    return {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": quick,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **attrs.asdict(finding),
    }


_REACHED = {True: "reached", False: "missed", None: ""}


def markdown(kept: Iterable[dict[str, Any]]) -> str:
    """Return the table of all findings."""
    kept = list(kept)
    lines = ["| figure | measured: median (least to most) | goal | |", "|---|---|---|---|"]
    for finding in kept:
        for row in finding["rows"]:
            verdict = _REACHED[row["reached"]]
            lines.append(f"| {row['figure']} | {row['measured']} | {row['goal']} | {verdict} |")
    taken = sorted(
        {f"{one['taken'][:10]}, Python {one['python']}, {one['machine']}" for one in kept}
    )
    quick = ", some of it with --quick" if any(one["quick"] for one in kept) else ""
    return "\n".join([*lines, "", f"Taken {'; '.join(taken)}{quick}.", ""])


def write(folder: Path, findings: dict[str, dict[str, Any]]) -> None:
    """Keep findings in folder, beside those of scenarios that were not run this time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= findings
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    (folder / "results.md").write_text(markdown(kept.values()))
    rows = {bar["name"]: Bar(**bar) for finding in kept.values() for bar in finding["bars"]}
    if rows:
        order = sorted(rows.values(), key=lambda bar: -bar.value)
        title = "Creates per second, relative to a plain aiohttp loop"
        subtitle = "64 at once over loopback; medians of interleaved runs; longer is better"
        (folder / "creates.svg").write_text(bars(title, subtitle, order))

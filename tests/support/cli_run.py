"""Prompt files for `keevx run`, and its results read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.cli import GOOD

CREATE = "POST /v1/image_to_video"


def takes(count: int, **more: Any) -> Iterator[dict[str, Any]]:
    return ({**GOOD, "prompt": f"take {n}", **more} for n in range(count))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """results.jsonl by prompt; each key and each prompt stands there once."""
    found = lines((folder / "results.jsonl").read_text())
    assert len({one["key"] for one in found}) == len(found)
    assert len({one["prompt"] for one in found}) == len(found)
    return {one["prompt"]: one for one in found}

"""Arguments for `keevx submit` and its siblings."""

from __future__ import annotations

import json
from typing import Any

IMAGE = ("--image-url", "https://example.com/start.jpg")


SUBMIT = (
    *("submit", "--model", "V", "--prompt", "A dog", "--aspect-ratio", "16:9"),
    *("--aspect-resolution", "1080p"),
)


EIGHT = ("--duration", "8")


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]

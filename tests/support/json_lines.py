"""Holds what `keevx --json` prints to its schema, the one that the site publishes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = Path(__file__).parents[2] / "docs" / "keevx-json.schema.json"


@cache
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


@cache
def validator(event: str | None) -> Draft202012Validator:
    """For an event, or for a line without: stricter than the schema, as no field may be missing
    from it. A program has to ignore what it does not know; we have to write it down."""
    definitions = schema()["$defs"]
    lines = [reference["$ref"].rpartition("/")[2] for reference in schema()["anyOf"]]
    strict = {
        name: value | ({"additionalProperties": False} if name in lines else {})
        for name, value in definitions.items()
    }
    if event is not None:
        assert event in lines, f"the event {event} is not in {SCHEMA}"
        return Draft202012Validator({"$ref": f"#/$defs/{event}", "$defs": strict})
    return Draft202012Validator({**schema(), "$defs": strict})


def check_json_lines(text: str) -> None:
    for line in text.splitlines():
        value = json.loads(line)
        errors = [*validator(value.get("event")).iter_errors(value)]
        reasons = "; ".join(error.message for error in errors)
        assert not errors, f"{SCHEMA.name} does not describe this line: {line}: {reasons}"

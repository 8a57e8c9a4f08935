"""The schema of `--json` is whole, and the page shows all of it."""

import re
from pathlib import Path

from jsonschema import Draft202012Validator

import keevx_async.cli
from docs.tables import filled
from keevx_async.cli.output.counters import Status
from keevx_async.cli.output.report import EVENTS
from tests.support.json_lines import SCHEMA, schema

EMITTED = re.compile(r"""(?:_emit\(|"event": )"(\w+)\"""")
PAGE = SCHEMA.with_name("json.md")


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(schema())


def test_it_has_every_event_that_the_code_prints_and_no_other() -> None:
    sources = Path(keevx_async.cli.__file__).parent.rglob("*.py")
    printed = {name for path in sources for name in EMITTED.findall(path.read_text())}
    printed |= {EVENTS.get(status, status.value) for status in Status}
    events = {
        properties["event"]["const"]
        for line in schema()["$defs"].values()
        if (properties := line.get("properties", {})).get("event")
    }
    assert printed == events


def test_the_page_shows_each_line_with_each_field() -> None:
    lines = [*filled(PAGE.read_text(encoding="utf-8").splitlines())]
    for reference in schema()["anyOf"]:
        name = reference["$ref"].rpartition("/")[2]
        start = lines.index(f"### {name}")
        section = lines[start : next(n for n in range(start + 6, len(lines)) if not lines[n])]
        for field, rules in schema()["$defs"][name]["properties"].items():
            if field != "event":
                assert any(row.startswith(f"| `{field}` | ") for row in section), (name, field)
                assert rules["description"]

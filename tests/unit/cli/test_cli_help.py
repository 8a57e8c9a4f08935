"""The help of the commands: groups, examples that parse, and options derived from requests."""

from __future__ import annotations

import shlex
from typing import Any, cast

import attrs
import pytest

from keevx_async.cli.app import app, explicit
from keevx_async.cli.fields import CHOICES, FieldOptions
from keevx_async.cli.registry import EXAMPLES, HELP
from keevx_async.models.registry import REQUESTS

LINES = [
    line.strip()
    for text in EXAMPLES.values()
    for line in text.replace("\\\n", " ").splitlines()
    if line.strip().startswith("keevx")
]


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    app([*command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("line", LINES)
def test_each_example_is_a_command(line: str) -> None:
    _, *words = shlex.split(line)
    app.parse_args(explicit(words), exit_on_error=False, print_error=False)


def test_examples_are_of_commands() -> None:
    assert EXAMPLES.keys() <= HELP.keys()


def test_the_options_of_run_are_in_groups_with_examples_below(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_of("run", capsys=capsys)
    places = [text.index(f"─ {title} ") for title in ("Input", "Spending", "Output", "Request")]
    assert places == sorted(places)
    assert text.index("─ Advanced ") < text.index("Examples:")
    for line in EXAMPLES["run:run"].splitlines():
        assert line in text


@pytest.mark.parametrize("command", ["run", "check"])
def test_every_field_of_every_kind_is_an_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(command, capsys=capsys)
    for kind in REQUESTS.values():
        for field in attrs.fields(cast(Any, kind)):
            assert f"--{field.name.replace('_', '-')}" in text
    assert {field.name for field in attrs.fields(FieldOptions)} == {
        field.name for kind in REQUESTS.values() for field in attrs.fields(cast(Any, kind))
    }


@pytest.mark.parametrize("command", [("run",), ("submit",), ("submit", "video-translate")])
def test_no_help_speaks_python(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(*command, capsys=capsys)
    for word in ("Keevx.", "pathlib", "``", "--empty", "False", "LITERAL"):
        assert word not in text


def test_every_choice_belongs_to_a_field() -> None:
    assert CHOICES.keys() <= {field.name for field in attrs.fields(FieldOptions)}

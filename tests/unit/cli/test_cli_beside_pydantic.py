"""The command where pydantic is imported too: cyclopts then has it check every value again."""

import pydantic  # noqa: F401 - what the tests are about
import pytest

from keevx_async.cli.app import app
from keevx_async.cli.options import InputOptions, RunOptions
from keevx_async.models.object_path import ObjectPath


@pytest.mark.parametrize(
    ("option", "value"),
    [("--kind", "image-generate"), ("--aspect-ratio", "16x9"), ("--duration", "six")],
)
def test_a_value_that_we_check_ourselves_reaches_our_check(option: str, value: str) -> None:
    _, bound, _ = app.parse_args(
        ["run", "prompts.csv", option, value], exit_on_error=False, print_error=False
    )
    bound.apply_defaults()
    arguments = bound.arguments
    options = arguments["prompts"] if option == "--kind" else arguments["fields"]
    assert getattr(options, option[2:].replace("-", "_")) == value


def test_an_address_in_object_storage_is_a_place_for_results() -> None:
    _, bound, _ = app.parse_args(["run", "prompts.csv", "--out", "s3://films/spring"])
    out = bound.arguments["options"].out
    assert (type(out), str(out)) == (ObjectPath, "s3://films/spring")


def test_what_is_not_passed_keeps_its_default() -> None:
    _, bound, _ = app.parse_args(["run", "prompts.csv", "--json", "--repeat", "2"])
    assert bound.arguments["prompts"] == InputOptions(repeat=2)
    assert bound.arguments["options"] == RunOptions(json=True)

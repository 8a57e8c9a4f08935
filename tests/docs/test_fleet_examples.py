"""The fleet's compose file and deployment say what the command line takes, and hold no secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keevx_async.cli.app import app

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "fleet"
COMMANDS = {
    "compose.yaml": re.compile(r"command: (keevx worker.*)"),
    "kubernetes.yaml": re.compile(r"args: \[(keevx, worker.*)\]"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_starts_a_worker_as_the_command_line_takes_it(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    (found,) = COMMANDS[name].findall(text)
    words = re.sub(r"[\",]", " ", found).split()
    command, given, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    assert command.__name__ == "worker"
    assert given.arguments == {
        "docket": "redis://redis:6379/0", "rate": 50.0, "health_port": 8080,
    }  # fmt: skip
    assert not re.search(r"KEEVX_API_KEY[:=] *[^\s#…]", text), "a key stands in an example"


def test_the_example_of_a_redis_loses_nothing_it_has_acknowledged() -> None:
    text = (EXAMPLES / "compose.yaml").read_text(encoding="utf-8")
    for needed in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert needed in text

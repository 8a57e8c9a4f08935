"""What the command imports before it answers: a shell prompt or a script waits for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from keevx_async.cli.entry import run
code = run(sys.argv[1:])
heavy = ("cyclopts", "rich.markdown", "aiohttp", "sqlite3")
print(*(name for name in heavy if name in sys.modules))
sys.exit(code)
"""


@pytest.mark.parametrize(("argument", "imported"), [("--version", []), ("--help", ["cyclopts"])])
def test_an_answer_imports_only_what_it_prints_with(argument: str, imported: list[str]) -> None:
    # Coverage, if this run measures it, has imports of its own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == imported

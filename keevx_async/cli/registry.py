"""Registers the commands. Each is imported only when it is called, which keeps help fast.

The summaries are repeated here, because reading the docstrings would import aiohttp. A test checks
that they match.
"""

from __future__ import annotations

from typing import Any, cast

from cyclopts import App

HELP = {
    "run:run": "Submit a file of prompts, wait for the results, and download them.",
    "gallery:gallery": "Rebuild index.html and results.csv from a results.jsonl.",
    "init:init": "Write a sample file of prompts, which runs on the emulator unchanged.",
    "journal:journal": "Show a journal's contents, and settle its uncertain creates.",
    "listen:listen": (
        "Receive callbacks until Ctrl-C, and print each task once Keevx confirms that it ended."
    ),
    "demo:demo": "Run 20 prompts against an embedded emulator: no key, no cost.",
    "models:check": "Check a file of prompts and print an estimate. Sends nothing.",
    "submit:submit": "Submit one paid request, and print its task ids.",
    "tasks:status": "Print the current status of tasks, or of a run.",
    "tasks:wait": "Wait for tasks, and print each when it ends.",
    "tasks:download": "Download the results of tasks that have succeeded.",
    "ping:ping": "Check the key and the host, free of charge.",
    "tasks:upload": "Upload images, and print their URLs in the same order.",
    "models:models": "List what each model accepts; tab-separated when piped.",
    "worker:worker": "Work for a fleet until Ctrl-C: submit its requests and poll its tasks.",
    "emulator:emulator": "Serve an emulated Keevx API on this machine: no key, no network.",
}
"""Each command's summary, by its path below ``commands``: module, then function or app."""

EXAMPLES = {
    "gallery:gallery": """\
Examples:
  keevx gallery videos/
  keevx gallery videos/results.jsonl --parquet
""",
    "run:run": """\
Examples:
  keevx run prompts.csv --out videos/
  keevx run prompts.txt --model V --ratio 16:9 --resolution 1080p \\
    --seconds 6 --image start.png
  keevx run animals.csv --prompt "A {animal} running in the {place}"
  keevx run prompts.csv --matrix images/ --repeat 2
  keevx run prompts.csv --out "videos/{date}/{row[scene]}-{index:04d}-{id}"
  keevx run prompts.csv --dry-run
  keevx emulator -- keevx run prompts.csv --out rehearsal/
""",
    "init:init": """\
Examples:
  keevx init
  keevx init --txt
  keevx init my-prompts.jsonl
""",
    "emulator:emulator": """\
Examples:
  keevx emulator -- keevx run prompts.csv --out rehearsal/
  keevx emulator --lose 0.1 --fail 0.1 -- keevx run prompts.csv --out rehearsal/
""",
}
"""The examples shown in command help. A test parses each example."""


def register(app: App) -> None:
    """Add all commands, without importing them, and ``--install-completion`` to an app.

    Call it once for each app.
    """
    for path, summary in HELP.items():
        epilogue = {"help_epilogue": EXAMPLES[path]} if path in EXAMPLES else {}
        app.command(f"{__package__}.commands.{path}", help=summary, **epilogue)
    # Any: its keyword arguments are untyped.
    cast(Any, app).register_install_completion_command(
        help="Install completion for the current shell."
    )

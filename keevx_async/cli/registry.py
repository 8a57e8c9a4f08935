"""The commands that come when they are called: each by its path, so that help stays quick.

cyclopts imports a path only to run its command. The help stands here and not only in the
docstrings, since reading those would import aiohttp; a test holds one against the other.
"""

from __future__ import annotations

from typing import Any, cast

from cyclopts import App

HELP = {
    "run:run": "Submit a file of prompts, wait for the results, download them.",
    "journal:journal": (
        "Show what a journal holds, and the creates whose answer was lost; settle them."
    ),
    "listen:listen": (
        "Take callbacks until Ctrl-C, and tell of each task that has ended, as Keevx confirms it."
    ),
    "demo:demo": (
        "Run the main job on 20 prompts against an embedded emulator. Needs no key, costs nothing."
    ),
    "models:check": "Check a file of prompts, and count what it would make. Sends nothing.",
    "submit:submit": (
        "Make one create, which is paid, and print its task ids. Images: URLs or local files."
    ),
    "tasks:status": "Ask about tasks, once.",
    "tasks:wait": "Wait until tasks have ended, and tell of each when it has.",
    "tasks:download": "Download the results of tasks that have succeeded.",
    "tasks:upload": "Upload images, and print their URLs in the order given.",
    "models:models": "Show what each model takes: a table, or tab-separated when piped.",
    "worker:worker": "Work for a fleet until Ctrl-C: make its creates, and ask about its tasks.",
    "emulator:emulator": (
        "Serve an emulated Keevx on this machine until Ctrl-C: no key, no cost, no network."
    ),
}


def register(app: App) -> None:
    """Make the commands known, and shell completion with them."""
    for path, said in HELP.items():
        app.command(f"{__package__}.commands.{path}", help=said)
    # Any: its keyword arguments are untyped
    cast(Any, app).register_install_completion_command(help="Install completion for your shell.")

"""Draw a run as ``docs/demo.svg``: ``python -m docs.picture``.

It runs ``keevx demo`` in an empty folder and draws what the command printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
WIDTH = 98


def main() -> None:
    """Run the demo and save the picture."""
    command = [sys.executable, "-m", "keevx_async.cli", "demo"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    PICTURE.write_text(drawn(f"$ keevx demo\n{done.stdout}"), encoding="utf-8")


def drawn(text: str) -> str:
    """Return an SVG of a terminal that shows the text."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(text.rstrip()), highlight=False)
        picture = console.export_svg(title="keevx demo", theme=MONOKAI, unique_id="keevx-demo")
    # Rich refers to a font on a CDN; the reader's own font is used instead.
    return re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    main()

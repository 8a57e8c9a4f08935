"""Build the site into ``site/`` and check it: ``python -m docs.build``.

It fails on any warning, on a page that would make the reader's browser load something from another
host, and on an exported name that the reference does not show.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keevx_async

SITE = Path("site")
# What a browser fetches without being asked to; a plain <a href> is not fetched.
LOADED = re.compile(
    r"""(?:\ssrc|<link\b(?![^>]*rel="?canonical)[^>]*\shref|<image\b[^>]*href)="?(?:https?:)?//[^"\s>]+"""
    r"""|url\(["']?(?:https?:)?//[^)]+|@import\s+["'](?:https?:)?//[^"']+"""
)


def main() -> int:
    """Build and check; return the exit code."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    built = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own command
    print(built.stdout + built.stderr, end="")
    faults = [*warnings(built.stderr), *outside(), *missing()]
    for fault in faults:
        print(f"docs: {fault}", file=sys.stderr)
    return 1 if faults else built.returncode


def warnings(output: str) -> Iterator[str]:
    """Yield the warnings of griffe and mkdocstrings; --strict counts only zensical's own."""
    for line in output.splitlines():
        if re.match(r"(griffe|mkdocstrings|WARNING|ERROR)", line):
            yield f"warning: {line}"


def outside() -> Iterator[str]:
    """Yield each load from another host."""
    for path in sorted(SITE.rglob("*")):
        if path.suffix in {".html", ".css", ".svg"}:
            for match in LOADED.findall(path.read_text(encoding="utf-8")):
                yield f"{path} loads from another host: {match.strip()}"


def missing() -> Iterator[str]:
    """Yield each exported name that the reference does not show."""
    page = SITE / "api" / "index.html"
    shown = page.read_text(encoding="utf-8") if page.exists() else ""
    for name in keevx_async.__all__:
        if f'id="keevx_async.{name}"' not in shown:
            yield f"{page} does not show {name}: add it to docs/api.md and give it a docstring"


if __name__ == "__main__":
    sys.exit(main())

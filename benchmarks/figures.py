"""Code metrics, printed by `make figures`: each row has a metric, its value and its limit.

All metrics come from the source, except the number of files that one `Keevx.submit` enters: that is
traced in a separate process, against the Emulator.
"""

from __future__ import annotations

import ast
import asyncio
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "keevx_async"

# Names that were replaced by standard terms (CONTRIBUTING, "Words") and must not come back.
RETIRED = frozenset(
    [
        "Lane",
        "Turn",
        "Gate",
        "Pacer",
        "Evidence",
        "leak",
        "depth",
        "Kinship",
        "Offers",
        "LIFE",
        "Settlements",
        "Watcher",
        "born",
        "hinted",
        "Lessons",
        "Fate",
        "Fault",
        "fate_of",
        "Again",
        "Call",
        "Reply",
        "Creator",
        "_unmade",
        "carry",
        "look",
        "glance",
        "Member",
        "Watched",
        "Waits",
        "Lookout",
        "Holding",
        "let_go",
        "Feeder",
        "SharedPace",
        "knock",
        "Teller",
        "complain",
        "see_through",
        "Tally",
        "heard",
        "advice",
        "bulk",
        "ledger",
        "dry",
        "cells",
        "verbs",
        "Made",
        "Borrowed",
        "plain",
        "lasting",
        "rich",
        "Setup",
        "_rooms",
        "noted",
        "put_back",
    ]
)
# Words that are too vague anywhere in an identifier. A file has a method `tell`.
VAGUE = frozenset(
    [
        "tell",
        "told",
        "say",
        "said",
        "one",
        "found",
        "known",
        "given",
        "asked",
        "here",
        "there",
        "patience",
    ]
)
PLAIN = re.compile(r"not_found|not_given")  # HTTP's term, and the sentinel's name
MARKERS = re.compile(r"#\s*(noqa|type:|pragma|pyright:|mypy:|ruff:|fmt:|!)")


def sources(folder: Path) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}


def line_count(files: dict[Path, str]) -> int:
    return sum(len(text.splitlines()) for text in files.values())


def helpers_used_once(files: dict[Path, str]) -> list[str]:
    """Return the private functions and methods that are used exactly once in their file."""
    found: list[str] = []
    for path, text in files.items():
        tree = ast.parse(text)
        uses = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        found += [
            f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and re.match(r"_(?!_)", node.name)
            and uses[node.name] == 1
        ]
    return found


def prose_comments(files: dict[Path, str]) -> int:
    """Count the comments for readers. Comments for tools are not counted."""
    return sum(
        token.type == tokenize.COMMENT and not MARKERS.match(token.string)
        for text in files.values()
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
    )


def public_docstrings(files: dict[Path, str]) -> list[int]:
    """Return the number of lines in each docstring of a public class, function or method."""

    def of(node: ast.AST) -> Iterator[int]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if child.name.startswith("_"):
                    continue
                if doc := ast.get_docstring(child):
                    yield len(doc.splitlines())
                if isinstance(child, ast.ClassDef):
                    yield from of(child)

    return [lines for text in files.values() for lines in of(ast.parse(text))]


def identifiers(text: str) -> Iterator[str]:
    """Yield each name that a file defines: classes, functions, arguments, variables, attributes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def retired_names(files: dict[Path, str]) -> list[str]:
    return [
        f"{path.relative_to(PACKAGE)} {name}"
        for path, text in files.items()
        for name in identifiers(text)
        if name in RETIRED
        or (name != "tell" and VAGUE.intersection(PLAIN.sub("", name.lower()).split("_")))
    ]


def top_entries() -> list[str]:
    hidden = {"__init__.py", "__pycache__", "py.typed"}
    return sorted(path.name for path in PACKAGE.iterdir() if path.name not in hidden)


async def submit_traced(journal: str | None) -> set[str]:
    """Return the package's files that one submit enters, except those of the Emulator."""
    from keevx_async import ImageToVideo, Keevx
    from keevx_async.testing import Emulator

    entered: set[str] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.add(frame.f_code.co_filename)

    request = ImageToVideo(
        model="V",
        prompt="A dog",
        image_url="https://example.com/start.jpg",
        aspect_ratio="16:9",
        aspect_resolution="720p",
        duration=6,
    )
    async with (
        Emulator() as emulator,
        Keevx("key", base_url=emulator.url, journal=journal) as keevx,
    ):
        sys.setprofile(profile)
        try:
            await keevx.submit(request)
        finally:
            sys.setprofile(None)
    ours = {Path(name) for name in entered if Path(name).is_relative_to(PACKAGE)}
    return {str(path.relative_to(PACKAGE)) for path in ours if "testing" not in path.parts}


def files_entered() -> list[str]:
    """Trace a submit in a fresh process, where nothing has been imported or opened yet."""
    command = [sys.executable, "-m", "benchmarks.figures", "--submit"]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout.split()


def main() -> None:
    if "--submit" in sys.argv:
        print(*sorted(asyncio.run(submit_traced(None))), sep="\n")
        return
    files, tests = sources(PACKAGE), sources(ROOT / "tests")
    lines = line_count(files)
    once, comments = helpers_used_once(files), prose_comments(files)
    docstrings, entered = public_docstrings(files), files_entered()
    retired, entries = retired_names(files), top_entries()
    rows = [
        ("files that one submit enters", str(len(entered)), "15 or fewer"),
        (
            "private helpers used once, per 1,000 lines",
            f"{1000 * len(once) / lines:.1f} ({len(once)})",
            "below 8",
        ),
        ("prose comments, of all lines", f"{comments / lines:.1%}", "3% or more"),
        ("median public docstring, lines", f"{statistics.median(docstrings):g}", "3 or more"),
        ("entries at the top of the package", str(len(entries)), "14 or fewer"),
        ("retired or vague identifiers", str(len(retired)), "0"),
        ("longest file, lines", str(max(len(t.splitlines()) for t in files.values())), "450"),
        ("lines of source", f"{lines:,}", ""),
        ("lines of tests", f"{line_count(tests):,}", ""),
    ]
    for name, value, bound in rows:
        print(f"{name:45} {value:>14}   {bound}")
    if "-v" in sys.argv:
        for title, names in (("entered", entered), ("used once", once), ("retired", retired)):
            print(f"\n{title}:", *names, sep="\n  ")


if __name__ == "__main__":
    main()

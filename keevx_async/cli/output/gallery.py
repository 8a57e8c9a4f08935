"""Makes ``index.html``, a page that shows a folder's results without the network.

The page consists of a frame (``gallery.html``: markup, style and script) and a JSON row for each
item. The script creates elements from the rows and sets their text; text is never used as markup.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from keevx_async.transfer.safe_names import safe_name

from .names import THUMBNAILS
from .records import FIELDS

_DATA, _TITLE, _STATE = "/*ROWS*/", "<!--TITLE-->", "<!--STATE-->"
_NOT_SETTINGS = {*FIELDS, "image_url", "video_url"}


class Folder:
    """Makes links from a page to files. The links work wherever the page is opened.

    Args:
        root: the page's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._absolute = os.path.abspath(root)
        self._working = os.getcwd()
        try:
            names = os.listdir(root / THUMBNAILS)
        except OSError:
            names = []
        self._thumbnails = {name.rpartition(".")[0]: name for name in names}

    def link(self, path: str) -> str:
        """Return the link to a file, relative to the page; object storage addresses are unchanged.

        Paths in ``results.jsonl`` are relative to the folder in which the run was started. If a
        path, read from the current working folder, leads outside the page's folder, the file is
        searched for below the page's folder.
        """
        if "://" in path:
            return path
        absolute = os.path.normpath(os.path.join(self._working, path))
        if not absolute.startswith(self._absolute + os.sep):
            parts = Path(path).parts
            tails = (os.path.join(*parts[start:]) for start in range(len(parts)))
            absolute = next(
                (
                    os.path.join(self._absolute, tail)
                    for tail in tails
                    if not os.path.isabs(tail) and os.path.exists(self._root / tail)
                ),
                absolute,
            )
        try:
            relative = os.path.relpath(absolute, self._absolute)
        except ValueError:  # another drive, on Windows
            return Path(absolute).as_uri()
        return quote(relative.replace(os.sep, "/"), safe="/", errors="surrogateescape")

    def thumbnail(self, task_id: str) -> str:
        """Return the link to a task's thumbnail; an empty string if there is no thumbnail."""
        name = self._thumbnails.get(safe_name(task_id))
        return f"{THUMBNAILS}/{quote(name)}" if name else ""


@cache
def _frame() -> tuple[str, str]:
    """Return the parts of the page before and after the rows."""
    text = Path(__file__).with_name("gallery.html").read_text(encoding="utf-8")
    start, _, end = text.partition(_DATA)
    return start, end


def page_start(path: Path, total: int | None) -> str:
    """Return the part of the page before its rows.

    Args:
        path: the path of ``results.jsonl``.
        total: the number of items in the run in progress; None if no run is in progress.
    """
    name = os.path.basename(os.path.abspath(path.parent)) or "results"
    at = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    state = f"written {at}"
    if total is not None:
        state = f"a run of {total:,} is in progress; {state}: reload for more"
    return _frame()[0].replace(_TITLE, _escaped(name)).replace(_STATE, _escaped(state))


def page_row(item: Mapping[str, Any], folder: Folder) -> str:
    """Return an item as a row of the page."""
    ids = list(item["task_ids"])
    settings = [
        f"{name} {_text(value)}"
        for name, value in item.items()
        if name not in _NOT_SETTINGS and value not in (None, "", [])
    ]
    row = {
        "i": item.get("index"),
        "l": item.get("line"),
        "s": item["status"],
        "p": item["prompt"] or "",
        "f": [folder.link(path) for path in item["paths"]],
        "t": [folder.thumbnail(task_id) for task_id in ids],
        "d": ids,
        "k": item["key"],
        "g": settings,
        "m": [item.get("pixels"), item.get("seconds"), item.get("cost")],
        "u": list(item.get("urls") or ()),
        "x": item.get("urls_expire_at"),
        "a": item.get("ended_at") or item.get("submitted_at"),
        "e": item["error"],
        "w": list(item.get("mismatches") or ()),
    }
    kept = {name: value for name, value in row.items() if value not in (None, "", [])}
    # Only these characters could end a script element, or start a comment in it.
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def page_end() -> str:
    """Return the part of the page after its rows."""
    return _frame()[1]


def _text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore
    return text if len(text) <= 200 else f"{text[:199]}…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")

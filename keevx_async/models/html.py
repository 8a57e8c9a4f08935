"""Builds HTML for notebooks and short strings for reprs. Fetches nothing; reads only small results.

Text from users and from Keevx is not trusted: anything that is not ``Html`` is escaped on
insertion, no text is used in a style, and only an http(s) URL or a local file's relative path
becomes a link or a picture.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path, PurePath
from typing import Final, Literal
from urllib.parse import quote

from .validators import is_url

Tone = Literal["good", "bad", "unsure", "plain"]
"""The meaning of a badge's color."""

# White text is readable on each color (4.5:1, WCAG 2.2, 1.4.3), whatever the notebook's theme.
_TONES: Final[Mapping[Tone, str]] = {
    "good": "#1a7f37",
    "bad": "#cf222e",
    "unsure": "#9a6700",
    "plain": "#57606a",
}
_FAINT = "rgba(128,128,128,.35)"
_CELL = "text-align:left;vertical-align:top;padding:4px 10px;max-width:28em;overflow-wrap:anywhere"
_NO_WRAP = "white-space:nowrap;font-variant-numeric:tabular-nums"
_MAX_PATH = 48
_NEW_PAGE = {"target": "_blank", "rel": "noopener noreferrer"}
# A notebook stores what it shows, so only formats that browsers play and Keevx makes are embedded.
_PLAYED: Final[Mapping[str, str]] = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
# Without these classes, notebooks render "$5 or $6" in a prompt as a formula (MathJax 2 and 3,
# option "ignoreClass").
_ROOT = {"class": "tex2jax_ignore mathjax_ignore"}


class Html(str):
    """Text that is already markup and is inserted without escaping."""

    __slots__ = ()


def strip_controls(text: str) -> str:
    """Return text without invisible characters, such as those that reverse its direction.

    Line breaks and other whitespace become spaces.
    """
    return "".join(letter if letter.isprintable() else " " * letter.isspace() for letter in text)


def shorten(text: str, max_length: int = 80) -> str:
    """Return text on one line, cut to max_length characters."""
    line = " ".join(strip_controls(text).split())
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def element(tag: str, attributes: Mapping[str, str], *children: str) -> Html:
    """Return an element. Attributes, and children that are not ``Html``, are escaped."""
    return Html(f"{_opening(tag, attributes)}{joined('', children)}</{tag}>")


def _opening(tag: str, attributes: Mapping[str, str]) -> str:
    written = "".join(
        f' {name}="{escape(strip_controls(value))}"' for name, value in attributes.items()
    )
    return f"<{tag}{written}>"


def joined(between: str, pieces: Iterable[str]) -> Html:
    """Return the pieces separated by ``between``; empty pieces are left out."""
    return Html(_markup(between).join(_markup(piece) for piece in pieces if piece))


def _markup(piece: str) -> str:
    return piece if isinstance(piece, Html) else escape(strip_controls(piece))


def badge(text: str, tone: Tone) -> Html:
    """Return a word on a colored background."""
    style = "border-radius:4px;padding:1px 6px;font-size:85%;font-weight:600;white-space:nowrap"
    return element("span", {"style": f"background:{_TONES[tone]};color:#fff;{style}"}, text)


def code(text: str) -> Html:
    """Return an id in a monospaced font."""
    return element("code", {"style": "background:none;color:inherit;padding:0"}, text)


def short_code(text: str, max_length: int = 16) -> Html:
    """Return an id on one line, shortened in the middle; the title attribute has the full id."""
    style = f"background:none;color:inherit;padding:0;{_NO_WRAP}"
    return element("code", {"style": style, "title": text}, _cut_middle(text, max_length))


def _cut_middle(text: str, max_length: int) -> str:
    half = (max_length - 1) // 2
    return text if len(text) <= max_length else f"{text[:half]}…{text[-half:]}"


def number(value: int) -> Html:
    """Return a number that does not wrap, with digits of equal width."""
    return element("span", {"style": _NO_WRAP}, str(value))


def link(url: str | None, content: str) -> Html:
    """Return content as a link to url, or an empty ``Html`` if ``url`` is not an http(s) URL.

    The link opens a new page, without revealing the notebook's address to it.
    """
    if not is_url(url):
        return Html()
    return element("a", {"href": url, **_NEW_PAGE}, content)


def file_link(path: PurePath) -> Html:
    """Return a result's path as a link, relative to the working folder.

    Objects in storage are returned as text. So are files outside the working folder, because
    notebook servers do not serve them.
    """
    text = _cut_middle(str(path), _MAX_PATH)  # the end contains the name and the format
    shown = element("span", {"title": str(path), "style": _NO_WRAP}, text)
    relative = path
    if path.is_absolute() and path.is_relative_to(folder := os.getcwd()):
        relative = path.relative_to(folder)
    if not isinstance(path, Path) or relative.is_absolute():
        return shown
    # The prefix "./" keeps the start of a path from being read as a scheme or a host.
    href = f"./{quote(relative.as_posix(), errors='replace')}"
    return element("a", {"href": href, **_NEW_PAGE}, shown)


def player(path: PurePath, limit: int) -> Html:
    """Return HTML that embeds a local video, with controls, or a local image.

    A notebook can show the video or image wherever it is opened, even without the file.

    Args:
        path: the result's path; the file is read now.
        limit: the maximum number of bytes to embed; a larger or unreadable file is left out.

    Returns:
        An empty ``Html`` if the file is left out, or is not a video or image that browsers support.
    """
    kind = _PLAYED.get(path.suffix.lower())
    if kind is None or not isinstance(path, Path):
        return Html()
    try:
        if not 0 < path.stat().st_size <= limit:
            return Html()
        source = {"src": f"data:{kind};base64,{b64encode(path.read_bytes()).decode()}"}
    except (OSError, ValueError):  # it was moved, or its name contains a NUL
        return Html()
    # Equally wide for portrait and landscape: a narrow video has no room for its play button.
    size = f"height:135px;width:240px;object-fit:contain;background:{_FAINT}"
    style = {"style": f"{size};display:block;margin:2px 0;border-radius:4px"}
    if kind.startswith("video/"):
        return element("video", {"controls": "", "preload": "metadata", **source, **style})
    return Html(_opening("img", {**source, "alt": "image", **style}))


# The reader's browser loads the picture, without a Referer; this process never loads it.
def picture(url: str | None, height: int) -> Html:
    """Return the picture at url, or an empty ``Html`` if ``url`` is not an http(s) URL.

    Args:
        url: the picture's URL; the reader's browser loads it once it is scrolled into view.
        height: the height in pixels; the width is four thirds of the height.
    """
    if not is_url(url):
        return Html()
    size = f"height:{height}px;width:{height * 4 // 3}px;object-fit:cover;display:block"
    style = f"{size};margin:0;border-radius:4px;background:{_FAINT};font-size:11px"  # for alt
    loading = {"loading": "lazy", "referrerpolicy": "no-referrer"}
    return Html(_opening("img", {"src": url, "alt": "video", "style": style, **loading}))


def lines(*lines: str) -> Html:
    """Return the lines, one below the other; empty lines are left out."""
    style = {"style": "max-width:56em;overflow-wrap:anywhere"}
    return element("div", {}, *(element("div", style, line) for line in lines if line))


def side_by_side(*pieces: str) -> Html:
    """Return the pieces next to each other, vertically centered."""
    style = {"style": "display:flex;gap:8px;align-items:center;padding:2px 0"}
    return element("div", style, *pieces)


def card(*children: str) -> Html:
    """Return the children side by side in a frame, as the root element of a notebook's output."""
    frame = f"border:1px solid {_FAINT};border-radius:8px;padding:8px 12px;margin:2px 0"
    style = f"display:inline-flex;gap:12px;align-items:center;line-height:1.6;{frame}"
    return element("div", {**_ROOT, "style": style}, *children)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], *around: str) -> Html:
    """Return a table, as the root element of a notebook's output.

    Args:
        head: the names of the columns.
        rows: the cells of each row; without rows, only the lines above are returned.
        around: the lines above the table.
    """
    ruled = {"style": f"{_CELL};border-top:1px solid {_FAINT}"}
    top = element("tr", {}, *(element("th", {"style": _CELL}, name) for name in head))
    body = [element("tr", {}, *(element("td", ruled, cell) for cell in row)) for row in rows]
    style = {"style": "border-collapse:collapse;margin:4px 0"}
    whole = element("table", style, element("thead", {}, top), element("tbody", {}, *body))
    return element("div", _ROOT, lines(*around), *([whole] if body else []))

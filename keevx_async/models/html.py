"""How values are shown: HTML in a notebook, one short line elsewhere. Strings only, no fetching.

Texts come from users and from Keevx. Whatever is not ``Html`` is escaped where it is put, no
text reaches a style, and only an http(s) URL becomes a link or a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final, Literal

from .validators import is_url

Tone = Literal["good", "bad", "unsure", "plain"]

# White letters stand out on each (4.5:1, WCAG 2.2, 1.4.3), so that the theme does not matter.
_TONES: Final[Mapping[Tone, str]] = {
    "good": "#1a7f37",
    "bad": "#cf222e",
    "unsure": "#9a6700",
    "plain": "#57606a",
}
_FAINT = "rgba(128,128,128,.35)"
_CELL = "text-align:left;vertical-align:top;padding:4px 10px;max-width:28em;overflow-wrap:anywhere"
# Else notebooks read "$5 or $6" in a prompt as a formula: MathJax 2 and 3, "ignoreClass".
_ROOT = {"class": "tex2jax_ignore mathjax_ignore"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def strip_controls(text: str) -> str:
    """Return text without letters that cannot be seen, such as those that turn its direction."""
    return "".join(one if one.isprintable() else " " * one.isspace() for one in text)


def shorten(text: str, most: int = 80) -> str:
    """Return text on one line, cut to most letters."""
    line = " ".join(strip_controls(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def element(tag: str, attributes: Mapping[str, str], *children: str) -> Html:
    """Return an element; children that are not Html are escaped."""
    return Html(f"{_opening(tag, attributes)}{joined('', children)}</{tag}>")


def _opening(tag: str, attributes: Mapping[str, str]) -> str:
    given = "".join(
        f' {name}="{escape(strip_controls(value))}"' for name, value in attributes.items()
    )
    return f"<{tag}{given}>"


def joined(between: str, pieces: Iterable[str]) -> Html:
    """Return pieces one after another, empty ones left out."""
    return Html(_markup(between).join(_markup(one) for one in pieces if one))


def _markup(piece: str) -> str:
    return piece if isinstance(piece, Html) else escape(strip_controls(piece))


def badge(text: str, tone: Tone) -> Html:
    """Return a word on a coloured ground."""
    look = "border-radius:4px;padding:1px 6px;font-size:85%;font-weight:600;white-space:nowrap"
    return element("span", {"style": f"background:{_TONES[tone]};color:#fff;{look}"}, text)


def code(text: str) -> Html:
    """Return an id, in letters of one width."""
    return element("code", {"style": "background:none;color:inherit;padding:0"}, text)


def link(url: str | None, shown: str) -> Html:
    """Return shown as a link to url, or nothing where that is no http(s) URL."""
    if not is_url(url):
        return Html()
    away = {"target": "_blank", "rel": "noopener noreferrer"}
    return element("a", {"href": url, **away}, shown)


def picture(url: str | None, height: int) -> Html:
    """Return the picture at url, or nothing where that is no http(s) URL.

    Args:
        url: where the reader's browser finds it.
        height: pixels.
    """
    if not is_url(url):
        return Html()
    look = f"height:{height}px;width:{height * 4 // 3}px;object-fit:cover;display:block"
    style = f"{look};margin:0;border-radius:4px;background:{_FAINT};font-size:11px"  # for alt
    sent = {"loading": "lazy", "referrerpolicy": "no-referrer"}
    return Html(_opening("img", {"src": url, "alt": "video", "style": style, **sent}))


def lines(*lines: str) -> Html:
    """Return lines one below another, empty ones left out."""
    style = {"style": "max-width:56em;overflow-wrap:anywhere"}
    return element("div", {}, *(element("div", style, line) for line in lines if line))


def side_by_side(*pieces: str) -> Html:
    """Return pieces beside each other."""
    style = {"style": "display:flex;gap:8px;align-items:center;padding:2px 0"}
    return element("div", style, *pieces)


def card(*children: str) -> Html:
    """Return children beside each other, in a frame."""
    frame = f"border:1px solid {_FAINT};border-radius:8px;padding:8px 12px;margin:2px 0"
    style = f"display:inline-flex;gap:12px;align-items:center;line-height:1.6;{frame}"
    return element("div", {**_ROOT, "style": style}, *children)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], *around: str) -> Html:
    """Return a table; around are the lines above it."""
    ruled = {"style": f"{_CELL};border-top:1px solid {_FAINT}"}
    top = element("tr", {}, *(element("th", {"style": _CELL}, name) for name in head))
    body = [element("tr", {}, *(element("td", ruled, cell) for cell in row)) for row in rows]
    style = {"style": "border-collapse:collapse;margin:4px 0"}
    whole = element("table", style, element("thead", {}, top), element("tbody", {}, *body))
    return element("div", _ROOT, lines(*around), *([whole] if body else []))

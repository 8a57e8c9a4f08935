"""Text of others, made fit for a terminal."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^/@:?#]*:)[^/?#]*@|([?&]password=)[^&#]*")


def printable(text: str) -> str:
    """Return text with all that could move a terminal's cursor, or end the line, escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def masked(word: str) -> str:
    """Return a word of a command line without the password that a URL in it may hold."""
    return _PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", word)

"""Turn any text into a file name that is safe on every system."""

from __future__ import annotations

import os
import re
import unicodedata

MAX_NAME_BYTES = 150
"""Maximum length of a file name, in UTF-8 bytes. File systems allow 255, but a part file's name is
longer than its target's."""

MAX_SLUG = 40
"""Maximum length of a prompt in a file name, in characters."""
MAX_SLUG_BYTES = 120
"""Maximum length of a prompt in a file name, in UTF-8 bytes. This leaves room for an index and an
id."""
ID_LENGTH = 4
"""The number of characters after a short id's prefix. They are the full id's last characters,
because ids that are numbered by time all start the same."""
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(?:\.|$)", re.IGNORECASE
)
"""Names that Windows reserves for devices, with any suffix. Source: Microsoft's "Naming Files,
Paths, and Namespaces". Superscript digits count, too."""

_NOT_ALLOWED, _NOT_ALNUM = re.compile(r"[^A-Za-z0-9_\-. ]+"), re.compile(r"[^A-Za-z0-9]+")
"""The characters that are replaced in ASCII text, in a file name and in a slug."""


def safe_name(name: str) -> str:
    """Turn any text into a file or folder name that is safe on every system.

    The name cannot point outside its folder, be hidden, or be empty. Letters, marks and digits in
    every script are kept and composed (NFC), as are ``_``, ``-``, ``.`` and spaces. Each run of
    other characters, or of characters that this system's file names cannot contain (as in the C
    locale), becomes ``_``. Names that Windows reserves for devices get a leading ``_`` on every
    system, because files are copied between systems. A name longer than ``MAX_NAME_BYTES`` is cut
    at the start, so it keeps its suffix.
    """
    if name.isascii():  # most names are; checking each letter would take ten times as long
        clean = _NOT_ALLOWED.sub("_", name).strip(" .")
    else:
        composed = unicodedata.normalize("NFC", name)
        clean = "".join(letter if _is_allowed(letter) else "\0" for letter in composed)
        clean = re.sub("\0+", "_", clean).strip(" .")
    short = clean.encode()[-MAX_NAME_BYTES:].decode(errors="ignore").strip(" .") or "result"
    return not_a_device(short)


def _is_allowed(letter: str) -> bool:
    if letter.isascii():
        return letter.isalnum() or letter in "_-. "
    if unicodedata.category(letter)[0] not in "LMN":
        return False
    try:
        os.fsencode(letter)
    except UnicodeEncodeError:
        return False
    return True


def slug(text: str, fallback: str = "result") -> str:
    """Turn text into part of a file name: lower-case words in any script, joined by ``-``.

    The slug has at most ``MAX_SLUG`` characters. It is cut between two words if that keeps more
    than half of it, and never between a letter and its marks.

    Args:
        text: the text, such as a prompt.
        fallback: returned if the text contains no letter or digit.
    """
    composed = unicodedata.normalize("NFC", text[: 8 * MAX_SLUG].lower())
    if composed.isascii():
        kept = _NOT_ALNUM.sub(" ", composed)
    else:
        kept = "".join(
            c if _is_allowed(c) and (c.isalnum() or _is_mark(c)) else " " for c in composed
        )
    whole = "-".join(kept.split())
    short = whole[:MAX_SLUG].encode()[:MAX_SLUG_BYTES].decode(errors="ignore")
    if len(short) < len(whole):
        end = len(short)
        while end and _is_mark(whole[end]):  # do not separate a letter from its marks
            end -= 1
        words = whole[:end].rpartition("-")[0] if whole[end] != "-" else whole[:end]
        short = words if len(words) > end // 2 else whole[:end]
    return short.strip("-") or fallback


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "M"


def short_id(task_id: str) -> str:
    """Return a short form of a task's id, such as ``i2v-ec37``. It may not be unique."""
    prefix, dash, rest = task_id.rpartition("-")
    return safe_name(prefix + dash + rest[-ID_LENGTH:])


def not_a_device(name: str) -> str:
    """Return the name, with a leading ``_`` if Windows reserves it for a device."""
    return f"_{name}" if _DEVICE.match(name) else name

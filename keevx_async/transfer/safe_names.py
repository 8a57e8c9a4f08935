"""Make file names from any text: safe on every system, in every script."""

from __future__ import annotations

import os
import re
import unicodedata

MAX_NAME_BYTES = 150
"""Bytes of UTF-8; file systems take 255, and a part's name is longer than its target's."""

MAX_SLUG = 40
"""Characters of a prompt in a name."""
MAX_SLUG_BYTES = 120
"""Bytes of UTF-8 of a prompt in a name, so that an index and an id beside it still fit."""
ID_LENGTH = 4
"""Characters of a short id after its prefix. They are an id's last: if ids are numbered by time,
their beginnings are alike."""
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(?:\.|$)", re.IGNORECASE
)
"""Names of devices, whatever follows a dot. Source: Microsoft's "Naming Files, Paths, and
Namespaces"; superscript digits count too."""

_NOT_ALLOWED, _NOT_ALNUM = re.compile(r"[^A-Za-z0-9_\-. ]+"), re.compile(r"[^A-Za-z0-9]+")
"""What becomes something else in a name of ASCII letters."""


def safe_name(name: str) -> str:
    """Return a file or folder name that is safe on every system, made from any text.

    It cannot lead out of its folder, be hidden, or be empty. Letters, marks and digits of every
    script stay, composed (NFC), and so do ``_``, ``-``, ``.`` and blanks. Runs of anything else
    become ``_``, and so does what the names of this system's files cannot hold, as in the C
    locale. Names that Windows keeps for devices get a ``_`` in front, on every system, for files
    are copied. A name over ``MAX_NAME_BYTES`` loses its beginning, so that its suffix stays.
    """
    if name.isascii():  # as most are; one at a time its letters take ten times as long
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
    """Return text as part of a file name: words of any script in lower case, joined by ``-``.

    At most ``MAX_SLUG`` characters, cut between words where that leaves more than half, and never
    between a letter and its marks.

    Args:
        text: such as a prompt.
        fallback: returned where no letter or digit is left.
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
        while end and _is_mark(whole[end]):  # the marks of a letter that was cut off them
            end -= 1
        words = whole[:end].rpartition("-")[0] if whole[end] != "-" else whole[:end]
        short = words if len(words) > end // 2 else whole[:end]
    return short.strip("-") or fallback


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "M"


def short_id(task_id: str) -> str:
    """Return a task's id as a name holds it: ``i2v-ec37``. It need not be unique."""
    prefix, dash, rest = task_id.rpartition("-")
    return safe_name(prefix + dash + rest[-ID_LENGTH:])


def not_a_device(name: str) -> str:
    """Return a name, with a ``_`` before it where Windows keeps it for a device."""
    return f"_{name}" if _DEVICE.match(name) else name

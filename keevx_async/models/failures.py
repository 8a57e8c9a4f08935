"""Why tasks fail, by the words of Keevx's ``error_message``. Data, and a function to read it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

MODERATION: Final = "moderation"
"""Keevx's rules forbid the prompt, an image or the result."""
INPUT: Final = "input"
"""The request or its files cannot be used as they are."""
INTERNAL: Final = "internal"
"""Something broke at Keevx: the same request may succeed."""
UNKNOWN: Final = "unknown"
"""No phrase of the table is in the message, or there is no message."""

FAILURES: MutableMapping[str, str] = {
    "content policy": MODERATION,
    "parameter error": INPUT,
    "image size exceeded": INPUT,
    "prompt too long": INPUT,
    "image url inaccessible": INPUT,
    "unsupported image format": INPUT,
    "image processing error": INPUT,
    "task creation failed": INTERNAL,
    "server error": INTERNAL,
    "internal error": INTERNAL,
}
"""Phrases of an ``error_message``, each with its class of failure; case does not matter.

Keevx publishes no list of messages. "content policy" is known from failed tasks (keevx-api.md,
"Found later"), and most others are the meanings of its error codes ("Errors"). Add what you see,
under one of these classes or one of your own: ``FAILURES["face not detected"] = "input"``."""


def failure_class(error_message: str) -> str:
    """Return the class of failure that a task's ``error_message`` describes, or ``UNKNOWN``.

    Of several phrases in it, the longest decides: it is the most specific.
    """
    text = " ".join(error_message.casefold().split())
    matches = (phrase for phrase in FAILURES if phrase.casefold() in text)
    longest = max(matches, key=len, default=None)
    return UNKNOWN if longest is None else FAILURES[longest]


def failure_classes() -> tuple[str, ...]:
    """Return every class of failure there is now, ``UNKNOWN`` the last."""
    return (*dict.fromkeys(FAILURES.values()), UNKNOWN)

"""Classifies task failures by the text of Keevx's ``error_message``."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

MODERATION: Final = "moderation"
"""Keevx's rules forbid the prompt, an image or the result."""
INPUT: Final = "input"
"""The request or its files cannot be used as given."""
INTERNAL: Final = "internal"
"""Something broke at Keevx; the same request may succeed next time."""
UNKNOWN: Final = "unknown"
"""The message contains no phrase from the table, or there is no message."""

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
"""Phrases in an ``error_message``, each with its class of failure; case does not matter.

Keevx publishes no list of messages. "content policy" is known from failed tasks (keevx-api.md,
"Found later"); most others come from the descriptions of its error codes ("Errors"). Add phrases
that you encounter, with one of these classes or your own:
``FAILURES["face not detected"] = "input"``."""


def failure_class(error_message: str) -> str:
    """Return the class of failure that a task's ``error_message`` describes, or ``UNKNOWN``.

    If the message contains several phrases, the longest decides, because it is the most specific.
    """
    text = " ".join(error_message.casefold().split())
    matches = (phrase for phrase in FAILURES if phrase.casefold() in text)
    longest = max(matches, key=len, default=None)
    return UNKNOWN if longest is None else FAILURES[longest]


def failure_classes() -> tuple[str, ...]:
    """Return every class of failure in ``FAILURES``, followed by ``UNKNOWN``."""
    return (*dict.fromkeys(FAILURES.values()), UNKNOWN)

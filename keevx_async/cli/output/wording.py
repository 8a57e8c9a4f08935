"""Rewords library messages for the command line, which has options instead of arguments."""

from __future__ import annotations

from collections.abc import Mapping

PHRASES: Mapping[str, str] = {
    "set KEEVX_API_KEY, or pass Keevx(api_key=…)": (
        "set the environment variable KEEVX_API_KEY, or rehearse without a key: "
        "keevx emulator -- keevx …"
    ),
    "Check the arguments of Keevx(), KEEVX_API_KEY and KEEVX_BASE_URL": (
        "Check the environment variables KEEVX_API_KEY and KEEVX_BASE_URL"
    ),
    "Check KEEVX_API_KEY, or the api_key given to Keevx(), and": "Check KEEVX_API_KEY, and",
    "; some gateways also require headers={'source': 'skill'}": "",
    "Lower the concurrency, set rate=, or give RetryPolicy a longer deadline": (
        "Lower --concurrency, or run it again later"
    ),
    "pass a local file as a pathlib.Path": "pass the path of a local file",
    "and pass its pathlib.Path": "and pass its path",
    "pass the URL that Keevx.upload() returns": "pass the URL that keevx upload prints",
    "for_languages() makes a request for each": "a line for each makes a request for each",
    "pass one, or the Task that wait() returned": "pass one, or a task's id",
    "when callbacks= is given": "with --callbacks",
    "is not expanded: call expanduser() on the path": "is not expanded here: write the full path",
}
"""Phrases in library messages, each with its replacement on the command line."""


def for_terminal(text: str) -> str:
    """Return a library message reworded for the command line; other text is left unchanged."""
    for phrase, replacement in PHRASES.items():
        text = text.replace(phrase, replacement)
    return text

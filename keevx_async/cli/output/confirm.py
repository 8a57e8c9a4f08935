"""Asks a person for consent before anything is paid for."""

from __future__ import annotations

import sys

from .console import ERRORS, printable


def can_ask() -> bool:
    """Return whether a person can answer: standard input and standard error are terminals."""
    return ERRORS.is_interactive and sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str) -> bool:
    """Ask a yes-or-no question; return whether the answer was yes. Blocks until it is answered."""
    try:
        prompt = f"{printable(question)} [y/N] "
        return ERRORS.input(prompt, markup=False).strip().lower() in ("y", "yes")
    except EOFError:
        return False

"""Asks a person before something is paid for."""

from __future__ import annotations

import sys

from keevx_async.errors import ConfigurationError

from .console import ERRORS, printable


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if a person, or ``--yes``, agrees. Blocks until there is an answer.

    Args:
        question: what is about to be paid for, without the question mark.
        yes: whether ``--yes`` was passed.

    Raises:
        ConfigurationError: the answer is no, or there is no terminal to ask on. Nothing was sent.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigurationError(f"{question}: add --yes to agree; nothing was sent")
    ERRORS.print(f"keevx: {printable(question)}. Go on? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigurationError("nothing was sent")

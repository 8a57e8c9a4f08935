"""The checks that requests' rules are made of: each takes a field's name and value."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeGuard, cast

from .errors import Violation
from .inputs import Made

_URL = re.compile(
    r"https?://(?:[^\s/?#@\\]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::(\d{1,5}))?(?:[/?#]\S*)?",
    re.IGNORECASE,
)


def is_url(value: object) -> TypeGuard[str]:
    """Tell whether value is an absolute http(s) URL with a host."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    found = _URL.fullmatch(value)
    return found is not None and int(found[1] or 0) <= 65535


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether value is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


Found = tuple[Violation, ...]
"""What a check has found: mostly nothing, and then it must cost next to nothing."""
Check = Callable[[str, Any], Found]
"""Takes a field's name and value. A request's rules are one for each of its fields."""


def one_of(name: str, value: object, allowed: tuple[Any, ...], where: str = "") -> Found:
    """Return a violation unless value is one of allowed, of the same type."""
    if any(type(value) is type(good) and value == good for good in allowed):
        return ()
    listed = ", ".join(map(str, allowed))
    hint = _unquoted(value, lambda number: one_of(name, number, allowed))
    return (Violation(name, value, "allowed", f"{value!r} is not one of {listed}{where}{hint}"),)


def in_range(name: str, value: object, low: int, high: int) -> Found:
    """Return a violation unless value is an integer between low and high."""
    if is_int(value) and low <= value <= high:
        return ()
    hint = _unquoted(value, lambda number: in_range(name, number, low, high))
    message = f"{value!r} is not a whole number from {low} to {high}{hint}"
    return (Violation(name, value, "range", message),)


def at_least(name: str, value: object, low: int) -> Found:
    """Return a violation unless value is an integer from low on."""
    if is_int(value) and value >= low:
        return ()
    hint = _unquoted(value, lambda number: at_least(name, number, low))
    message = f"{value!r} is not a whole number from {low} on{hint}"
    return (Violation(name, value, "range", message),)


def _unquoted(value: object, check: Callable[[int], Found]) -> str:
    """Return what to write, where value is a text of the very number that will do."""
    if not isinstance(value, str) or not (value.isdecimal() and len(value) < 10):
        return ""
    return "" if check(int(value)) else f"; write {int(value)} without quotes"


def a_prompt(name: str, value: object, longest: int) -> Found:
    """Return a violation unless value is a text that is neither blank nor too long."""
    return a_text(name, value, longest, "is blank; describe what should be seen")


def a_text(name: str, value: object, longest: int, blank: str = "is blank") -> Found:
    """Return a violation unless value is a text that is neither blank nor too long."""
    if not isinstance(value, str):
        return (Violation(name, value, "type", f"{value!r} is not a text"),)
    if not value or value.isspace():
        return (Violation(name, value, "required", blank),)
    if len(value) > longest:
        message = f"has {len(value)} characters, at most {longest} are taken"
        return (Violation(name, value, "length", message),)
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return (Violation(name, value, "text", "holds a lone surrogate, which is no valid text"),)
    return ()


def a_url(name: str, value: object) -> Found:
    """Return a violation unless value is an absolute http(s) URL."""
    if is_url(value):
        return ()
    message = f"{value!r} is not an absolute http(s) URL with a host"
    if isinstance(value, Made):
        message = f"{value!r} has no such result; wait until one that makes it has succeeded"
    return (Violation(name, value, "url", message),)


def a_source(name: str, value: object) -> Found:
    """Return a violation unless value is a URL or a local path, which is uploaded later."""
    if is_url(value):
        return ()
    if isinstance(value, Made):
        return a_url(name, value)
    if not isinstance(value, PurePath):
        (found,) = a_url(name, value)
        message = f"{found.message}; for a local file give a pathlib.Path"
        return (Violation(name, value, "url", message),)
    if value.as_posix().isprintable():
        return ()
    message = f"{value!r} is a path with letters that cannot be written down; rename it"
    return (Violation(name, value, "text", message),)


def a_flag(name: str, value: object) -> Found:
    """Return a violation unless value is a bool."""
    if isinstance(value, bool):
        return ()
    return (Violation(name, value, "type", f"{value!r} is neither true nor false"),)


def some(name: str, value: object, check: Check, most: int | None = None) -> Found:
    """Return what check finds in a list, and a violation where it holds more than most."""
    if not isinstance(value, tuple):
        return (Violation(name, value, "type", f"{value!r} is not a list"),)
    several = cast(tuple[object, ...], value)
    found = tuple(
        one for number, each in enumerate(several) for one in check(f"{name}[{number}]", each)
    )
    if most is None or len(several) <= most:
        return found
    return (
        *found,
        Violation(name, value, "count", f"has {len(several)}, at most {most} are taken"),
    )

"""The checks that requests' rules are made of: each takes a field's name and value."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeGuard, cast

from ..errors import InvalidRequest, Violation
from .sources import HasResults, to_items, to_text

LONGEST_KEY = 10_000
"""Characters of a create's key: it is kept in the journal, and printed in errors."""
LONGEST_ID = 1_000
LONGEST_SHOWN = 200
"""Characters of a value that a message quotes: one may hold a whole image as a data: URI."""

_URL = re.compile(
    r"https?://(?:[^\s/?#@\\]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::(\d{1,5}))?(?:[/?#]\S*)?",
    re.IGNORECASE,
)
_SEVERAL_URLS = re.compile(r"[,;]https?:/", re.IGNORECASE)
"""One URL after another: a cell of several that was not split would be paid for as one."""


def is_url(value: object) -> TypeGuard[str]:
    """Tell whether value is an absolute http(s) URL with a host."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    found = _URL.fullmatch(value)
    return found is not None and int(found[1] or 0) <= 65535


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether value is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8: half of a character (a surrogate) cannot."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def shown(value: object) -> str:
    """Return a value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


Violations = tuple[Violation, ...]
"""What a check has found: mostly nothing, and then it must cost next to nothing."""
Check = Callable[[str, Any], Violations]
"""Takes a field's name and value. A request's rules are one for each of its fields."""


def check_choice(name: str, value: object, allowed: tuple[Any, ...], where: str = "") -> Violations:
    """Return a violation unless value is one of allowed, of the same type."""
    for choice in allowed:
        if type(value) is type(choice) and value == choice:  # True equals 1
            return ()
    listed = ", ".join(map(str, allowed))
    hint = _unquote_hint(value, lambda number: check_choice(name, number, allowed))
    message = f"must be one of {listed}{where} (got {shown(value)}){hint}"
    return (Violation(name, value, "allowed", message),)


def check_range(name: str, value: object, low: int, high: int) -> Violations:
    """Return a violation unless value is an integer between low and high."""
    if is_int(value) and low <= value <= high:
        return ()
    hint = _unquote_hint(value, lambda number: check_range(name, number, low, high))
    message = f"must be a whole number from {low} to {high} (got {shown(value)}){hint}"
    return (Violation(name, value, "range", message),)


def check_minimum(name: str, value: object, low: int) -> Violations:
    """Return a violation unless value is an integer from low on."""
    if is_int(value) and value >= low:
        return ()
    hint = _unquote_hint(value, lambda number: check_minimum(name, number, low))
    message = f"must be a whole number, {low} or more (got {shown(value)}){hint}"
    return (Violation(name, value, "range", message),)


def _unquote_hint(value: object, check: Callable[[int], Violations]) -> str:
    """Return what to write, where value is a text of the very number that will do."""
    if not isinstance(value, str) or not (value.isdecimal() and len(value) < 10):
        return ""
    return "" if check(int(value)) else f"; write {int(value)} without quotes"


def check_prompt(name: str, value: object, longest: int) -> Violations:
    """Return a violation unless value is a text that is neither blank nor too long."""
    return check_text(name, value, longest, "must not be blank: describe what should be seen")


def check_text(
    name: str, value: object, longest: int, blank: str = "must not be blank"
) -> Violations:
    """Return a violation unless value is a text that is neither blank nor too long."""
    if not isinstance(value, str):
        return (Violation(name, value, "type", f"must be a string (got {shown(value)})"),)
    if not value or value.isspace():
        return (Violation(name, value, "required", blank),)
    if len(value) > longest:
        message = f"must be at most {longest} characters (got {len(value)})"
        return (Violation(name, value, "length", message),)
    if not is_text(value):
        message = "must be valid text: it contains half of a character (a lone surrogate)"
        return (Violation(name, value, "text", message),)
    return ()


def check_url(name: str, value: object) -> Violations:
    """Return a violation unless value is one absolute http(s) URL."""
    if is_url(value):
        if not ("," in value or ";" in value) or not _SEVERAL_URLS.search(value):
            return ()
        message = (
            f"must be one URL (got several in one string: {shown(value)}); give several as a "
            "list, and write a comma or semicolon that belongs to a URL as %2C or %3B"
        )
    elif isinstance(value, HasResults):
        message = f"{value!r} has no such result; wait until one that makes it has succeeded"
    elif to_items(value) is not None:
        message = f"must be one URL, not a list (got {shown(value)})"
    else:
        message = f"must be an absolute http(s) URL with a host (got {shown(value)})"
    return (Violation(name, value, "url", message),)


def check_source(name: str, value: object) -> Violations:
    """Return a violation unless value is a URL or a local path, which is uploaded later."""
    if value.__class__ is not str and isinstance(value, PurePath):
        if value.as_posix().isprintable():
            return ()
        message = f"must be a path of printable characters (got {shown(value)}); rename the file"
        return (Violation(name, value, "text", message),)
    found = check_url(name, value)
    if not found:
        return ()
    if is_url(value) or isinstance(value, HasResults) or to_items(value) is not None:
        return found
    hint = "for a local file give a pathlib.Path"
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "read"):
        hint = "upload it first, and give the URL that Keevx.upload() returns"
    elif isinstance(value, str) and value[:5].lower() == "data:":
        hint = "data: URIs are not supported: save the image as a file, and give its pathlib.Path"
    return (Violation(name, value, "url", f"{found[0].message}; {hint}"),)


def check_flag(name: str, value: object) -> Violations:
    """Return a violation unless value is a bool."""
    if isinstance(value, bool):
        return ()
    return (Violation(name, value, "type", f"must be true or false (got {shown(value)})"),)


def check_each(name: str, value: object, check: Check, most: int | None = None) -> Violations:
    """Return what check finds in a list, and a violation where it holds more than most."""
    if not isinstance(value, tuple):
        return (Violation(name, value, "type", not_a_list(value)),)
    several = cast(tuple[object, ...], value)
    found = tuple(
        one for number, each in enumerate(several) for one in check(f"{name}[{number}]", each)
    )
    if most is None or len(several) <= most:
        return found
    message = f"must have at most {most} items (got {len(several)})"
    return (*found, Violation(name, value, "count", message))


def not_a_list(value: object, what: str = "a list") -> str:
    """Return the message of a violation by a value that should be a list."""
    if isinstance(value, str):
        return f"must be {what} (got the string {shown(value)}): write [{shown(value)}]"
    return f"must be {what} (got {shown(value)})"


def key_of(value: object) -> str | None:
    """Return the key that a caller gives a create, or None for one of our own.

    Raises:
        InvalidRequest: it is not a text, or an empty one.
    """
    found = () if value is None else check_text("key", value, longest=LONGEST_KEY)
    if found:
        raise InvalidRequest(found)
    return to_text(cast("str", value))


def task_id_of(name: str, value: object) -> str:
    """Return value if it can be a task's id.

    Raises:
        InvalidRequest: it cannot.
    """
    found = check_text(name, value, longest=LONGEST_ID)
    if not found:
        return to_text(cast(str, value))
    attribute = next((one for one in ("task_id", "task_ids") if hasattr(value, one)), None)
    if attribute is not None:
        message = f"must be a task's id (got a {type(value).__name__}): give its {attribute}"
        found = (Violation(name, value, "type", message),)
    raise InvalidRequest(found)


def task_ids_of(value: object) -> tuple[str, ...]:
    """Return the task ids in a list, or in another iterable.

    Raises:
        InvalidRequest: it is not one, such as a single id, whose letters are no ids.
    """
    items = tuple(value) if isinstance(value, set | frozenset) else to_items(value)
    if items is None:
        message = not_a_list(value, "a list of task ids")
        if hasattr(value, "task_ids"):
            message += "; give its task_ids"
        elif hasattr(value, "task_id"):
            message += "; give a list with its task_id"
        raise InvalidRequest([Violation("task_ids", value, "type", message)])
    return tuple([task_id_of(f"task_ids[{number}]", one) for number, one in enumerate(items)])

"""The checks for request fields.

A check accepts a field's name and value, and returns a ``Violation`` for each broken rule. It never
raises, and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeGuard, cast

from ..errors import InvalidRequest, Violation
from .converters import HasResults, to_items, to_text
from .object_path import ObjectPath

MAX_KEY = 10_000
"""The maximum length of a create's key, which is stored in the journal and printed in errors."""
MAX_ID = 1_000
"""The maximum number of characters in a task id from a caller; Keevx's own ids are much shorter."""
MAX_SHOWN = 200
"""The maximum number of characters that a message quotes from a value: some values, such as data:
URIs, may contain a whole image."""

# The user name is optional and tried last: almost no URL has one.
_URL = re.compile(
    r"(?i:https?)://(?:[^\s/?#@\\]*@)??(?:\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]\\]+)"
    r"(?::(\d{1,5}))?(?:[/?#]\S*)?"
)
# Several URLs in one string: a cell that was not split would be paid for as a single URL.
_SEVERAL_URLS = re.compile(r"[,;]https?:/", re.IGNORECASE)

_CHOICE_TYPES = (str, int)

Violations = tuple[Violation, ...]
"""A check's return value. It is almost always empty, so that case must cost next to nothing."""
Check = Callable[[str, Any], Violations]
"""A function that checks a field's name and value. A request class has one check for each field."""


def is_url(value: object) -> TypeGuard[str]:
    """Return whether value is an absolute http(s) URL with a host.

    Spaces, control characters and ports above 65535 are rejected. User names are allowed.
    """
    if not isinstance(value, str) or not value.isprintable():
        return False
    match = _URL.fullmatch(value)
    return match is not None and int(match[1] or 0) <= 65535


def is_int(value: object) -> TypeGuard[int]:
    """Return whether value is an integer. A bool does not count, although it is one in Python."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8, that is, has no lone surrogates."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def shown(value: object) -> str:
    """Return a value's repr, truncated to ``MAX_SHOWN`` characters, for use in a message."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def is_choice(value: object, allowed: tuple[Any, ...]) -> bool:
    """Return whether value is an allowed string or integer; True is not 1, and 6.0 is not 6."""
    return value.__class__ in _CHOICE_TYPES and value in allowed


def check_choice(name: str, value: object, allowed: tuple[Any, ...], where: str = "") -> Violations:
    """Check that value is one of the allowed values, and of the same type.

    Args:
        name: the field's name.
        value: the field's value.
        allowed: the accepted values.
        where: text to append to the list in the message, such as " for model V".
    """
    if is_choice(value, allowed):
        return ()
    choices = ", ".join(map(str, allowed))
    hint = _unquote_hint(value, lambda number: check_choice(name, number, allowed))
    message = f"must be one of {choices}{where} (got {shown(value)}){hint}"
    return (Violation(name, value, "allowed", message),)


def check_range(name: str, value: object, minimum: int, maximum: int) -> Violations:
    """Check that value is an integer from minimum to maximum, both included."""
    if is_int(value) and minimum <= value <= maximum:
        return ()
    hint = _unquote_hint(value, lambda number: check_range(name, number, minimum, maximum))
    message = f"must be a whole number from {minimum} to {maximum} (got {shown(value)}){hint}"
    return (Violation(name, value, "range", message),)


def check_minimum(name: str, value: object, minimum: int) -> Violations:
    """Check that value is an integer of at least minimum."""
    if is_int(value) and value >= minimum:
        return ()
    hint = _unquote_hint(value, lambda number: check_minimum(name, number, minimum))
    message = f"must be a whole number, {minimum} or more (got {shown(value)}){hint}"
    return (Violation(name, value, "range", message),)


def _unquote_hint(value: object, check: Callable[[int], Violations]) -> str:
    """Return a hint if value would be valid as a number without quotes; otherwise ""."""
    if not isinstance(value, str) or not (value.isdecimal() and len(value) < 10):
        return ""
    return "" if check(int(value)) else f"; write {int(value)} without quotes"


def check_prompt(name: str, value: object, max_length: int) -> Violations:
    """Check that value is a non-blank string of 1 to max_length characters."""
    return check_text(name, value, max_length, "must not be blank: describe what to show")


def check_text(
    name: str, value: object, max_length: int, blank: str = "must not be blank"
) -> Violations:
    """Check that value is a non-blank string of 1 to max_length characters.

    Args:
        name: the field's name.
        value: the field's value.
        max_length: the maximum number of characters, as Python counts them.
        blank: the message for a blank string.
    """
    if not isinstance(value, str):
        return (Violation(name, value, "type", f"must be a string (got {shown(value)})"),)
    if not value or value.isspace():
        return (Violation(name, value, "required", blank),)
    if len(value) > max_length:
        message = f"must be at most {max_length} characters (got {len(value)})"
        return (Violation(name, value, "length", message),)
    if not (value.isascii() or is_text(value)):
        message = "must be valid text: it contains half of a character (a lone surrogate)"
        return (Violation(name, value, "text", message),)
    return ()


def check_url(name: str, value: object) -> Violations:
    """Check that value is one absolute http(s) URL.

    A list gets its own message, and so do several URLs in one string, because both are common
    mistakes in spreadsheets.
    """
    # The regular expression is slow, so it runs only if the URL contains a possible separator.
    if is_url(value):
        if not ("," in value or ";" in value) or not _SEVERAL_URLS.search(value):
            return ()
        message = (
            f"must be one URL (got several in one string: {shown(value)}); pass several as a "
            "list, and write a comma or semicolon that belongs to a URL as %2C or %3B"
        )
    elif isinstance(value, HasResults):
        message = f"{value!r} has no such result; wait until a task that makes one has succeeded"
    elif to_items(value) is not None:
        message = f"must be one URL, not a list (got {shown(value)})"
    else:
        message = f"must be an absolute http(s) URL with a host (got {shown(value)})"
    return (Violation(name, value, "url", message),)


def check_source(name: str, value: object) -> Violations:
    """Check that value is a URL, a local path or the address of an object in storage.

    A file or object is uploaded when the request is submitted, and only then is its existence
    checked. Bytes, open files and data: URIs are rejected, with a hint on how to pass them.
    """
    if isinstance(value, ObjectPath) and not (value.key and value.bucket_url[5:]):
        message = f"must name a bucket and an object in it (got {shown(str(value))})"
        return (Violation(name, value, "url", message),)
    if value.__class__ is not str and isinstance(value, PurePath):
        if value.as_posix().isprintable():
            return ()
        message = f"must be a path of printable characters (got {shown(value)}); rename the file"
        return (Violation(name, value, "text", message),)
    # A value that is neither a path nor a URL gets a hint by its form: bytes and open files are
    # uploaded by a separate call, a data: URI contains a file, and any other string may be a path.
    broken = check_url(name, value)
    if not broken:
        return ()
    if is_url(value) or isinstance(value, HasResults) or to_items(value) is not None:
        return broken
    hint = "pass a local file as a pathlib.Path"
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "read"):
        hint = "upload it first, and pass the URL that Keevx.upload() returns"
    elif isinstance(value, str) and value[:5].lower() == "data:":
        hint = "data: URIs are not supported: save the image as a file, and pass its pathlib.Path"
    return (Violation(name, value, "url", f"{broken[0].message}; {hint}"),)


def check_flag(name: str, value: object) -> Violations:
    """Check that value is True or False; 1 and 0 are rejected."""
    if isinstance(value, bool):
        return ()
    return (Violation(name, value, "type", f"must be true or false (got {shown(value)})"),)


def check_each(name: str, value: object, check: Check, max_items: int | None = None) -> Violations:
    """Check every item in a list, and the number of items.

    Args:
        name: the field's name; the second item is reported as ``name[1]``.
        value: the field's value; a list has already been converted to a tuple.
        check: the check for each item.
        max_items: the maximum number of items; None for no limit.
    """
    if not isinstance(value, tuple):
        return (Violation(name, value, "type", not_a_list(value)),)
    items = cast(tuple[object, ...], value)
    broken = tuple(
        violation
        for number, item in enumerate(items)
        for violation in check(f"{name}[{number}]", item)
    )
    if max_items is None or len(items) <= max_items:
        return broken
    message = f"must have at most {max_items} items (got {len(items)})"
    return (*broken, Violation(name, value, "count", message))


def not_a_list(value: object, what: str = "a list") -> str:
    """Return the message for a value that should be a list; for a string, it has an example."""
    if isinstance(value, str):
        return f"must be {what} (got the string {shown(value)}): write [{shown(value)}]"
    return f"must be {what} (got {shown(value)})"


def key_of(value: object) -> str | None:
    """Return the key that a caller passed for a create, or None if a key must be generated.

    Raises:
        InvalidRequest: the key is not a string, is blank, or has more than ``MAX_KEY`` characters.
    """
    broken = () if value is None else check_text("key", value, max_length=MAX_KEY)
    if broken:
        raise InvalidRequest(broken)
    return to_text(cast("str", value))


def task_id_of(name: str, value: object) -> str:
    """Return value if it can be a task id.

    Args:
        name: the argument's name, for the message.
        value: the value that the caller passed. A ``Task`` or ``Submission`` is rejected with a
            hint.

    Raises:
        InvalidRequest: value cannot be a task id.
    """
    broken = check_text(name, value, max_length=MAX_ID)
    if not broken:
        return to_text(cast(str, value))
    # Passing the Task or the Submission instead of its id is the usual mistake.
    attribute = next((each for each in ("task_id", "task_ids") if hasattr(value, each)), None)
    if attribute is not None:
        message = f"must be a task's id (got a {type(value).__name__}): pass its {attribute}"
        broken = (Violation(name, value, "type", message),)
    raise InvalidRequest(broken)


def task_ids_of(value: object) -> tuple[str, ...]:
    """Return the task ids in a list, a set or another iterable.

    Raises:
        InvalidRequest: value is not an iterable, or an item is not an id. A single string is
            rejected, because its letters are not ids.
    """
    unordered = issubclass(type(value), set | frozenset)  # to_items rejects these
    items = tuple(cast("set[object]", value)) if unordered else to_items(value)
    if items is None:
        message = not_a_list(value, "a list of task ids")
        if hasattr(value, "task_ids"):
            message += "; pass its task_ids"
        elif hasattr(value, "task_id"):
            message += "; pass a list with its task_id"
        raise InvalidRequest([Violation("task_ids", value, "type", message)])
    return tuple([task_id_of(f"task_ids[{number}]", item) for number, item in enumerate(items)])

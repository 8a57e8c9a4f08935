"""Reads task ids from arguments, files or standard input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from keevx_async.errors import ConfigurationError
from keevx_async.transfer.addresses import is_url

from .sources import STDIN, detect_encoding, open_source

FILE_MARK = "@"
"""The prefix of an argument that names a file of ids."""
LINES = (".jsonl", ".ndjson")
"""Suffixes of files that need no prefix, since no task id ends with these suffixes."""


def read_task_ids(arguments: Iterable[str]) -> list[str]:
    """Return the task ids in the arguments, in order.

    1. ``-`` is standard input, and ``@FILE`` or a name that ends in ``.jsonl`` is a file. Each
       line is an id, or a JSON object with ``task_ids`` or ``task_id``, as in ``results.jsonl`` and
       the output of ``--json``. Blank lines and other objects are skipped.
    2. Anything else is an id, or the URL of a result.

    Files are read to their end.

    Raises:
        ConfigurationError: a file cannot be read or has an invalid line, or there are no ids.
    """
    ids: list[str] = []
    names: list[str] = []
    for argument in arguments:
        is_file = argument.startswith(FILE_MARK) or argument.lower().endswith(LINES)
        if argument in (STDIN, f"./{STDIN}"):  # `explicit` turns the first into the second
            path = Path(STDIN)
        elif is_file and not is_url(argument):
            path = Path(argument.removeprefix(FILE_MARK)).expanduser()
        else:
            ids.append(argument)
            continue
        with open_source(path, None) as source:
            try:
                data = source.path.read_bytes()
                text = data.decode(detect_encoding(data[:4]))
            except OSError as error:
                raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ConfigurationError(f"{source.name} is not UTF-8 text") from None
            names.append(source.name)
            ids += _ids_of(text, source.name)
    if names and not ids:
        raise ConfigurationError(f"there are no task ids in {' or '.join(names)}")
    return ids


def _ids_of(text: str, name: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        if not (line := line.strip()):
            continue
        if not line.startswith("{"):
            if len(line.split()) > 1:
                raise _line_error(
                    name, number, "one task id per line, or JSON lines (--json)", line
                )
            yield line
            continue
        try:
            item = json.loads(line)
        except ValueError:
            raise _line_error(name, number, "a JSON object", line) from None
        ids: Any = item.get("task_ids", [item["task_id"]] if "task_id" in item else [])
        if not isinstance(ids, list) or not all(
            isinstance(each, str) for each in cast("list[object]", ids)
        ):
            raise _line_error(name, number, "task_ids as a list of strings", line)
        yield from cast("list[str]", ids)


def _line_error(name: str, number: int, expected: str, line: str) -> ConfigurationError:
    got = line if len(line) <= 60 else f"{line[:60]}…"
    return ConfigurationError(f"{name}:{number}: expected {expected} (got {got!r})")

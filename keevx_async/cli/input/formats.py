"""Forms of prompt files: JSON and CSV, read record by record, each with the line it begins on.

The readers are pure: they take text and return rows. ``sources`` opens files.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import tee
from typing import IO, Any, cast

from attrs import fields_dict

from keevx_async.models.registry import REQUESTS

from .csv_types import KEY, KIND, parse_cells

DELIMITERS = (",", ";", "\t")
NOT_TEXT = 'is not UTF-8 text; save the file as UTF-8 (in Excel: "CSV UTF-8")'

_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?[\s,;]*', re.IGNORECASE)
_COMPUTED_ERROR = re.compile(r"#[A-Z0-9/À-Þ]+[!?]|#N/A|#NV|#{3,}")
"""What a spreadsheet writes where a formula failed (``- a dog`` is one), or a column is narrow."""
_INVISIBLE = "\ufeff\u200b"
_CSV_FAULTS = {
    "unexpected end of data": "a quoted cell is not closed; a quotation mark is missing",
    "expected after": 'a quotation mark inside a quoted cell must be doubled: ""',
    "field limit": "a cell is far too long; perhaps a quotation mark is missing",
}
_NOT_BLANK = re.compile(r"\S")


class BadLine(Exception):
    """A line that is no request; says why."""

    def __init__(self, line: int, messages: tuple[str, ...]) -> None:
        super().__init__(line, messages)
        self.line = line
        self.messages = messages


Row = tuple[int, dict[str, Any] | BadLine]


def is_json(file: IO[str]) -> bool:
    """Tell JSON by its first letter: no header of ours begins with a bracket."""
    begins = file.read(4096).lstrip().startswith(("{", "["))
    file.seek(0)
    return begins


def read_json(file: IO[str]) -> Iterator[Row]:
    """Yield the objects of a JSON file.

    1. The text begins with ``[``: an array, whose elements are the rows.
    2. Its first line is ``{`` alone: objects spread over lines, as ``jq`` and
       ``json.dumps(..., indent=2)`` write them.
    3. Anything else: JSON lines, an object a line. A bad line leaves the others alone.

    Args:
        file: at its beginning; can be read twice.
    """
    first = next((line for text in file if (line := text.strip())), "")
    file.seek(0)
    if first.startswith("[") or first == "{":
        yield from _json_values(file.read())
        return
    for number, text in enumerate(file, 1):
        if stripped := text.strip():
            try:
                yield number, _object(number, json.loads(_valid(stripped)))
            except (ValueError, RecursionError) as error:
                yield number, BadLine(number, (_json_fault(error),))


def _json_values(text: str) -> Iterator[Row]:
    """Yield the elements of an array, or objects one after the other; stop at a fault.

    What follows a fault in the syntax cannot be told from what belongs to it.
    """
    decoder = json.JSONDecoder()
    position = _past_blanks(text, 0)
    is_array = text.startswith("[", position)
    position += is_array
    line = 1 + text.count("\n", 0, position)
    while True:
        begin = _past_blanks(text, position)
        line += text.count("\n", position, begin)
        if is_array and text.startswith("]", begin):
            if text[begin + 1 :].strip():
                yield line, BadLine(line, ("has text after the array's end",))
            return
        if begin == len(text):
            if is_array:
                yield line, BadLine(line, ("the array has no end: a ] is missing",))
            return
        try:
            value, end = decoder.raw_decode(text, begin)
            _valid(text[begin:end])
        except json.JSONDecodeError as error:
            yield error.lineno, BadLine(error.lineno, (_json_fault(error),))
            return
        except (ValueError, RecursionError) as error:
            yield line, BadLine(line, (_json_fault(error),))
            return
        yield line, _object(line, value)
        position = _past_blanks(text, end)
        line += text.count("\n", begin, position)
        if is_array and not text.startswith("]", position):
            if not text.startswith(",", position) and position < len(text):
                yield line, BadLine(line, ("a comma is missing before this element",))
                return
            position += 1


def _past_blanks(text: str, position: int) -> int:
    found = _NOT_BLANK.search(text, position)
    return len(text) if found is None else found.start()


def _object(line: int, value: Any) -> dict[str, Any] | BadLine:
    return value if isinstance(value, dict) else BadLine(line, ("is no JSON object",))


def _json_fault(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return NOT_TEXT
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON at column {error.colno}: {error.msg}"
    return "is no JSON"


def _valid(text: str) -> str:
    """Return text if it was valid in its encoding; bytes that were not came as lone surrogates."""
    if not text.isascii():
        text.encode()
    return text


def read_csv(lines: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of a table with a header, as spreadsheets save it.

    Which delimiter it has is decided by its header, not guessed from how its text looks:

    1. The first line is ``sep=;``, as Excel reads and writes it: the delimiter is what it says.
    2. Otherwise it is the one among comma, semicolon and tab with which the most names of the
       header are fields; of two such, the one that makes more columns; of two such, the first.

    A header's name counts without blanks around it, and in any case of letters. What is empty
    says nothing: a row of empty cells, a column without a name, cells beyond the header. What
    is not empty and has no name is an error. A fault of the header is the only one reported,
    for every row would repeat it.

    Args:
        lines: with their ends, as a file opened with ``newline=""`` yields them.
    """
    ours, first_lines = tee(map(_valid, lines))
    try:
        separator = _SEPARATOR_LINE.fullmatch(next(first_lines, ""))
    except UnicodeError:
        separator = None
    del first_lines
    if separator:
        next(ours)
        yield from _table(ours, separator[1], lines_before=1)
        return
    ours, *copies = tee(ours, 1 + len(DELIMITERS))
    headers = [_header(copy, one) for copy, one in zip(copies, DELIMITERS, strict=True)]
    del copies  # a copy keeps all that the others have read since
    known = _fields()
    scores = [(sum(name in known for name in header), len(header)) for header in headers]
    yield from _table(ours, DELIMITERS[scores.index(max(scores))], lines_before=0)


def _header(lines: Iterator[str], delimiter: str) -> list[str]:
    try:
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            if any(map(str.strip, cells)):
                return [_name(cell) for cell in cells]
    except (csv.Error, UnicodeError):
        pass
    return []


def _table(lines: Iterator[str], delimiter: str, lines_before: int) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        begin = lines_before + reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except UnicodeError:
            line = lines_before + reader.line_num + 1  # it counts what it was given
            yield line, BadLine(line, (NOT_TEXT,))
            return
        except csv.Error as error:
            said = next((how for what, how in _CSV_FAULTS.items() if what in str(error)), error)
            yield begin, BadLine(begin, (f"is no CSV: {said}",))
            return
        if not any(cells):
            continue
        if header:
            yield begin, _record(begin, header, cells)
            continue
        header = [_name(cell) for cell in cells]
        if faults := tuple(_header_faults(header)):
            yield begin, BadLine(begin, faults)
            return


def _fields() -> dict[str, None]:
    """Return every field of every kind of request, and the two that a line has besides."""
    fields = dict.fromkeys((KIND, KEY))
    for request in REQUESTS.values():
        fields |= dict.fromkeys(fields_dict(cast(Any, request)))
    return fields


def _name(cell: str) -> str:
    name = cell.strip().strip(_INVISIBLE).strip()
    return name.lower() if name.lower() in _fields() else name


def _header_faults(header: Sequence[str]) -> Iterator[str]:
    known = _fields()
    names = Counter(name for name in header if name)
    if not any(name in known for name in names):
        yield f"must be the header, which names the fields; {next(iter(names))[:50]!r} is not one"
        return
    for name, count in names.items():
        if count > 1:
            yield f"{name}: has two columns"
        if name not in known:
            nearest = get_close_matches(name.lower(), known, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
            yield f"unknown field {name[:50]!r}: {hint}"


def _record(line: int, header: Sequence[str], cells: Sequence[str]) -> dict[str, Any] | BadLine:
    faults: list[str] = []
    if any(cells[len(header) :]):
        faults.append("has more cells than the header")
    row: dict[str, str] = {}
    for number, (name, cell) in enumerate(zip(header, cells, strict=False), 1):
        if not cell:
            continue
        if not name:
            faults.append(f"column {number} has no name, and holds {cell[:50]!r}")
        elif _COMPUTED_ERROR.fullmatch(cell):
            faults.append(f"{name}: {cell!r} is an error of the spreadsheet; correct the cell")
        else:
            row[name] = cell
    return BadLine(line, tuple(faults)) if faults else parse_cells(row)

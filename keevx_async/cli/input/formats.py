"""Reads text, JSON and CSV row by row, with each row's starting line number.

The readers are pure functions from text to rows. ``sources`` opens the files.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import IO, Any, Literal, cast

from .columns import Columns
from .csv_types import parse_cells

COMMENT = "#"
DELIMITERS = (",", ";", "\t")
NOT_TEXT = 'is not UTF-8 text; save the file as UTF-8 (in Excel: "CSV UTF-8")'

_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?[\s,;]*', re.IGNORECASE)
_COMPUTED_ERROR = re.compile(r"#[A-Z0-9/À-Þ]+[!?]|#N/A|#NV|#{3,}")
"""The text that spreadsheets save for a failed formula (as in ``- a dog``) or a narrow column."""
_INVISIBLE = "\ufeff\u200b"
_CSV_ERRORS = {
    "unexpected end of data": "a quoted cell is not closed; a quotation mark is missing",
    "expected after": 'a quotation mark inside a quoted cell must be doubled: ""',
    "field limit": "a cell is far too long; a quotation mark may be missing",
}
_OBJECT = re.compile(r'\{(?:\s*"|\s*$)|\[(?:\s*\{|\s*$)')
_CSV_COMMENT = re.compile(r'\s*"?#(?!"?[,;\t])')
_NOT_BLANK = re.compile(r"\S")


class BadLine(Exception):
    """A line that does not contain a valid request.

    Readers yield it instead of a row, so one bad line does not hide later problems.

    Attributes:
        line: the line number, from 1.
        messages: one message for each problem.
    """

    def __init__(self, line: int, messages: tuple[str, ...]) -> None:
        super().__init__(line, messages)
        self.line = line
        self.messages = messages


Row = tuple[int, dict[str, Any] | BadLine]
Format = Literal["jsonl", "csv", "txt"]


def detect_format(file: IO[str], columns: Columns, *, is_text: bool) -> Format:
    """Detect a file's format from its first line with content.

    1. The line starts with a bracket: JSON. A prompt may also start with a bracket, so in a file
       with a text suffix the line must look like the start of an object or of an array of objects.
    2. One of the line's cells is a column name: CSV. Spreadsheets also save tables as .txt.
    3. Otherwise, a file with a text suffix is text, and any other file is CSV, whose reader will
       report the missing header. A list of prompts is not assumed, because each prompt would
       be paid for.

    Args:
        file: the file, positioned at its start; it is rewound afterwards.
        columns: the columns that a table may have.
        is_text: whether the file has a text suffix.
    """
    first = next((text for line in file if _has_content(text := line.strip())), "")
    file.seek(0)
    if _OBJECT.match(first) or (first.startswith(("{", "[")) and not is_text):
        return "jsonl"
    values = (value for delimiter in DELIMITERS for value in first.split(delimiter))
    if not is_text or any(_column(columns, value.strip('"')) in columns for value in values):
        return "csv"
    return "txt"


def _has_content(line: str) -> bool:
    return bool(line) and not line.startswith(COMMENT)


def read_text(file: Iterable[str]) -> Iterator[Row]:
    """Yield a row for each line, with the line as its prompt.

    Blank lines and comments, which start with ``#``, are skipped. To start a prompt with ``#``,
    put a backslash before it. Spaces around a prompt are removed.
    """
    for number, text in enumerate(file, 1):
        prompt = text.strip().strip(_INVISIBLE)
        if not _has_content(prompt):
            continue
        if prompt.startswith("\\" + COMMENT):
            prompt = prompt[1:]
        try:
            yield number, {"prompt": _valid(prompt)}
        except UnicodeError:
            yield number, BadLine(number, (NOT_TEXT,))


def read_json(file: IO[str]) -> Iterator[Row]:
    """Yield the objects in a JSON file.

    1. The text starts with ``[``: an array, whose elements are the rows.
    2. The first line is just ``{``: objects span several lines, as ``jq`` and
       ``json.dumps(..., indent=2)`` write them.
    3. Anything else is JSON lines, one object per line. A bad line does not affect the others, and
       a line that starts with ``#`` is a comment.

    Args:
        file: a seekable file, positioned at its start.
    """
    first = next((line for text in file if (line := text.strip())), "")
    file.seek(0)
    if first.startswith("[") or first == "{":
        yield from _read_json_values(file.read())
        return
    for number, text in enumerate(file, 1):
        if _has_content(stripped := text.strip()):
            try:
                yield number, _object(number, json.loads(_valid(stripped)))
            except (ValueError, RecursionError) as error:
                yield number, BadLine(number, (_json_error(error),))


def _read_json_values(text: str) -> Iterator[Row]:
    """Yield the elements of an array, or a sequence of objects; stop at the first error.

    After a syntax error, the start of the next element is unknown.
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
                yield line, BadLine(line, ("unexpected text after the end of the array",))
            return
        if begin == len(text):
            if is_array:
                yield line, BadLine(line, ("the array is not closed: a ] is missing",))
            return
        try:
            value, end = decoder.raw_decode(text, begin)
            _valid(text[begin:end])
        except json.JSONDecodeError as error:
            yield error.lineno, BadLine(error.lineno, (_json_error(error),))
            return
        except (ValueError, RecursionError) as error:
            yield line, BadLine(line, (_json_error(error),))
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
    match = _NOT_BLANK.search(text, position)
    return len(text) if match is None else match.start()


def _object(line: int, value: Any) -> dict[str, Any] | BadLine:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    return BadLine(line, ("must be a JSON object",))


def _json_error(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return NOT_TEXT
    if isinstance(error, json.JSONDecodeError):
        return f"invalid JSON at column {error.colno}: {error.msg}"
    return "invalid JSON"


def _valid(text: str) -> str:
    """Return the text; raise ``UnicodeError`` if it contains a lone surrogate (a bad byte)."""
    if not text.isascii():
        text.encode()
    return text


def read_csv(
    lines: Iterable[str], columns: Columns | None = None, kind: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a CSV table that has a header.

    The start of the file determines the delimiter:

    1. A first line such as ``sep=;``, which Excel reads and writes, sets the delimiter.
    2. Otherwise, the delimiter is the comma, semicolon or tab that yields the most known column
       names in the header; if tied, the most columns; if still tied, the first.

    Column names are matched with ``Columns.name``. Empty rows, empty columns without a name, empty
    cells beyond the header, and lines above the header that start with ``#`` are ignored. A
    non-empty cell without a column name is an error. If the header has errors, only these are
    reported, because every row would repeat them.

    Args:
        lines: the lines with their line endings, as from a file opened with ``newline=""``.
        columns: the allowed columns; by default the request fields.
        kind: the kind for rows that do not set one.
    """
    columns = columns or Columns()
    # An unread copy buffers every line that the other has read, so this copy is deleted early.
    valid_lines, first_lines = tee(map(_valid, lines))
    try:
        separator = _SEPARATOR_LINE.fullmatch(next(first_lines, ""))
    except UnicodeError:
        separator = None
    del first_lines
    if separator:
        next(valid_lines)
        yield from _read_table(valid_lines, separator[1], columns, kind, lines_before=1)
        return
    valid_lines, *copies = tee(_blank_comments(valid_lines), 1 + len(DELIMITERS))
    headers = [
        _read_header(copy, delimiter, columns)
        for copy, delimiter in zip(copies, DELIMITERS, strict=True)
    ]
    del copies
    scores = [(sum(name in columns for name in header), len(header)) for header in headers]
    delimiter = DELIMITERS[scores.index(max(scores))]
    yield from _read_table(valid_lines, delimiter, columns, kind, lines_before=0)


def _blank_comments(lines: Iterable[str]) -> Iterator[str]:
    """Replace the comments above the header with blank lines, which keeps line numbers correct.

    Below the header, a ``#`` is part of its cell. A header may start with a column named ``#``.
    """
    above_header = True
    for line in lines:
        is_comment = above_header and _CSV_COMMENT.match(line)
        above_header = above_header and bool(is_comment or not line.strip())
        yield "\n" if is_comment else line


def _read_header(lines: Iterator[str], delimiter: str, columns: Columns) -> list[str]:
    """Return the column names for a delimiter; an empty list if the header cannot be read."""
    try:
        for row in csv.reader(lines, delimiter=delimiter, strict=True):
            if any(map(str.strip, row)):
                return [_column(columns, cell) for cell in row]
    except (csv.Error, UnicodeError):
        pass
    return []


def _read_table(
    lines: Iterator[str], delimiter: str, columns: Columns, kind: str | None, lines_before: int
) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        begin = lines_before + reader.line_num + 1
        try:
            values = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except UnicodeError:
            line = lines_before + reader.line_num + 1  # the bad line was not counted
            yield line, BadLine(line, (NOT_TEXT,))
            return
        except csv.Error as error:
            message = next(
                (text for part, text in _CSV_ERRORS.items() if part in str(error)), error
            )
            yield begin, BadLine(begin, (f"invalid CSV: {message}",))
            return
        if not any(values):
            continue
        if header:
            record = _read_record(begin, header, values)
            yield begin, record if isinstance(record, BadLine) else parse_cells(record, kind)
            continue
        header = [_column(columns, value) for value in values]
        if messages := tuple(_check_header(header, columns)):
            yield begin, BadLine(begin, messages)
            return


def _column(columns: Columns, cell: str) -> str:
    return columns.name(cell.strip().strip(_INVISIBLE).strip())


def _check_header(header: Sequence[str], columns: Columns) -> Iterator[str]:
    names = Counter(name for name in header if name)
    # If no name is known, the first row is data and the header is missing. Reporting each cell as
    # an unknown field would hide that.
    if not any(name in columns for name in names):
        first = next(iter(names))[:50]
        yield (
            f"must be a header with field names ({first!r} is not one); "
            "for a list of prompts, one per line, use --format txt"
        )
        return
    is_first = True
    for name, count in names.items():
        if count > 1:
            yield f"{name}: must be one column (got {count})"
        if name not in columns:
            yield columns.unknown(name, suggest_all=is_first)
            is_first = False


def _read_record(
    line: int, header: Sequence[str], values: Sequence[str]
) -> dict[str, str] | BadLine:
    messages: list[str] = []
    if any(values[len(header) :]):
        messages.append("has more cells than the header")
    row: dict[str, str] = {}
    for number, (name, value) in enumerate(zip(header, values, strict=False), 1):
        if not value:
            continue
        if not name:
            messages.append(f"column {number} has no name but contains {value[:50]!r}")
        elif _COMPUTED_ERROR.fullmatch(value):
            messages.append(f"{name}: {value!r} is a spreadsheet error; correct the cell")
        else:
            row[name] = value
    return BadLine(line, tuple(messages)) if messages else row

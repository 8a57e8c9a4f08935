"""Reads text, JSON and CSV record by record, each with the number of the line it begins on.

The readers are pure: they take text and yield rows. ``sources`` opens the files.
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
"""What a spreadsheet saves for a formula that failed (``- a dog`` is one) or a narrow column."""
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
    """A line that is not a request.

    Readers yield it in place of a row, so that one bad line does not hide the next.

    Attributes:
        line: its number, from 1.
        messages: what is wrong with it, one message for each problem.
    """

    def __init__(self, line: int, messages: tuple[str, ...]) -> None:
        super().__init__(line, messages)
        self.line = line
        self.messages = messages


Row = tuple[int, dict[str, Any] | BadLine]
Format = Literal["jsonl", "csv", "txt"]


def detect_format(file: IO[str], columns: Columns, *, is_text: bool) -> Format:
    """Return the format of a file whose name does not say it, by its first line with content.

    1. It begins with a bracket: JSON. A prompt may begin with one too, so that a file that is
       named as text must begin like an object or an array of objects.
    2. One of its cells is the name of a column: CSV. Spreadsheets save tables as .txt, too.
    3. Anything else is text if the file is named so, and CSV otherwise: its reader then reports
       that the header is missing. A list of prompts is not assumed, because each is paid for.

    Args:
        file: at its beginning before and after.
        columns: the columns that a table may have.
        is_text: whether the file is named as text.
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
    """Yield a row for each line, which is a prompt.

    Blank lines are skipped, and so are comments, which begin with ``#``. A prompt that begins with
    ``#`` is written with a backslash before it. Blanks around a prompt are removed.
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
    """Yield the objects of a JSON file.

    1. The text begins with ``[``: an array, whose elements are the rows.
    2. Its first line is ``{`` alone: objects spread over lines, as ``jq`` and
       ``json.dumps(..., indent=2)`` write them.
    3. Anything else: JSON lines, an object a line. A bad line leaves the others alone, and a line
       that begins with ``#`` is a comment.

    Args:
        file: at its beginning, and seekable.
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
    """Yield the elements of an array, or objects one after the other; stop at an error.

    After a syntax error there is no telling where the next element begins.
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
    """Return text; raise ``UnicodeError`` if a byte of it was not decoded (a lone surrogate)."""
    if not text.isascii():
        text.encode()
    return text


def read_csv(
    lines: Iterable[str], columns: Columns | None = None, kind: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a table with a header, as spreadsheets save it.

    The header alone decides which delimiter is used:

    1. The first line is ``sep=;``, as Excel reads and writes it: the delimiter is what it says.
    2. Otherwise it is the one among comma, semicolon and tab with which the most names of the
       header are known; of two such, the one that makes more columns; of two such, the first.

    Names in the header are matched as ``Columns.name`` does. Empty things are ignored: a row of
    empty cells, a column without a name, cells beyond the header; and lines above the header that
    begin with ``#``.
    A cell that is not empty and has no name is an error. An error in the header is the only one
    reported, because every row would repeat it.

    Args:
        lines: with their ends, as a file opened with ``newline=""`` yields them.
        columns: the columns that there may be; by default the fields.
        kind: the kind of rows that do not name one.
    """
    columns = columns or Columns()
    # An unread copy keeps every line that the others have read since, so it is deleted early.
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
    """Yield lines with the comments above the header as blank ones, so that they are counted.

    Below the header a ``#`` belongs to its cell. A header may begin with a column of that name.
    """
    above_header = True
    for line in lines:
        is_comment = above_header and _CSV_COMMENT.match(line)
        above_header = above_header and bool(is_comment or not line.strip())
        yield "\n" if is_comment else line


def _read_header(lines: Iterator[str], delimiter: str, columns: Columns) -> list[str]:
    """Return the names in the header as this delimiter splits it; none if it cannot."""
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
            line = lines_before + reader.line_num + 1  # the line at fault was not counted
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
    # Without a single known name the first row is data, and the header is missing. To report each
    # of its cells as an unknown field would hide that.
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
            messages.append(f"column {number} has no name but holds {value[:50]!r}")
        elif _COMPUTED_ERROR.fullmatch(value):
            messages.append(f"{name}: {value!r} is a spreadsheet error; correct the cell")
        else:
            row[name] = value
    return BadLine(line, tuple(messages)) if messages else row

"""Forms of prompt files, read without a file: CSV in any dialect, JSON in any layout."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.cli.input.csv_types import parse_cells, ratio_from_time, references
from keevx_async.cli.input.formats import BadLine, Row, read_csv, read_json
from keevx_async.cli.input.sources import NOT_DECODED, detect_encoding

NAMES = ("model", "prompt", "image_url", "aspect_ratio", "aspect_resolution", "duration")
HEADER = ",".join(NAMES)
CELLS = 'V,"A dog, running",https://example.com/a.jpg,16:9,1080p,6'
ROW: dict[str, Any] = {
    "model": "V",
    "prompt": "A dog, running",
    "image_url": "https://example.com/a.jpg",
    "aspect_ratio": "16:9",
    "aspect_resolution": "1080p",
    "duration": 6,
}


def table(text: str) -> list[Row]:
    return list(read_csv(io.StringIO(text, newline="")))


def faults(rows: list[Row]) -> list[tuple[int, tuple[str, ...]]]:
    """The bad lines among rows, each with its number and what is said of it."""
    bad = [(line, row) for line, row in rows if isinstance(row, BadLine)]
    assert all(line == row.line for line, row in bad)
    return [(line, row.messages) for line, row in bad]


def semicolons(text: str) -> str:
    cells = next(csv.reader([text]))
    written = io.StringIO()
    csv.writer(written, delimiter=";", lineterminator="").writerow(cells)
    return written.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{CELLS}\n,,,,,\n , ,\u00a0,,,\n",
        f"{HEADER},\n{CELLS},\n",
        f"{HEADER},,\n{CELLS},,\n",
        f"{HEADER}\n{CELLS},, \n",
        f",,,,,\n{HEADER}\n{CELLS}\n",
        HEADER.replace(",", " , ") + f"\n{CELLS}\n",
        HEADER.replace("prompt", "\u00a0Prompt") + f"\n{CELLS}\n",
        HEADER.upper() + f"\n{CELLS}\n",
        f"{HEADER}\r{CELLS}\r",
        f"{semicolons(HEADER)}\n{semicolons(CELLS)}\n",
        f"sep=;\r\n{semicolons(HEADER)}\r\n{semicolons(CELLS)}\r\n",
        f'"sep=,"\n{HEADER}\n{CELLS}\n',
        f"{HEADER}\n{CELLS}.0\n",
        f"{semicolons(HEADER)}\n{semicolons(CELLS)},0\n",
    ],
)
def test_what_a_spreadsheet_adds_says_nothing(text: str) -> None:
    ((_, row),) = table(text)
    assert row == ROW


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"{HEADER},,\n{CELLS},note,\n", 2, "column 7 has no name but contains 'note'"),
        (f"{HEADER}\n{CELLS},note\n", 2, "has more cells than the header"),
        (f"{HEADER}, Prompt\n{CELLS},x\n", 1, "prompt: must be one column (got 2)"),
        (f"{HEADER},Promt\n" + f"{CELLS},x\n" * 30, 1, "unknown field 'Promt': did you mean"),
        (f"{HEADER},zzz\n{CELLS},x\n", 1, "unknown field 'zzz': known fields are kind, key, "),
        (f"{CELLS}\n" * 3, 1, "must be a header with field names ('V' is not one)"),
        (f"sep=,\n{HEADER},Promt\n", 2, "unknown field 'Promt': did you mean 'prompt'?"),
        (
            f"{HEADER}\n" + CELLS.replace('"A dog, running"', "#NAME?"),
            2,
            "prompt: '#NAME?' is a spreadsheet",
        ),
        (
            f"{HEADER}\n" + CELLS.replace("1080p", "######"),
            2,
            "aspect_resolution: '######' is a spreadsheet",
        ),
        (f'{HEADER}\n\n\nV,"A dog,16:9\n\n', 4, "a quoted cell is not closed"),
        (f'{HEADER}\nV,"A "big" dog",16:9', 2, "a quotation mark inside a quoted cell must be"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_once_where_it_begins(
    text: str, line: int, said: str
) -> None:
    ((where, messages),) = faults(table(text))
    assert where == line
    assert [said in one for one in messages] == [True]


def test_a_record_is_named_by_the_line_that_it_begins_on() -> None:
    record = CELLS.replace("running", "\n\nrunning")
    assert [line for line, _ in table(f"{HEADER}\n{record}\n\n{record}\n")] == [2, 6]


TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff"), min_size=1
)
PROMPTS = st.lists(
    TEXT.map(str.strip).filter(lambda text: text and not text.startswith("#")), min_size=1
)


@given(
    prompts=PROMPTS,
    delimiter=st.sampled_from(",;\t"),
    ends=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    separator_line=st.booleans(),
    empty_columns=st.integers(0, 2),
    order=st.permutations(NAMES),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_table_reads_back_from_every_dialect_of_a_spreadsheet(
    prompts: list[str],
    delimiter: str,
    ends: str,
    quoting: Any,
    separator_line: bool,
    empty_columns: int,
    order: list[str],
    encoding: str,
) -> None:
    written = io.StringIO(newline="")
    if separator_line:
        written.write(f"sep={delimiter}{ends}")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    padding = [""] * empty_columns
    writer.writerow([f" {name.title()} " for name in order] + padding)
    for prompt in prompts:
        writer.writerow([(ROW | {"prompt": prompt})[name] for name in order] + padding)
        writer.writerow([""] * (len(order) + empty_columns))
    raw = written.getvalue().encode(encoding)
    text = raw.decode(detect_encoding(raw[:4]), errors=NOT_DECODED)
    assert [row for _, row in table(text)] == [ROW | {"prompt": one} for one in prompts]


URLS = st.sampled_from(
    [
        "https://example.com/a.jpg",
        "https://cdn.example.com/upload/w_300,h_200;q_80/a.png",
        "http://example.com/image?id=1,2",
        "folder/start.png",
        "END.JPEG",
        "file:/pictures/a.webp",
    ]
)
BETWEEN = st.sampled_from([" ", "\n", "\r\n", ", ", "; ", " ,", ",\n", " ; ", "  "])


@given(sources=st.lists(URLS, min_size=1, max_size=7), data=st.data())
def test_references_of_a_cell_are_split_where_one_ends(
    sources: list[str], data: st.DataObject
) -> None:
    text = sources[0]
    for one in sources[1:]:
        text += data.draw(BETWEEN) + one
    assert references(text + data.draw(st.sampled_from(["", ",", ";", " "]))) == sources


@pytest.mark.parametrize("mark", [",", ";"])
def test_references_without_blanks_are_split_before_a_url_and_after_a_file(mark: str) -> None:
    given = ["https://example.com/1", "HTTPS://example.com/2.jpg", "b.png", "file:c.webp", "d.PNG"]
    assert references(mark.join(given)) == given


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("16:09", "16:9"),
        ("16:09:00", "16:9"),
        ("4:09 PM", "16:9"),
        ("0.672916667", "16:9"),
        ("0,672916667", "16:9"),
        ("09:16", "9:16"),
        ("9:16:00", "9:16"),
        ("9:16 am", "9:16"),
        ("04:03", "4:3"),
        ("16x9", None),
        ("wide", None),
        ("16:9", None),
    ],
)
def test_a_ratio_of_which_a_spreadsheet_made_a_time_is_known(text: str, ratio: str | None) -> None:
    assert ratio_from_time(text) == ratio


@pytest.mark.parametrize(("text", "flag"), [("TRUE", True), ("0.0", False), ("1.0", True)])
def test_flags_are_read_as_spreadsheets_and_pandas_write_them(text: str, flag: bool) -> None:
    assert parse_cells({"generate_audio": text}) == {"generate_audio": flag}


def objects(text: str) -> list[Row]:
    return list(read_json(io.StringIO(text, newline="")))


@given(
    rows=st.lists(st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT)), min_size=1),
    indent=st.sampled_from([None, 2]),
)
def test_an_array_of_objects_reads_back(rows: list[dict[str, Any]], indent: int | None) -> None:
    assert [row for _, row in objects(json.dumps(rows, indent=indent))] == rows


@given(rows=st.lists(st.dictionaries(TEXT, TEXT, min_size=1), min_size=1))
def test_objects_over_several_lines_read_back(rows: list[dict[str, Any]]) -> None:
    """As jq writes them."""
    assert [row for _, row in objects("\n".join(json.dumps(one, indent=2) for one in rows))] == rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[\n{"a": 1},\n\n{"a":\n2}]\n', [2, 4]),
        ('{\n"a": 1\n}\n{\n"a": 2\n}', [1, 4]),
        ('{"a": 1}\n\n{"a": 2}', [1, 3]),
        ('[{"a": 1},]', [1]),
        ("[]", []),
    ],
)
def test_an_object_is_named_by_the_line_that_it_begins_on(text: str, expected: list[int]) -> None:
    rows = objects(text)
    assert [line for line, _ in rows] == expected
    assert not faults(rows)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[{"a": 1},\n{"a": }]', 2, "invalid JSON at column 7"),
        ('[{"a": 1}\n{"a": 2}]', 2, "a comma is missing"),
        ('[{"a": 1},\n', 2, "the array is not closed"),
        ('[{"a": 1}', 1, "the array is not closed"),
        ('[{"a": 1}]\n{"a": 1}', 1, "unexpected text after the end of the array"),
        ('[1,\n{"a": 1}]', 1, "must be a JSON object"),
        ('[{"a":\n"\udc80"}]', 1, "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_an_array_is_said_where_it_stands(
    text: str, line: int, said: str
) -> None:
    ((where, messages),) = faults(objects(text))
    assert (where, said in messages[0]) == (line, True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [HEADER, '{"prompt": "犬"}', "[\n"])
def test_an_encoding_is_known_by_its_first_bytes(encoding: str, text: str) -> None:
    raw = text.encode(encoding)
    assert raw.decode(detect_encoding(raw[:4])) == text

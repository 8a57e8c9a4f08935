"""Task ids from files and standard input: what is an id, and what is refused."""

from pathlib import Path

import pytest

from keevx_async import ConfigurationError
from keevx_async.cli.input.task_ids import read_task_ids


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_ids_and_urls_stay_as_they_are() -> None:
    arguments = ["i2v-1", "https://example.com/a.jsonl", "i2v-2"]
    assert read_task_ids(arguments) == arguments


@pytest.mark.parametrize("mark", ["", "@"])
def test_a_results_file_gives_the_ids_of_all_its_lines_in_order(tmp_path: Path, mark: str) -> None:
    file = written(
        tmp_path / "results.jsonl",
        '{"task_ids": ["i2v-1", "i2v-2"], "prompt": "a \u2028 b"}\n'
        '\n{"task_ids": [], "error": "refused"}\n{"event": "summary"}\n{"task_id": "vt-3"}\n',
    )
    assert read_task_ids(["i2v-0", f"{mark}{file}"]) == ["i2v-0", "i2v-1", "i2v-2", "vt-3"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids_stand_one_a_line(tmp_path: Path, encoding: str) -> None:
    file = written(tmp_path / "ids.txt", "i2v-1\r\n\r\n  i2v-2  \r\ni2v-3".encode(encoding))
    assert read_task_ids([f"@{file}"]) == ["i2v-1", "i2v-2", "i2v-3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("i2v-1\ni2v-2 SUCCEEDED\n", r":2: expected one task id per line, or JSON lines"),
        ('{"task_ids": ["i2v-1"]}\n{"task_ids": [', r":2: expected a JSON object"),
        ('{"task_ids": "i2v-1"}', r":1: expected task_ids as a list of strings"),
        ('{"task_id": 7}', r":1: expected task_ids as a list of strings"),
        ("", "there are no task ids in .*ids"),
        ('{"prompt": "A dog"}', "there are no task ids in .*ids"),
        (b"i2v-\xff\n", "is not UTF-8 text"),
    ],
)
def test_what_holds_no_ids_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_task_ids([f"@{written(tmp_path / 'ids', text)}"])


@pytest.mark.parametrize("argument", ["@none", "none.jsonl", "@."])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=rf"^cannot read {argument.removeprefix('@')}: "):
        read_task_ids([argument])

"""The line of an item fits any terminal, and a program can split it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from keevx_async import SubmissionUncertain, Task, TaskFailed
from keevx_async.cli.output.counters import Status
from keevx_async.cli.output.failures import MAX_GROUPS, MAX_LINES_NAMED, Failures, reason_of
from keevx_async.cli.output.items import COLUMNS, Item, format_elapsed, tab_line, terminal_line

NAME = "videos/0007-a-golden-retriever-running-in-the-i2v-ec37.mp4"
DONE = Item(Status.DONE, 7, 9, "A golden retriever running in the grass", ["i2v-1"], [NAME], 102.0)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_line_shares_the_width(width: int) -> None:
    shown = terminal_line(DONE, width, 1).plain
    assert cell_len(shown) <= width
    assert shown.startswith("✓  7  A golden retriever")
    assert re.search(r"  videos/0007-a-g\S+\.mp4 +1m42s$", shown)
    assert ("…" in shown) is (width < 100)


@given(
    prompt=st.text(max_size=300),
    path=st.text(max_size=100),
    reason=st.text(max_size=300),
    width=st.integers(20, 240),
    index=st.integers(0, 10**5),
    status=st.sampled_from(Status),
    ascii_only=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    prompt: str, path: str, reason: str, width: int, index: int, status: Status, ascii_only: bool
) -> None:
    item = Item(status, index, 1, prompt, ["i2v-1"], [path] * 2 * bool(path), 3.0, reason)
    shown = terminal_line(item, max(width, 30), 6, ascii_only=ascii_only).plain
    assert cell_len(shown) <= max(width, 30)
    assert "\n" not in shown


def test_wide_letters_count_as_two_cells() -> None:
    item = Item(Status.DONE, 1, 1, "一只金毛犬在草地上奔跑" * 5, [], ["v/一只金毛犬.mp4"], 1.0)
    for width in range(60, 100):
        assert cell_len(terminal_line(item, width, 1).plain) == width


def test_a_failure_shows_its_reason_and_no_path() -> None:
    item = Item(Status.FAILED, 3, 4, "A dog", ["i2v-1"], [], 2.0, "flagged by moderation")
    shown = terminal_line(item, 80, 2)
    assert shown.plain.startswith("✗   3  A dog ")
    assert shown.plain.endswith("flagged by moderation")
    assert terminal_line(item, 80, 2, ascii_only=True).plain.isascii()


@given(st.text(), st.text())
def test_a_program_can_split_a_line(prompt: str, reason: str) -> None:
    line = tab_line(Item(Status.FAILED, 3, 4, prompt, ["i2v-1", "i2v-2"], ["a b"], None, reason))
    assert line.isprintable() or set(line) - {"\t"} == {c for c in line if c.isprintable()}
    cells = dict(zip(COLUMNS, line.split("\t"), strict=True))
    assert (cells["task_ids"], cells["index"], cells["seconds"]) == ("i2v-1 i2v-2", "3", "")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0s"), (59.6, "1m00s"), (102, "1m42s"), (3725, "1h02m")]
)
def test_a_time_is_short(seconds: float, shown: str) -> None:
    assert format_elapsed(seconds) == shown


def failed(task_id: str, why: str) -> TaskFailed:
    return TaskFailed(Task(task_id=task_id, status="FAILED", error_message=why))


def test_errors_are_grouped_by_reason_with_their_lines_and_one_hint() -> None:
    failures = Failures()
    for line in (17, 3, 9):
        failures.add(Status.FAILED, line, failed(f"i2v-{line:032x}", "flagged by moderation"))
    for key in ("a", "b"):
        failures.add(Status.UNCERTAIN, 5, SubmissionUncertain(None, key, "lost"))
    (first, where, hint, second, *_) = [text for text, _ in failures.lines("p.csv")]
    assert (first, where) == ("3 failed: flagged by moderation", "  p.csv:3, 9, 17")
    assert hint == "  Change the prompt or the images, and submit again"
    assert second.startswith("2 uncertain: ")


def test_the_groups_stay_few() -> None:
    failures = Failures()
    for line in range(3000):
        failures.add(Status.FAILED, line, failed("i2v-1", f"reason {line % 20}"))
    shown = [text for text, _ in failures.lines("p.csv")]
    assert len(shown) == 3 * MAX_GROUPS + 1
    assert shown[1].count(",") == MAX_LINES_NAMED - 1
    assert shown[1].endswith("and 140 more")
    assert shown[-1] == "1,500 more, for 10 other reasons"


def test_a_reason_leaves_out_the_ids() -> None:
    assert reason_of(failed("i2v-" + "0" * 32, "no")) == "no"
    error = TaskFailed(Task(task_id="i2v-" + "0" * 32, status="EXPIRED"))
    assert "i2v-" not in reason_of(error)

"""Slugs and short ids: what a person reads in the name of a result."""

import unicodedata
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import ConfigurationError, ImageToVideo, Outcome, Task
from keevx_async.transfer.output_paths import Named, OutputNames, Row
from keevx_async.transfer.safe_names import (
    MAX_NAME_BYTES,
    MAX_SLUG,
    MAX_SLUG_BYTES,
    safe_name,
    short_id,
    slug,
)
from tests.support.client import a_request

NAME = "{index:04d}-{prompt}-{id}"
TASK = Task(task_id="i2v-0123456789abec37", status="SUCCEEDED", video_url="https://c.example/a.mp4")


def named(
    template: Any, request: ImageToVideo | None = None, *, task: Task = TASK, **settings: Any
) -> Named:
    names = OutputNames(template, today=date(2026, 1, 31), **settings)
    names = names.with_rows(lambda _: Row(8, {"scene": "Café/Night", "n": 3}))
    outcome = Outcome(7, request or a_request(), "key")
    with names.name(task, outcome, set()) as reserved:
        return reserved


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A golden retriever", "a-golden-retriever"),
        ("  ../../etc/passwd  ", "etc-passwd"),
        ("A dog,\nrunning…", "a-dog-running"),
        ("Ein Café in Zürich", "ein-café-in-zürich"),
        ("一只金毛犬在草地上奔跑", "一只金毛犬在草地上奔跑"),
        ("किताब पढ़ता बच्चा", "किताब-पढ़ता-बच्चा"),
        ("كلب يجري", "كلب-يجري"),
        ("e\u0301te\u0301", "été"),
        ("🐕🐕", "result"),
        ("", "result"),
        ("trailing dots...", "trailing-dots"),
        (
            "A golden retriever running through the tall grass at dawn",
            "a-golden-retriever-running-through-the",
        ),
        ("x" * 60, "x" * 40),
    ],
)
def test_a_slug_keeps_the_words_of_any_script(text: str, expected: str) -> None:
    assert slug(text) == unicodedata.normalize("NFC", expected)


@pytest.mark.parametrize("before", range(36, 42))
def test_a_letter_is_not_cut_off_its_marks(before: int) -> None:
    # A letter with two marks that have no composed form, at every place around the cut.
    text = "x" * before + "q\u0323\u0307" + "y" * 9
    short = slug(text)
    assert len(short) <= MAX_SLUG
    assert short == "x" * min(before, 40) or short.startswith("x" * before + "q\u0323\u0307")


@given(st.text())
def test_any_text_becomes_a_slug_that_is_safe(text: str) -> None:
    short = slug(text)
    assert short
    assert len(short) <= MAX_SLUG
    assert len(short.encode()) <= MAX_SLUG_BYTES
    assert not set(short) & set("/\\. \0:")
    assert not short.startswith("-")
    assert not short.endswith("-")
    assert safe_name(short).removeprefix("_") == short


@pytest.mark.parametrize(
    ("task_id", "expected"),
    [
        ("i2v-0123456789abec37", "i2v-ec37"),
        ("i2v-7", "i2v-7"),
        ("0123456789", "6789"),
        ("../-/..x", "x"),
    ],
)
def test_a_short_id_keeps_the_kind_and_the_end(task_id: str, expected: str) -> None:
    assert short_id(task_id).endswith(expected)
    assert "/" not in short_id(task_id)


def test_the_name_is_one_that_a_person_knows() -> None:
    request = a_request("A golden retriever")
    path = named("videos/", request, default=NAME).path
    assert path == Path("videos/0007-a-golden-retriever-i2v-ec37.mp4")
    assert named("videos/", request).path == Path(f"videos/{TASK.task_id}.mp4")


def test_the_longest_name_keeps_its_index_and_its_id() -> None:
    for letter in ("x", "é", "狗", "𓃡"):
        name = named("videos/", a_request(letter * 300), default=NAME).path.name
        assert name.startswith("0007-")
        assert name.endswith("-i2v-ec37.mp4")
        assert len(name.encode()) <= MAX_NAME_BYTES


def test_a_row_and_the_date_are_fields() -> None:
    template = "out/{date}/{line}-{row[scene]}-{row[n]}"
    path = named(template, has_rows=True).path
    assert path == Path("out/2026-01-31/8-Café_Night-3.mp4")
    with pytest.raises(ConfigurationError, match=r"unknown field \{row\[scene\]\}"):
        OutputNames("out/{row[scene]}")
    with pytest.raises(ConfigurationError, match=r"unknown field \{row\}"):
        OutputNames("out/{row}", has_rows=True)
    with pytest.raises(ConfigurationError, match="gives every video the same name"):
        OutputNames("out/{date}")


@pytest.mark.parametrize("prompt", ["CON", "nul", "com1", "LPT¹"])
def test_a_prompt_makes_no_device(prompt: str) -> None:
    stem = named("out/{prompt}", a_request(prompt)).path.stem
    assert stem.casefold() not in ("con", "nul", "com1", "lpt¹")


def test_a_short_id_that_two_tasks_share_replaces_no_file(tmp_path: Path) -> None:
    request = a_request("Owl")
    other = Task(task_id="i2v-ffffffffffffec37", status="SUCCEEDED", video_url=TASK.video_url)
    first = named(tmp_path, request, default=NAME)
    assert (first.is_own, list(first.lookalikes)) == (False, [])
    first.path.write_bytes(b"paid for")
    second = named(tmp_path, request, task=other, default=NAME)
    assert second.path.name == "0007-owl-i2v-ec37-2.mp4"
    assert (second.is_own, list(second.lookalikes)) == (False, [first.path])

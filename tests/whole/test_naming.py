"""What results are called: as the template says, no two alike, never out of their folder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import ConfigurationError, FanOut, Outcome, Task
from keevx_async.testing import Emulator
from keevx_async.transfer.output_paths import (
    FIELDS,
    ROW_FIELDS,
    OutputNames,
    Template,
    target_path,
)
from tests.support.client import a_request, awaited, keevx_of, some_requests, speaking
from tests.support.media import left_in

TASK = Task(task_id="i2v-7", status="SUCCEEDED", video_url="https://cdn.example/a/b.webm?x=1")


def named(
    template: Any,
    task: Task = TASK,
    index: int = 3,
    key: str = "night/owl",
    taken: set[str] | None = None,
) -> tuple[Path, bool]:
    outcome = Outcome(index, a_request(), key)
    with OutputNames(template).name(task, outcome, set() if taken is None else taken) as named:
        return named.path, named.is_own


@pytest.mark.parametrize(
    ("destination", "folder"),
    [
        ("videos", "videos"),
        ("videos/", "videos"),
        ("run.2026", "run.2026"),
        ("v/{index:05d}-{task_id}", "v"),
        ("v/a/take-{key}/{task_id}", "v/a"),
        ("v/{{x}}/{key}", "v/{x}"),
        ("/{task_id}", "/"),
        ("{task_id}", "."),
        ("../{model}/{task_id}", ".."),
    ],
)
def test_the_folder_of_a_template_is_what_stands_before_its_first_field(
    destination: str, folder: str
) -> None:
    assert OutputNames(destination).folder == Path(folder)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("videos/", "videos/i2v-7.webm"),
        ("videos", "videos/i2v-7.webm"),
        ("run.2026", "run.2026/i2v-7.webm"),
        (Path("videos"), "videos/i2v-7.webm"),
        ("videos/{index:05d}-{task_id}", "videos/00003-i2v-7.webm"),
        (Path("videos/{index}-{task_id}"), "videos/3-i2v-7.webm"),
        ("videos/{task_id}.mp4", "videos/i2v-7.mp4"),
        ("videos/{model}/", "videos/V/i2v-7.webm"),
        ("{model}/{key}.d/{index}", "V/night_owl.d/3.webm"),
        ("{key:>12}/{task_id:.3}", "   night_owl/i2v.webm"),
        ("{index}-v1.5", "3-v1.5.webm"),
        ("{{x}}/{index}", "{x}/3.webm"),
        ("{{x}}/", "{x}/i2v-7.webm"),
    ],
)
def test_a_template_is_read_as_format_reads_it(template: Any, expected: str) -> None:
    assert named(template)[0] == Path(expected)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{line}",
            r"unknown field \{line\}; it must be one of \{index\}, \{id\}, \{task_id\}, \{key\}",
        ),
        ("{}", r"unknown field \{\}"),
        ("{0}", "unknown field"),
        ("{task_id.__class__}", "unknown field"),
        ("{key[0]}", "unknown field"),
        ("{key!r}", "only a plain format"),
        ("{key:{index}}", "only a plain format"),
        ("{key:/>9}", "only a plain format"),
        ("{index:s}", "Unknown format code 's'"),
        ("{key:05d}", "Unknown format code 'd'"),
        ("{key:.0}", "makes the value empty"),
        ("{key", "expected '}'"),
        ("key}", "Single '}' encountered in format string; write {{ or }}"),
        ("{model}", r"gives every video the same name; add \{task_id\}"),
        ("{{videos}}", "gives every video the same name"),
    ],
)
async def test_an_impossible_template_is_refused_before_anything_is_sent(
    template: str, said: str
) -> None:
    async with speaking() as (emulator, keevx):
        with pytest.raises(ConfigurationError, match=said):
            keevx.generate_many(some_requests(3), download=template)
    assert not emulator.requests


@pytest.mark.parametrize("key", ["..", "../../up", "/etc/passwd", "a\\..\\b", ".", "", "\0", "~/x"])
def test_no_key_and_no_id_leaves_the_folder(key: str) -> None:
    task = Task(task_id=key, status="SUCCEEDED")
    for template in ("out/{key}", "out/{task_id}", "out/{key}-{task_id}", "out/{key}/{index}"):
        path = named(template, task, key=key)[0]
        assert path.parts[0] == "out"
        assert len(path.parts) == template.count("/") + 1
        assert not any(part.startswith(".") for part in path.parts)


@given(st.text(), st.text(), st.sampled_from(["{key}", "{key}-{task_id}", "{task_id}/{key}.x"]))
def test_no_value_whatever_leaves_the_folder(key: str, task_id: str, template: str) -> None:
    outcome = Outcome(0, a_request(), key)
    task = Task(task_id=task_id, status="SUCCEEDED")
    with OutputNames(f"out/{template}").name(task, outcome, set()) as (path, *_):
        parts = path.parts
    assert parts[0] == "out"
    assert len(parts) == template.count("/") + 2
    assert not {"..", ".", ""} & set(parts)
    assert all(len(part.encode()) < 200 and "\0" not in part for part in parts)


def test_a_long_key_leaves_room_for_the_rest() -> None:
    path = named("{index:05d}-{key}-{task_id}", key="k" * 500)[0]
    assert path.name == f"00003-{'k' * 80}-i2v-7.webm"


def test_a_name_under_way_or_of_another_file_is_not_given_again(tmp_path: Path) -> None:
    template = f"{tmp_path}/{{key}}"
    taken: set[str] = set()
    names, outcome = OutputNames(template), Outcome(0, a_request(), "Owl")
    with (
        names.name(TASK, outcome, taken) as (first, *_),
        names.name(TASK, outcome, taken) as (second, mine, _),
    ):
        assert [first.name, second.name] == ["Owl.webm", "Owl-2.webm"]
        assert not mine
        third, _ = named(template, key="owl", taken=taken)  # one name to some file systems
        assert third.name == "owl-3.webm"
    assert not taken
    first.write_bytes(b"precious")
    assert named(template, key="Owl") == (second, False)


def test_a_name_that_holds_the_id_is_the_tasks_own(tmp_path: Path) -> None:
    path, mine = named(f"{tmp_path}/{{task_id}}")
    assert mine
    path.write_bytes(b"of this task, then")
    assert named(f"{tmp_path}/{{task_id}}") == (path, True)
    cut = named(f"{tmp_path}/{{task_id:.3}}")[0]
    cut.write_bytes(b"of another task, maybe")
    assert named(f"{tmp_path}/{{task_id:.3}}") == (tmp_path / "i2v-2.webm", False)


def test_a_single_download_takes_a_template_of_the_id(tmp_path: Path) -> None:
    assert target_path(TASK, "out/{task_id}") == Path("out/i2v-7.webm")
    assert target_path(TASK, "out.d/{task_id}/") == Path("out.d/i2v-7/i2v-7.webm")
    assert target_path("https://cdn.example/{x}.mp4", "out/{x}.mp4") == Path("out/{x}.mp4")
    with pytest.raises(ConfigurationError, match=r"field \{index\}; it must be one of \{task_"):
        target_path(TASK, "out/{index}")


def test_every_field_has_a_value_to_try() -> None:
    fields = (*FIELDS, *ROW_FIELDS)
    for name in (*FIELDS, "line", "row[scene]"):
        assert Template(f"{{{name}}}", fields).fields == {name}


async def test_videos_of_one_name_are_numbered_and_none_is_lost(tmp_path: Path) -> None:
    """Four of each request, in two fan-outs at once, and once more over what is there."""
    template = f"{tmp_path}/{{index}}"
    async with speaking(0.02, spread=1) as (emulator, keevx):
        for _ in range(2):
            fans = (
                keevx.generate_many(some_requests(3, generate_count=4), download=template)
                for _ in range(2)
            )
            for fan in await asyncio.gather(*map(awaited, fans)):
                fan.raise_for_errors()
        bodies = sorted((tmp_path / name).read_bytes() for name in left_in(tmp_path))
        assert bodies == sorted(emulator.video(task_id) for task_id in emulator.tasks)
    assert len(bodies) == 48
    assert {"0.mp4", "0-2.mp4", "2-16.mp4"} <= set(left_in(tmp_path))


async def test_a_run_with_a_journal_finds_its_own_files_again(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A file that was lost comes back; one that was changed is left alone, and comes anew."""
    requests = some_requests(4, generate_count=2)
    runs: list[dict[str, str]] = []
    for _ in range(2):
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            fan = await keevx.generate_many(requests, download=f"{tmp_path}/out/{{index}}")
        fan.raise_for_errors()
        runs.append({task.task_id: path.name for task, path in _brought(fan)})
        for task, path in _brought(fan):
            assert path.read_bytes() == emulator.video(task.task_id)
        (tmp_path / "out" / "1.mp4").unlink(missing_ok=True)
        (tmp_path / "out" / "2.mp4").write_bytes(b"cut by its owner")
    first, second = runs
    assert {one: second[one] for one in first if second[one] != first[one]} == {
        next(one for one in first if first[one] == "2.mp4"): "2-3.mp4"
    }
    assert emulator.creates.total() == 4


async def test_a_file_that_a_killed_run_could_not_record_is_found(
    emulator: Emulator, tmp_path: Path
) -> None:
    """The run died after the rename and before the record, for one of its two tasks."""
    out, journal = tmp_path / "out", tmp_path / "run.db"
    names = OutputNames(out, default="{index:04d}-{prompt}-{id}")
    async with keevx_of(emulator, journal=journal) as keevx:
        (outcome,) = await keevx.generate_many(some_requests(1, generate_count=2))
    for number, task in enumerate(outcome.tasks):
        with names.name(task, outcome, set()) as (path, *_):
            out.mkdir(exist_ok=True)
            path.write_bytes(b"another's" if number else emulator.video(task.task_id))
    async with keevx_of(emulator, journal=journal) as keevx:
        fan = await keevx.generate_many(some_requests(1, generate_count=2), download=names)
    fan.raise_for_errors()
    assert len(left_in(out)) == 3  # the second task's name was another's
    for task, path in _brought(fan):
        assert path.read_bytes() == emulator.video(task.task_id)
        assert path.stem.endswith("-2") is (task.task_id == outcome.task_ids[1])


def _brought(fan: FanOut) -> Iterator[tuple[Task, Path]]:
    for outcome in fan.outcomes:
        yield from zip(outcome.tasks, outcome.paths, strict=True)

"""What failed in earlier runs is made again by the reason that it failed for, and only then."""

from pathlib import Path

import pytest

from keevx_async import Journal, TaskFailed
from keevx_async.models.tasks import Task
from keevx_async.testing import Emulator
from tests.support.cli import at, keevx, written
from tests.support.cli_run import takes
from tests.support.client import keevx_of, some_requests

MESSAGES = ("blocked by the content policy", "image URL inaccessible", "server error", "who knows")


async def fail(emulator: Emulator, folder: Path, *run: str | Path) -> None:
    """Let each of four prompts fail, with a message of its own."""
    for number, message in enumerate(MESSAGES):
        emulator.fail_prompts = {f"take {number}"}
        emulator.faults.fail_message = message
        await keevx(*run, "--limit", f"{number + 1}", cwd=folder, **at(emulator))
    emulator.fail_prompts = ()


@pytest.mark.parametrize(
    ("reason", "made_again"),
    [("moderation", 0), ("input", 1), ("internal", 2), ("unknown", 3)],
)
async def test_a_run_makes_again_what_failed_for_one_reason(
    tmp_path: Path, reason: str, made_again: int
) -> None:
    file = written(tmp_path / "p.jsonl", takes(4))
    run = ("run", file, "--journal", "run.db")
    async with Emulator(0.01) as emulator:
        await fail(emulator, tmp_path, *run)
        ran = await keevx(*run, cwd=tmp_path, **at(emulator))
        assert "=input for 1, =internal for 1, =moderation for 1, =unknown for 1" in ran.err
        planned = await keevx(
            *run, f"--retry-failed={reason}", "--dry-run", cwd=tmp_path, **at(emulator)
        )
        assert "1 request, 1 video" in planned.out
        ran = await keevx(*run, f"--retry-failed={reason}", cwd=tmp_path, **at(emulator))
        assert "\n1 of 4 done, 3 failed" in f"\n{ran.err}", ran.err
        assert emulator.creates == {f"take {n}": 1 + (n == made_again) for n in range(4)}
        ran = await keevx(*run, "--retry-failed", cwd=tmp_path, **at(emulator))
        assert ran.code == 0
        assert set(emulator.creates.values()) == {2}


async def test_an_unknown_reason_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    ran = await keevx("run", "p.csv", "--journal", "j", "--retry-failed=bad", cwd=tmp_path)
    assert ran.code == 2
    assert "Must be one of moderation, input, internal, unknown." in ran.err


@pytest.mark.parametrize(("message", "creates"), [("bad input", 1), ("server error", 2)])
async def test_a_function_decides_by_the_task_that_the_error_names(
    tmp_path: Path, message: str, creates: int
) -> None:
    asked: list[Task] = []

    def retries(task: Task) -> bool:
        asked.append(task)
        return task.error_message == "server error"

    async with Emulator(0.01, fail_prompts=1.0) as emulator:
        emulator.faults.fail_message = message
        for _ in range(2):
            journal = Journal(tmp_path / "run.db", on_failed=retries)
            async with keevx_of(emulator, journal=journal) as client:
                (outcome,) = (await client.generate_many(some_requests(1))).outcomes
            assert isinstance(outcome.error, TaskFailed)
        assert [task.error_message for task in asked][:1] == [message]
        assert sum(emulator.creates.values()) == creates

"""A create of which a task failed is made and paid again on request only, and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from keevx_async import ImageToVideo, Journal, JournalError, Keevx, Outcome, Task, TaskFailed
from keevx_async.journal.protocol import first_attempt_key, next_attempt_key
from keevx_async.testing import Emulator, Faults
from tests.support.client import keevx_of, some_requests

REQUESTS = some_requests(3)
BAD = REQUESTS[1].prompt


class Runs:
    """The same program, run again and again; one prompt fails until told otherwise."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.path = folder / "run.db"
        emulator.fail_prompts = {BAD}

    def client(self, on_failed: Any = "report") -> Keevx:
        return keevx_of(self.emulator, journal=Journal(self.path, on_failed=on_failed))

    async def run(
        self, requests: list[ImageToVideo], on_failed: str = "report", **how: Any
    ) -> list[Outcome]:
        async with self.client(on_failed) as keevx:
            return (await keevx.generate_many(requests, **how)).outcomes


@pytest.fixture
def runs(emulator: Emulator, tmp_path: Path) -> Runs:
    return Runs(emulator, tmp_path)


@pytest.mark.parametrize("key", [None, lambda request: f"my {request.prompt}"])
async def test_on_request_and_never_by_itself(runs: Runs, key: Any) -> None:
    first = await runs.run(REQUESTS, key=key)
    again = await runs.run(REQUESTS, key=key)
    assert isinstance(again[1].error, TaskFailed)
    assert runs.emulator.creates[BAD] == 1
    runs.emulator.fail_prompts = ()
    made = await runs.run(REQUESTS, "resubmit", key=key)
    assert [outcome.ok for outcome in made] == [True] * 3
    assert made[1].key == f"{first[1].key}~2"
    assert made[1].task_ids != first[1].task_ids
    assert runs.emulator.creates == {REQUESTS[0].prompt: 1, BAD: 2, REQUESTS[2].prompt: 1}
    for on_failed in ("report", "resubmit"):
        found = await runs.run(REQUESTS, on_failed, key=key)
        assert [one.task_ids for one in found] == [one.task_ids for one in made]
    assert runs.emulator.creates[BAD] == 2


async def test_each_request_to_make_again_pays_once_and_a_second_failure_is_reported(
    runs: Runs,
) -> None:
    made = await runs.run(REQUESTS)
    for times in (2, 3):
        made = await runs.run(REQUESTS, "resubmit")
        assert isinstance(made[1].error, TaskFailed)
        assert made[1].key.endswith(f"~{times}")
        assert runs.emulator.creates[BAD] == times
    (told,) = [one for one in await runs.run(REQUESTS) if not one.ok]
    assert told.task_ids == made[1].task_ids
    assert runs.emulator.creates[BAD] == 3


async def test_equal_requests_are_each_made_again_once(runs: Runs) -> None:
    twins = [REQUESTS[1]] * 3
    first = await runs.run(twins)
    made = await runs.run(twins, "resubmit")
    assert sorted(one.key for one in made) == sorted(f"{one.key}~2" for one in first)
    assert runs.emulator.creates[BAD] == 6


async def test_what_failed_in_this_very_run_is_not_made_again(runs: Runs) -> None:
    def key(request: ImageToVideo) -> str | None:
        return "mine" if request.prompt == BAD else None

    for times, name in enumerate(["mine", "mine~2"], 1):
        async with runs.client("resubmit") as keevx:
            for _ in range(2):  # what comes after it makes sure that its end was written
                outcomes = (await keevx.generate_many(REQUESTS[1:], key=key)).outcomes
                assert outcomes[0].key == name
        assert runs.emulator.creates[BAD] == times


async def test_a_key_that_the_caller_named_so_is_the_callers(runs: Runs) -> None:
    names = iter(["mine", "mine~2"])
    async with runs.client() as keevx:
        await keevx.generate_many([REQUESTS[1], REQUESTS[0]], key=lambda _: next(names))
    (told,) = await runs.run([REQUESTS[1]], key=lambda _: "mine")
    assert isinstance(told.error, TaskFailed)
    (refused,) = await runs.run([REQUESTS[1]], "resubmit", key=lambda _: "mine")
    assert isinstance(refused.error, JournalError)
    assert runs.emulator.creates[BAD] == 1


async def test_a_remake_whose_answer_is_lost_is_uncertain_as_any_other(runs: Runs) -> None:
    await runs.run(REQUESTS)
    runs.emulator.faults.drop_after_create = {BAD}
    for on_failed in ("resubmit", "resubmit", "report"):
        told = await runs.run(REQUESTS, on_failed)
        assert "may have been charged" in str(told[1].error)
    assert runs.emulator.creates[BAD] == 2


@pytest.mark.parametrize("code", [530003, 100001])
async def test_a_remake_that_was_refused_is_not_paid_by_a_run_that_did_not_ask(
    runs: Runs, code: int
) -> None:
    first = await runs.run(REQUESTS)
    runs.emulator.faults = Faults(once=False, refuse=1.0, refuse_status=400, refuse_code=code)
    await runs.run(REQUESTS, "resubmit")
    runs.emulator.faults = Faults()
    told = await runs.run(REQUESTS)
    assert isinstance(told[1].error, TaskFailed)
    assert told[1].task_ids == first[1].task_ids
    assert runs.emulator.creates[BAD] == 1
    await runs.run(REQUESTS, "resubmit")
    assert runs.emulator.creates[BAD] == 2


async def test_a_create_is_not_made_again_while_a_task_of_it_goes_on(runs: Runs) -> None:
    many = attrs.evolve(REQUESTS[1], generate_count=2)
    async with runs.client() as keevx:
        ids = (await keevx.submit(many, key="mine")).task_ids
    async with Journal(runs.path) as journal:
        await journal.mark_ended(Task(task_id=ids[0], status="FAILED"))
    runs.emulator.fail_prompts = ()
    (found,) = await runs.run([many], "resubmit", key=lambda _: "mine")
    assert (found.key, found.task_ids) == ("mine", ids)
    assert runs.emulator.creates[BAD] == 1
    (made,) = await runs.run([many], "resubmit", key=lambda _: "mine")
    assert (made.key, made.ok) == ("mine~2", True)


@pytest.mark.parametrize(
    ("key", "later"),
    [("a", "a~2"), ("a~2", "a~3"), ("a~9", "a~10"), ("a~b", "a~b~2"), ("~2", "~2~2")],
)
def test_keys_count_the_tries(key: str, later: str) -> None:
    assert next_attempt_key(key) == later
    assert first_attempt_key(later) == first_attempt_key(key)


def test_a_value_outside_the_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_failed must be 'report' or 'resubmit'"):
        Journal(tmp_path / "run.db", on_failed="always")  # type: ignore[arg-type] # what is refused

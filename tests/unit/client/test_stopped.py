"""What is left to read of something that was stopped."""

import asyncio
from typing import Any

import pytest

from keevx_async import FanOut, Outcome
from keevx_async.client.stopped import (
    MAX_NOTED_IDS,
    brief_if_stopped,
    describe_fan_out,
    describe_waits,
    note_ids,
)
from keevx_async.models.outcomes import Counts
from tests.support.simulated import simulated


def rendered(error: BaseException) -> list[str]:
    """What IPython shows of an error: the lines of ``_render_traceback_``, if it has that."""
    lines: list[str] = getattr(error, "_render_traceback_", list)()
    return lines


def test_only_a_cancellation_is_shown_as_one_line() -> None:
    with pytest.raises(asyncio.CancelledError) as stopped, brief_if_stopped(lambda: "2 ok"):
        raise asyncio.CancelledError
    assert type(stopped.value) is asyncio.CancelledError
    assert rendered(stopped.value) == ["Stopped: 2 ok"]
    with pytest.raises(ValueError, match="bad") as failed, brief_if_stopped(lambda: "2 ok"):
        raise ValueError("bad")
    assert rendered(failed.value) == []


def test_a_note_lists_a_bounded_number_of_ids_and_says_where_the_others_are() -> None:
    few, many = ValueError(), ValueError()
    note_ids(few, ["i2v-1", "i2v-2"])
    note_ids(many, [f"i2v-{n}" for n in range(5_000)])
    assert few.__notes__ == ["2 task ids had been received: i2v-1, i2v-2"]
    (note,) = many.__notes__
    assert note.startswith("5,000 task ids had been received: i2v-0, i2v-1, ")
    assert note.count("i2v-") == MAX_NOTED_IDS
    assert note.endswith("i2v-99 and 4,900 more; all are in the fan-out's task_ids")


def test_no_note_is_added_without_ids_or_to_another() -> None:
    error = ValueError()
    note_ids(error, [])
    assert not hasattr(error, "__notes__")
    error.add_note("mine")
    note_ids(error, ["i2v-1"])
    assert error.__notes__ == ["mine"]


def test_waits_name_a_few_of_their_tasks() -> None:
    assert describe_waits(["i2v-1"]) == (
        "1 task keeps running at Keevx. Wait again to continue, free of charge: i2v-1"
    )
    assert describe_waits([f"i2v-{n}" for n in range(1_005)]).endswith(
        "1,005 tasks keep running at Keevx. Wait again to continue, free of charge: "
        "i2v-0, i2v-1, i2v-2 and 1,002 more"
    )


def test_a_fan_out_without_a_length_makes_none_up() -> None:
    assert describe_fan_out(Counts(ok=2, unfinished=1)).startswith("2 ok, 1 unfinished. Await")
    assert describe_fan_out(Counts(1_000, ok=2)).startswith("2 ok, of 1,000. Await")


@pytest.mark.parametrize("how", ["awaited", "iterated"])
@simulated
async def test_a_fan_out_that_is_stopped_says_what_it_has_at_the_end_of_its_grace(how: str) -> None:
    async def work(outcome: Outcome, slot: Any) -> None:
        async def create() -> None:
            await asyncio.sleep(7)
            outcome.task_ids = ("i2v-1",)

        with slot:
            await create()

    async def use(fan: FanOut) -> None:
        if how == "awaited":
            await fan
        else:
            async for _ in fan:
                pass

    items: Any = ["item"]
    fan: FanOut = FanOut(items, lambda: work, concurrency=1, grace=10.0)
    using = asyncio.ensure_future(use(fan))
    await asyncio.sleep(1)
    using.cancel()
    with pytest.raises(asyncio.CancelledError) as stopped:
        await using
    (line,) = rendered(stopped.value)
    assert line.startswith("Stopped: 1 ok, of 1."), "the create was answered in its grace"
    assert fan.task_ids == ["i2v-1"]

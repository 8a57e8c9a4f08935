"""Run against keevx_async's emulator: no key, no network, no money.

The fixture comes with keevx_async. While it is active, Keevx() talks to the emulator.
"""

from pathlib import Path

import pytest
from postcards import deliver

from keevx_async import APIError, SubmissionUncertain, TaskFailed
from keevx_async.testing import Emulator

PICTURE = "https://example.com/beach.jpg"


async def test_an_order_brings_its_video(keevx_emulator: Emulator, tmp_path: Path) -> None:
    path = await deliver("order-1", PICTURE, "waves roll in", tmp_path)
    (task_id,) = keevx_emulator.tasks
    assert path.read_bytes() == keevx_emulator.video(task_id)


async def test_an_order_delivered_twice_is_paid_once(
    keevx_emulator: Emulator, tmp_path: Path
) -> None:
    first = await deliver("order-1", PICTURE, "waves roll in", tmp_path)
    second = await deliver("order-1", PICTURE, "waves roll in", tmp_path)
    assert first == second
    assert keevx_emulator.creates.total() == 1


async def test_a_refused_order_costs_nothing(keevx_emulator: Emulator, tmp_path: Path) -> None:
    keevx_emulator.faults.refuse = {"something forbidden"}
    keevx_emulator.faults.refuse_status = 400
    with pytest.raises(APIError, match="100001"):
        await deliver("order-1", PICTURE, "something forbidden", tmp_path)
    assert keevx_emulator.creates.total() == 0


async def test_an_order_whose_answer_is_lost_is_never_paid_twice(
    keevx_emulator: Emulator, tmp_path: Path
) -> None:
    keevx_emulator.faults.drop_after_create = {"waves roll in"}
    for _ in range(2):  # the journal remembers: the second run does not send it again
        with pytest.raises(SubmissionUncertain) as caught:
            await deliver("order-1", PICTURE, "waves roll in", tmp_path)
        assert caught.value.key == "order-1"
    assert keevx_emulator.creates.total() == 1


async def test_a_video_that_keevx_cannot_make(keevx_emulator: Emulator, tmp_path: Path) -> None:
    keevx_emulator.fail_prompts = {"waves roll in"}
    with pytest.raises(TaskFailed):
        await deliver("order-1", PICTURE, "waves roll in", tmp_path)
    assert keevx_emulator.requests["GET storage"] == 0

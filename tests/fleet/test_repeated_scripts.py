"""A script whose reply is lost runs again, and its first copy may arrive late: no harm is done."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keevx_async.docket import RedisJournal
from keevx_async.journal.protocol import State
from keevx_async.journal.redis.encoding import Planned
from keevx_async.models.request import canonical_body
from keevx_async.models.usage import UsageGroup, UsageLimit
from tests.support.crashing import request
from tests.support.fleet import dead
from tests.support.redis_journal import Counting, memory
from tests.support.thorough import THOROUGH

__all__ = ["memory"]  # a fixture


KIND = "image_to_video"
BODY = canonical_body(request(0))
FULL_HD = UsageGroup(KIND, "V", "1080p", 6)
Step = Callable[[RedisJournal], Awaitable[Any]]

WAY: list[Step] = [
    lambda journal: journal.add_many([Planned(KIND, BODY, "k")], "run"),
    lambda journal: journal.claim(KIND, BODY, "k"),
    lambda journal: journal.mark_sending("k", KIND, BODY),
    lambda journal: journal.mark_planned("k"),
    lambda journal: journal.mark_sending("k", KIND, BODY),
    lambda journal: journal.mark_refused("k", "no"),
    lambda journal: journal.release("k"),
    lambda journal: journal.add_many([Planned(KIND, BODY, "k")], "run"),
    lambda journal: journal.claim(KIND, BODY, "k"),
    lambda journal: journal.mark_sending("k", KIND, BODY),
    lambda journal: journal.mark_uncertain("k", "lost"),
    lambda journal: journal.release("k"),
    lambda journal: journal.settle("k", []),
    lambda journal: journal.claim(KIND, BODY, None),
    lambda journal: journal.claim(KIND, BODY, "k"),
    lambda journal: journal.mark_sending("k", KIND, BODY),
    lambda journal: journal.mark_submitted("k", ["i2v-1"]),
    lambda journal: journal.release("k"),
    lambda journal: journal.claim(KIND, BODY, "k"),
]
"""A create's way through every step of its journal."""


async def at_once(seconds: float) -> None:
    """Sleep no time."""


async def standing(journal: RedisJournal) -> tuple[Any, ...]:
    """What a journal says about its creates, without times."""
    entries = [entry._replace(at=0.0) async for entry in journal.entries()]
    return entries, await journal.counts(), await journal.usage()


async def test_each_step_whose_reply_is_lost_counts_once(memory: Counting) -> None:
    # The limit leaves room for one create, so a second count would be noticed at once.
    limit = UsageLimit(1, None, None, {})
    async with (
        RedisJournal(memory, "a") as journal,
        RedisJournal(memory, "b", sleep=at_once) as twice,
    ):
        journal.limit_usage(limit)
        twice.limit_usage(limit)
        for step in WAY:
            await step(journal)
            memory.lose = 1
            await step(twice)
            assert not memory.lose
            assert await standing(twice) == await standing(journal)


async def test_the_intent_is_kept_by_whoever_has_taken_over(memory: Counting) -> None:
    async with RedisJournal(memory) as first, RedisJournal(memory) as second:
        await first.claim(KIND, BODY, "k")
        await first.mark_sending("k", KIND, BODY)
        begin = memory.words
        await dead(first)
        await second.claim(KIND, BODY, "k")
        assert (await memory.again(begin))[0] == b"taken"


class Late:
    """Replays calls that a journal has made, as copies that arrive late."""

    def __init__(self, memory: Counting) -> None:
        self.memory = memory
        self.sent: dict[str, tuple[Any, ...]] = {}

    async def do(self, name: str, step: Awaitable[Any]) -> None:
        await step
        self.sent[name] = self.memory.words

    async def arrive(self, name: str) -> None:
        await self.memory.again(self.sent[name])


async def test_a_late_copy_does_not_undo_a_create_that_is_being_sent(memory: Counting) -> None:
    late = Late(memory)
    async with RedisJournal(memory) as journal, RedisJournal(memory) as other:
        await late.do("claim", journal.claim(KIND, BODY, "k"))
        await late.do("begin", journal.mark_sending("k", KIND, BODY))
        await late.do("planned", journal.mark_planned("k"))
        await late.do("release", journal.release("k"))
        await late.do("second claim", journal.claim(KIND, BODY, "k"))
        await late.do("second begin", journal.mark_sending("k", KIND, BODY))
        await late.do("second planned", journal.mark_planned("k"))
        await journal.mark_sending("k", KIND, BODY)
        for name in late.sent:
            await late.arrive(name)
            entry = await other.find("k")  # held, and still being sent
            assert entry is not None
            assert entry.state is State.SENDING, name
            assert await journal.usage() == {FULL_HD: 1}


async def test_a_late_copy_does_not_begin_what_was_refused(memory: Counting) -> None:
    late = Late(memory)
    async with RedisJournal(memory) as journal:
        await journal.claim(KIND, BODY, "k")
        await late.do("begin", journal.mark_sending("k", KIND, BODY))
        await journal.mark_refused("k", "no")
        await late.arrive("begin")
        assert (await journal.counts())["refused"] == 1
        await journal.release("k")
        await late.arrive("begin")
        assert (await journal.counts())["refused"] == 1


async def test_a_refused_create_is_planned_again_once_and_read_as_refused(
    memory: Counting,
) -> None:
    late = Late(memory)
    async with RedisJournal(memory, sleep=at_once) as journal:
        await journal.claim(KIND, BODY, "k")
        await journal.mark_sending("k", KIND, BODY)
        await journal.mark_refused("k", "no")
        await journal.release("k")
        memory.lose = 1
        ((_, entry),) = await journal.add_many([Planned(KIND, BODY, "k")], "run")
        late.sent["plan"] = memory.words
        assert entry is not None
        assert entry.state is State.REFUSED  # so its old job is replaced
        assert (await journal.counts())["planned"] == 1
        await journal.claim(KIND, BODY, "k")
        await journal.mark_sending("k", KIND, BODY)
        await journal.mark_refused("k", "no")
        await journal.release("k")
        await late.arrive("plan")  # nobody would queue it
        assert (await journal.counts())["refused"] == 1


async def test_a_late_claim_keeps_nobody_from_what_was_submitted(memory: Counting) -> None:
    late = Late(memory)
    async with RedisJournal(memory) as journal, RedisJournal(memory) as other:
        await late.do("claim", journal.claim(KIND, BODY, "k"))
        await journal.mark_sending("k", KIND, BODY)
        await journal.mark_submitted("k", ["i2v-1"])
        await journal.release("k")
        await late.arrive("claim")
        claim = await other.claim(KIND, BODY, "k")  # without a wait
        assert claim.entry is not None
        assert claim.entry.task_ids == ("i2v-1",)


@pytest.mark.parametrize("seed", range(40 if THOROUGH else 8))
async def test_copies_that_arrive_at_any_time_change_nothing(memory: Counting, seed: int) -> None:
    dice = random.Random(seed)
    sent: list[tuple[Any, ...]] = []

    async def run(step: Awaitable[Any]) -> None:
        await step
        sent.append(memory.words)

    async def is_sending(journal: RedisJournal, key: str) -> None:
        for _ in range(dice.randrange(4)):
            await memory.again(dice.choice(sent))
            entry = await journal.find(key)
            assert entry is not None
            assert entry.state is State.SENDING

    async with RedisJournal(memory) as journal:
        made = dict[str, str]()
        for turn in range(40):
            key = f"k{dice.randrange(6)}"
            await run(journal.claim(KIND, BODY, key))
            if key not in made:
                await run(journal.mark_sending(key, KIND, BODY))
                await is_sending(journal, key)
                if dice.random() < 0.4:
                    made[key] = f"i2v-{turn}"
                    await run(journal.mark_submitted(key, [made[key]]))
                else:
                    await run(journal.mark_planned(key))
            await run(journal.release(key))
        counts = await journal.counts()
        assert counts["submitted"] == len(made)
        assert await journal.usage() == {FULL_HD: len(made)}
        entries = [entry async for entry in journal.entries(State.SUBMITTED)]
        assert {entry.key: entry.task_ids for entry in entries} == {
            key: (task_id,) for key, task_id in made.items()
        }

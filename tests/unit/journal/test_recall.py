"""What a journal answers at once: what an earlier run submitted, and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from keevx_async import Journal
from keevx_async.journal.null import NullJournal
from keevx_async.journal.protocol import Entry

KIND = "image_to_video"


def body(number: int) -> bytes:
    return json.dumps({"prompt": f"prompt {number}"}).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


async def fill(path: Path, numbers: list[int], refused: frozenset[int] = frozenset()) -> None:
    """Write an entry for the body of each number; those refused have no ids."""
    async with Journal(path) as journal:
        for place, number in enumerate(numbers):
            key = (await journal.claim(KIND, body(number), None)).key
            await journal.mark_sending(key, KIND, body(number))
            if number in refused:
                await journal.mark_refused(key, "no")
            else:
                await journal.mark_submitted(key, [f"i2v-{place}"])
            await journal.release(key, made=number not in refused)


async def meet(journal: Journal, number: int, *, recall: bool) -> tuple[Entry | None, bool]:
    """Return what the next request with this body meets, and whether it was recalled."""
    if recall and (entry := journal.recall(KIND, lambda: body(number))) is not None:
        return entry, True
    claim = await journal.claim(KIND, body(number), None)
    await journal.release(claim.key)
    return claim.entry, False


@pytest.mark.parametrize(
    "numbers", [list(range(40)), [0, 1, 0, 2, 1, 0, 3, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
)
async def test_a_recall_meets_what_a_claim_would(path: Path, numbers: list[int]) -> None:
    await fill(path, numbers, refused=frozenset({4}))
    met: list[list[Entry | None]] = []
    recalled = 0
    for recall in (False, True):
        async with Journal(path) as journal:
            journal.attach()
            seen = [await meet(journal, number, recall=recall) for number in [*numbers, 0, 1]]
            await journal.detach()
        met.append([entry for entry, _ in seen])
        recalled += sum(was_recalled for _, was_recalled in seen)
        assert all(entry is None or entry.is_submitted for entry, was in seen if was)
    assert met[0] == met[1]
    assert recalled > 0


async def test_a_new_create_is_not_encoded_for_a_recall(path: Path) -> None:
    def encode() -> bytes:
        raise AssertionError("encoded for nothing")

    async with Journal(path) as journal:
        assert journal.recall(KIND, encode) is None
    assert NullJournal().recall(KIND, encode) is None


async def test_what_another_caller_has_is_left_to_a_claim(path: Path) -> None:
    await fill(path, list(range(10)))
    async with Journal(path) as journal:
        journal.attach()
        await meet(journal, 0, recall=False)  # reads on
        claim = await journal.claim(KIND, body(1), None)
        assert journal.recall(KIND, lambda: body(1)) is None
        await journal.release(claim.key)
        await journal.detach()


async def test_a_failed_create_that_is_made_again_is_left_to_a_claim(path: Path) -> None:
    await fill(path, list(range(10)))
    async with Journal(path, on_failed="resubmit") as journal:
        journal.attach()
        await meet(journal, 0, recall=False)
        assert journal.recall(KIND, lambda: body(1)) is None
        await journal.detach()


async def test_a_journal_that_two_clients_share_is_left_to_claims(path: Path) -> None:
    await fill(path, list(range(10)))
    async with Journal(path) as journal, Journal(path) as other:
        journal.attach()
        other.attach()
        await meet(journal, 0, recall=False)
        await asyncio.gather(*(meet(other, number, recall=True) for number in range(3)))
        assert journal.recall(KIND, lambda: body(1)) is None
        await other.detach()
        await journal.detach()

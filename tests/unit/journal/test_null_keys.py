"""A key that is named is remembered while the client lives, without a journal too."""

import asyncio

import pytest

from keevx_async import JournalError
from keevx_async.journal.null import NullJournal
from keevx_async.journal.protocol import State
from tests.support.journal import entry_of

KIND, BODY = "image_to_video", b'{"prompt":"one"}'


async def submitted(journal: NullJournal, key: str | None) -> str:
    claim = await journal.claim(KIND, BODY, key)
    await journal.mark_sending(claim.key, KIND, BODY)
    await journal.mark_submitted(claim.key, ["i2v-1"])
    await journal.release(claim.key)
    return claim.key


async def test_a_named_key_is_met_again() -> None:
    journal = NullJournal()
    await submitted(journal, "mine")
    entry = (await journal.claim(KIND, BODY, "mine")).entry
    assert entry is not None
    assert (entry.state, entry.task_ids) == (State.SUBMITTED, ("i2v-1",))


async def test_it_belongs_to_one_request() -> None:
    journal = NullJournal()
    await submitted(journal, "mine")
    for _ in range(2):
        with pytest.raises(JournalError, match="key 'mine' belongs to another request"):
            await journal.claim(KIND, b'{"prompt":"two"}', "mine")


async def test_a_second_caller_waits_for_the_first() -> None:
    journal = NullJournal()
    await journal.claim(KIND, BODY, "mine")
    second = asyncio.create_task(journal.claim(KIND, BODY, "mine"))
    await asyncio.sleep(0)
    assert not second.done()
    await journal.mark_sending("mine", KIND, BODY)
    await journal.mark_submitted("mine", ["i2v-1"])
    await journal.release("mine")
    entry = (await second).entry
    assert entry is not None
    assert entry.task_ids == ("i2v-1",)


async def test_an_uncertain_one_stays_so_and_a_refused_one_may_be_sent() -> None:
    journal = NullJournal()
    for key, state in (("a", State.UNCERTAIN), ("b", State.REFUSED), ("c", State.PLANNED)):
        await journal.claim(KIND, BODY, key)
        await journal.mark_sending(key, KIND, BODY)
        if state is State.PLANNED:
            await journal.mark_planned(key)
        else:
            await (journal.mark_uncertain if state is State.UNCERTAIN else journal.mark_refused)(
                key, "why"
            )
        await journal.release(key, made=False)
        entry = (await journal.claim(KIND, BODY, key)).entry
        assert entry is not None
        assert entry.state is state


async def test_a_key_of_ours_that_was_submitted_is_never_sent_again() -> None:
    journal = NullJournal()
    key = await submitted(journal, None)
    with pytest.raises(JournalError, match="its ids were returned to its caller"):
        await journal.claim(KIND, BODY, key)


async def test_a_key_of_ours_that_is_in_use_is_refused_at_every_step() -> None:
    journal = NullJournal()
    key = (await journal.claim(KIND, BODY, None)).key

    async def is_refused() -> None:
        with pytest.raises(JournalError, match=f"key '{key}' belongs to a create in progress"):
            await journal.claim(KIND, BODY, key)

    await is_refused()  # it waits for its turn
    for _ in range(2):
        await journal.mark_sending(key, KIND, BODY)
        await is_refused()
        await journal.mark_refused(key, "busy")
        await is_refused()  # it is tried again soon
    await journal.release(key, made=False)
    entry = (await journal.claim(KIND, BODY, key)).entry
    assert entry is not None
    assert (entry.state, entry.reason) == (State.REFUSED, "busy")


async def test_a_key_of_ours_whose_create_was_dropped_in_flight_is_uncertain() -> None:
    """A task that is destroyed with its loop gives up its key, but records no end."""
    journal = NullJournal()
    for is_retry in (False, True):
        claim = await journal.claim(KIND, BODY, None)
        if is_retry:
            await journal.mark_sending(claim.key, KIND, BODY)
            await journal.mark_refused(claim.key, "busy")
        await journal.mark_sending(claim.key, KIND, BODY)
        assert (await entry_of(journal, claim.key)).state is State.SENDING
        await journal.release(claim.key, made=False)
        for _ in range(2):
            entry = (await journal.claim(KIND, BODY, claim.key)).entry
            assert entry is not None
            assert entry.state is State.UNCERTAIN
            await journal.release(claim.key, made=False)


async def test_memory_does_not_grow_with_creates_that_are_not_named() -> None:
    journal = NullJournal()
    for _ in range(3):
        await submitted(journal, None)
        claim = await journal.claim(KIND, BODY, None)  # nothing was sent
        await journal.release(claim.key, made=False)
        claim = await journal.claim(KIND, BODY, None)
        await journal.mark_sending(claim.key, KIND, BODY)
        await journal.mark_refused(claim.key, "busy")
        await journal.mark_sending(claim.key, KIND, BODY)
        await journal.mark_submitted(claim.key, ["i2v-1"])
        await journal.release(claim.key)
    assert not any((journal._unnamed, journal._entries, journal._named))


async def test_what_its_loop_left_in_flight_is_uncertain() -> None:
    journal = NullJournal()

    async def begin() -> None:
        await journal.claim(KIND, BODY, "mine")
        await journal.mark_sending("mine", KIND, BODY)

    await asyncio.to_thread(lambda: asyncio.run(begin()))
    entry = (await journal.claim(KIND, BODY, "mine")).entry
    assert entry is not None
    assert entry.state is State.UNCERTAIN


async def test_what_its_loop_left_in_flight_by_a_key_of_ours_is_refused() -> None:
    """That loop may run again, so its create may still end."""
    journal = NullJournal()

    async def begin() -> str:
        key = (await journal.claim(KIND, BODY, None)).key
        await journal.mark_sending(key, KIND, BODY)
        return key

    key = await asyncio.to_thread(lambda: asyncio.run(begin()))
    with pytest.raises(JournalError, match="belongs to a create in progress"):
        await journal.claim(KIND, BODY, key)


async def test_ids_that_callbacks_bring_are_kept() -> None:
    journal = NullJournal()
    await journal.claim(KIND, BODY, "mine")
    await journal.mark_sending("mine", KIND, BODY)
    await journal.mark_uncertain("mine", "lost")
    await journal.release("mine", made=False)
    assert await journal.add_ids("mine", ["i2v-1"], 2) is not None
    entry = await entry_of(journal, "mine")
    assert (entry.state, entry.task_ids) == (State.UNCERTAIN, ("i2v-1",))
    await journal.add_ids("mine", ["i2v-2"], 2)
    entry = await entry_of(journal, "mine")
    assert (entry.state, entry.task_ids) == (State.SUBMITTED, ("i2v-1", "i2v-2"))

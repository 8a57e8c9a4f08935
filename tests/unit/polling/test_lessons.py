"""What was learned of durations, between a journal and a client."""

import asyncio
import json

import pytest

from keevx_async import JournalError
from keevx_async.client.duration_store import DURATIONS, DurationStore
from keevx_async.journal.null import NullJournal
from keevx_async.polling.durations import Durations

KNOWN = {"step": Durations().dump()["step"], "groups": {"good": [[3, 0.5, 0.25]]}}


class Notes(NullJournal):
    """A journal that takes a moment to answer, as one behind a socket does."""

    def __init__(self, text: str | None) -> None:
        super().__init__()
        self.text = text
        self.broken = False

    async def get_note(self, name: str) -> str | None:
        assert name == DURATIONS
        await asyncio.sleep(0)
        if self.broken:
            raise JournalError("it is gone")
        return self.text

    async def set_note(self, name: str, value: str) -> None:
        self.text = value


async def test_they_are_taken_in_once() -> None:
    lessons = DurationStore(Notes(json.dumps(KNOWN)))

    async def read_and_forget() -> None:
        await lessons.load()
        lessons.durations.load({"step": KNOWN["step"], "groups": {"good": [[3, 1.0, 1.0]]}})

    await asyncio.gather(read_and_forget(), lessons.load())
    await lessons.load()
    assert lessons.durations.dump()["groups"]["good"] == [[3, 1.0, 1.0]]


@pytest.mark.parametrize("text", [None, "no JSON", json.dumps(KNOWN)])
async def test_what_was_learned_is_kept(text: str | None) -> None:
    notes = Notes(text)
    lessons = DurationStore(notes)
    await lessons.load()
    lessons.durations.group("new")
    await lessons.save()
    assert "new" in json.loads(notes.text or "")["groups"]


async def test_what_could_not_be_read_is_not_replaced() -> None:
    notes = Notes("what earlier runs learned")
    notes.broken = True
    lessons = DurationStore(notes)
    await lessons.load()
    await lessons.save()
    assert notes.text == "what earlier runs learned"

"""Creates that outlive their call: joined by key, never sent twice, drained at the close."""

import asyncio
import logging
from typing import Any, cast

import pytest

from keevx_async import ImageToVideo
from keevx_async.errors import (
    APIError,
    ConfigurationError,
    JournalError,
    KeevxError,
    SubmissionPending,
    SubmissionUncertain,
)
from keevx_async.http.retry import Retryable
from keevx_async.journal.protocol import Entry, State
from keevx_async.models.request import Request, canonical_body
from keevx_async.submission.pending import PendingCreates
from keevx_async.submission.planned import Planned
from keevx_async.submission.shield import Guard
from tests.support.client import a_request
from tests.support.simulated import simulated

DOG = a_request("a dog")
CAT = a_request("a cat")
GRACE = 30.0


class Keeper:
    """Submits as a Submitter does: a second to upload, then a create that takes `answer` seconds.

    With a journal, a key is held until it is released, and what was submitted is remembered.
    """

    def __init__(self, *, journal: bool, answer: float = 6.0) -> None:
        self.answer = answer
        self.error: Exception | None = None
        self.upload = self.letting_go = 0.0
        self.sent: list[str] = []
        self.recorded: dict[str, tuple[str, ...]] = {}
        self.released: list[str] = []
        self._journal = journal
        self._held: dict[str, asyncio.Event] = {}
        self.creates = PendingCreates(submitter=cast(Any, self), grace=GRACE)
        self._began = asyncio.get_running_loop().time()

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return asyncio.get_running_loop().time() - self._began

    async def plan(self, request: Request, key: str | None) -> Planned:
        name, body = key or f"digest-{len(self.sent)}", canonical_body(request)
        entry = None
        if self._journal:
            while held := self._held.get(name):
                await held.wait()
            self._held[name] = asyncio.Event()
            if ids := self.recorded.get(name):
                entry = Entry(name, "image_to_video", State.SUBMITTED, body.decode(), 0, "", ids)
        return Planned(request, name, body, entry, is_plain=True)

    async def body(self, request: Request) -> bytes:
        return canonical_body(request)

    async def is_recorded(self, key: str) -> bool:
        return self._journal and key in self.recorded

    async def release(self, plan: Planned) -> None:
        self.released.append(plan.key)
        if held := self._held.pop(plan.key, None):
            held.set()

    async def submit(self, plan: Planned, guard: Guard) -> tuple[str, ...]:
        try:
            if plan.entry is not None:
                return plan.entry.task_ids
            await asyncio.sleep(self.upload)
            while True:
                try:
                    with guard:
                        return await self._send(plan)
                except Retryable:
                    await asyncio.sleep(100)
        finally:
            await asyncio.sleep(self.letting_go)
            await self.release(plan)

    async def _send(self, plan: Planned) -> tuple[str, ...]:
        self.sent.append(plan.key)
        try:
            await asyncio.sleep(self.answer)
        except asyncio.CancelledError:
            reason = "cancelled in flight"
            raise SubmissionUncertain(plan.request, plan.key, reason) from None
        if self.error is not None:
            raise self.error
        self.recorded[plan.key] = (f"id-{plan.key}",)
        return self.recorded[plan.key]


BOTH = pytest.mark.parametrize("journal", [False, True])
ERRORS: list[KeevxError] = [
    SubmissionUncertain(DOG, "k", "timed out"),
    JournalError("the disk is full", ["i2v-1"]),
]


async def submitted(
    keeper: Keeper, request: Request, key: str | None, timeout: float | None
) -> tuple[str, tuple[str, ...]]:
    plan, task_ids = await keeper.creates.submit(request, key, timeout)
    return plan.key, task_ids


async def pending(
    keeper: Keeper, timeout: float = 0.5, key: str | None = "k", request: Request = DOG
) -> SubmissionPending:
    with pytest.raises(SubmissionPending) as raised:
        await submitted(keeper, request, key, timeout)
    return raised.value


def begin(keeper: Keeper, timeout: float | None = None) -> asyncio.Task[Any]:
    return asyncio.create_task(submitted(keeper, DOG, "k", timeout))


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@simulated
@BOTH
async def test_a_timeout_ends_the_call_and_the_same_key_joins_the_create(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    error = await pending(keeper)
    assert keeper.elapsed == pytest.approx(0.5)
    assert (error.request, error.key) == (DOG, "k")
    assert "within 0.5 s" in str(error)
    assert await submitted(keeper, DOG, "k", None) == ("k", ("id-k",))
    assert keeper.elapsed == pytest.approx(6)
    assert await submitted(keeper, DOG, "k", None) == ("k", ("id-k",))  # and once it has ended
    assert keeper.sent == ["k"]
    assert keeper.recorded == {"k": ("id-k",)}


@simulated
@BOTH
async def test_nobody_need_ask_for_the_ids_to_be_recorded(
    journal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(journal=journal)
    with caplog.at_level(logging.INFO, "keevx_async.submission"):
        await pending(keeper)
        await asyncio.sleep(6)
    assert keeper.recorded == {"k": ("id-k",)}
    assert "id-k" in caplog.text  # without a journal the log is the only place


@simulated
@BOTH
async def test_a_key_that_was_given_by_the_client_joins_too(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    error = await pending(keeper, key=None)
    assert await submitted(keeper, DOG, error.key, None) == (error.key, (f"id-{error.key}",))
    assert len(keeper.sent) == 1


@simulated
@BOTH
async def test_two_that_join_both_get_the_ids(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    await pending(keeper)
    first, second = begin(keeper), begin(keeper)
    await pending(keeper)  # a third has less patience
    assert await first == await second == ("k", ("id-k",))
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_calls_without_a_timeout_share_a_create_too(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    calls = [begin(keeper) for _ in range(3)]
    assert {await call for call in calls} == {("k", ("id-k",))}
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_a_joiner_that_is_cancelled_ends_nothing(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    first = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(begin(keeper))
    joiner = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(joiner)
    assert keeper.elapsed == pytest.approx(2)  # at once: the create is not its own
    assert await first == ("k", ("id-k",))
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_the_first_is_cancelled_and_the_joiner_gets_the_ids(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    first = begin(keeper)
    await asyncio.sleep(1)
    joiner = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(first)
    assert await joiner == ("k", ("id-k",))
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_the_only_caller_is_cancelled_and_a_sent_create_gets_its_grace(
    journal: bool,
) -> None:
    keeper = Keeper(journal=journal)
    call = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(call)
    assert keeper.elapsed == pytest.approx(6)  # it was answered, and is recorded
    assert keeper.recorded == {"k": ("id-k",)}


@simulated
@BOTH
async def test_after_the_grace_it_is_uncertain_and_who_joined_meanwhile_hears_so(
    journal: bool,
) -> None:
    keeper = Keeper(journal=journal, answer=1000)
    call = begin(keeper)
    await asyncio.sleep(1)
    call.cancel()
    await asyncio.sleep(1)
    with pytest.raises(SubmissionUncertain, match="cancelled in flight"):
        await submitted(keeper, DOG, "k", None)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_what_was_not_sent_ends_with_its_caller_and_who_joined_meanwhile_sends_it(
    journal: bool,
) -> None:
    keeper = Keeper(journal=journal)
    keeper.upload = 10
    call = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(call)
    assert keeper.elapsed == pytest.approx(1)
    assert keeper.sent == []
    # One that joins in the very moment of the cancellation is no part of it.
    call = begin(keeper)
    await asyncio.sleep(1)
    call.cancel()
    joiner = begin(keeper)
    assert await joiner == ("k", ("id-k",))
    assert keeper.sent == ["k"]
    with pytest.raises(asyncio.CancelledError):
        await call


@simulated
@BOTH
async def test_a_refusal_that_may_pass_is_not_retried_once_its_caller_is_cancelled(
    journal: bool,
) -> None:
    keeper = Keeper(journal=journal)
    keeper.error = Retryable(APIError(503))
    call = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(call)
    assert keeper.elapsed == pytest.approx(6)
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_cancelled_after_a_timeout_the_create_goes_on(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    await pending(keeper)
    joiner = begin(keeper)
    await asyncio.sleep(1)
    await cancelled(joiner)
    assert keeper.elapsed == pytest.approx(1.5)
    assert await submitted(keeper, DOG, "k", None) == ("k", ("id-k",))
    assert keeper.sent == ["k"]


@simulated
@BOTH
@pytest.mark.parametrize(("answer", "end"), [(6.0, 6.0), (1000.0, 1 + GRACE)])
async def test_the_close_gives_it_its_grace(journal: bool, answer: float, end: float) -> None:
    keeper = Keeper(journal=journal, answer=answer)
    await pending(keeper, 1.0)
    keeper.creates.stop()
    await keeper.creates.drain()
    assert keeper.elapsed == pytest.approx(end)
    assert bool(keeper.recorded) is (answer < GRACE)


@simulated
@BOTH
async def test_the_close_ends_what_was_not_sent_and_its_callers(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    keeper.upload = 10
    first, joiner = begin(keeper), begin(keeper)
    await asyncio.sleep(1)
    keeper.creates.stop()
    await keeper.creates.drain()
    assert keeper.elapsed == pytest.approx(1)
    for call in (first, joiner):
        with pytest.raises(ConfigurationError, match="closed"):
            await call
    assert keeper.sent == []


@simulated
@BOTH
@pytest.mark.parametrize("after", [1.0, 6.5], ids=["while it is sent", "while its key is released"])
@pytest.mark.parametrize("error", ERRORS)
async def test_the_close_keeps_what_may_have_been_paid(
    journal: bool, after: float, error: KeevxError
) -> None:
    keeper = Keeper(journal=journal)
    keeper.error, keeper.letting_go = error, 1.0
    call = begin(keeper)
    await asyncio.sleep(after)
    keeper.creates.stop()
    await keeper.creates.drain()
    with pytest.raises(type(error)):
        await call
    assert keeper.released == keeper.sent == ["k"]


@simulated
@BOTH
async def test_a_call_that_had_not_planned_when_it_closed_sends_nothing(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    keeper.creates.stop()
    with pytest.raises(ConfigurationError, match="closed"):
        await submitted(keeper, DOG, "k", 5.0)
    assert keeper.released == ["k"]
    assert keeper.sent == []


@simulated
@pytest.mark.parametrize("error", ERRORS)
async def test_without_a_journal_what_may_be_paid_is_never_sent_again(error: KeevxError) -> None:
    keeper = Keeper(journal=False)
    keeper.error = error
    await pending(keeper)
    await asyncio.sleep(6)
    keeper.error = None
    for _ in range(2):
        with pytest.raises(type(error)):
            await submitted(keeper, DOG, "k", None)
    assert keeper.sent == ["k"]


@simulated
@BOTH
async def test_what_was_refused_may_be_sent_again(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    keeper.error = APIError(400, 100001, "prompt")
    await pending(keeper)
    with pytest.raises(APIError, match="prompt"):
        await submitted(keeper, DOG, "k", None)  # joined: it hears the refusal
    keeper.error = None
    assert await submitted(keeper, DOG, "k", None) == ("k", ("id-k",))
    assert keeper.sent == ["k", "k"]


@simulated
@BOTH
@pytest.mark.parametrize("ended", [False, True])
async def test_the_key_of_another_request_is_refused(journal: bool, ended: bool) -> None:
    if journal and ended:  # the journal's own to refuse
        return
    keeper = Keeper(journal=journal)
    await pending(keeper)
    await asyncio.sleep(10 if ended else 0)
    with pytest.raises(JournalError, match="another request"):
        await submitted(keeper, CAT, "k", None)
    equal = ImageToVideo.from_dict(DOG.to_dict())
    assert await submitted(keeper, equal, "k", None) == ("k", ("id-k",))
    assert keeper.sent == ["k"]


@simulated
async def test_a_key_that_another_call_holds_is_waited_for_no_longer_than_the_timeout() -> None:
    keeper = Keeper(journal=True)
    await keeper.plan(DOG, "k")  # a fan-out of the same client submits it
    error = await pending(keeper)
    assert "another call still holds its key" in str(error)
    assert keeper.sent == []


@simulated
@BOTH
async def test_a_timeout_of_zero_begins_it_all_the_same(journal: bool) -> None:
    keeper = Keeper(journal=journal)
    await pending(keeper, 0)
    assert await submitted(keeper, DOG, "k", None) == ("k", ("id-k",))
    assert keeper.sent == ["k"]

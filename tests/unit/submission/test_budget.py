"""The budget: its settings, its decisions, and a reservations that never goes beyond it."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import (
    Budget,
    BudgetExceeded,
    ConfigurationError,
    ImageGenerate,
    ImageToVideo,
    Journal,
    VideoTranslate,
)
from keevx_async.journal.null import NullJournal
from keevx_async.models.request import Request, canonical_body
from keevx_async.models.usage import UsageGroup, usage_group
from keevx_async.submission.budget import Fit, Valuation
from keevx_async.submission.reservations import Reservation, Reservations
from tests.support.client import a_request

FULL_HD = UsageGroup("image_to_video", "V", "1080p", 6)
PRICES = {"V/1080p": 0.1, "V": 0.2, "image_to_video": 0.3, "image_generate": 0.05}


def video(count: int = 1, **changes: Any) -> ImageToVideo:
    return a_request(generate_count=count, **changes)


def translation() -> VideoTranslate:
    return VideoTranslate(target_languages=["French"], video_url="https://example.com/a.mp4")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "must limit videos, seconds or cost"),
        ({"videos": -1}, "videos must be a whole number, 0 or more, or None (got -1)"),
        ({"videos": 1.5}, "videos must be a whole number"),
        ({"videos": True}, "videos must be a whole number"),
        ({"seconds": float("nan")}, "seconds must be a number"),
        ({"cost": 5}, "cost=5 needs prices"),
        ({"cost": 5, "prices": {}}, "cost=5 needs prices"),
        ({"videos": 1, "prices": [("V", 1)]}, "prices must be a mapping"),
        ({"videos": 1, "prices": {"V": -1}}, "the price of V must be a number, 0 or more (got -1)"),
        ({"videos": 1, "prices": {"V": "0.1"}}, "the price of V must be a number"),
        ({"videos": 1, "prices": {"V": float("inf")}}, "the price of V must be a number"),
        ({"videos": 1, "prices": {1: 1}}, "the names of prices must be text"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Budget(**settings)
    assert isinstance(caught.value, ValueError)
    assert words in str(caught.value)


def test_a_budget_cannot_be_changed_from_outside() -> None:
    prices = {"V": 1.0}
    budget = Budget(cost=5, prices=prices)
    prices["V"] = 0.0
    assert budget.prices == {"V": 1.0}
    assert hash(budget) == hash(Budget(cost=5, prices={"V": 1.0}))


@pytest.mark.parametrize(
    ("request_", "price"),
    [
        (video(), "0.6"),  # V/1080p
        (video(aspect_resolution="4k", duration=4), "0.8"),  # V
        (video(model="S", aspect_resolution="720p", duration=4), "1.2"),
        (ImageGenerate(prompt="a dog", generate_count=8), "0.05"),
        (translation(), None),
    ],
)
def test_the_most_specific_price_of_one_result_holds(request_: Request, price: str | None) -> None:
    found = Valuation(Budget(cost=1, prices=PRICES)).price(usage_group(request_))
    assert found == (None if price is None else Decimal(price))


def test_money_is_exact() -> None:
    # Ten tenths are one: in binary they would be a little less, or more.
    valuation = Valuation(Budget(cost=1.0, prices={"image_generate": 0.1}))
    image = UsageGroup("image_generate")
    assert valuation.fits({image: 9}, {}, image, 1) is Fit.NOW
    assert valuation.fits({image: 10}, {}, image, 1) is Fit.NEVER


@pytest.mark.parametrize(
    ("budget", "request_", "words"),
    [
        (Budget(cost=1, prices={"KL": 1}), video(), "'V/1080p' or 'V' or 'image_to_video'"),
        (Budget(cost=1, prices={"V": 1}), translation(), "'video_translate'"),
        (Budget(seconds=60), translation(), "Limit videos or cost instead"),
    ],
)
async def test_what_cannot_be_valued_is_refused(
    budget: Budget, request_: Request, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await Reservations(budget, NullJournal()).reserve(request_, again=False)
    assert words in str(caught.value)
    assert "nothing was sent" in str(caught.value)


async def test_images_take_no_seconds_and_count_as_videos() -> None:
    reservations = Reservations(Budget(seconds=6, videos=9), NullJournal())
    await reserve(reservations, video())
    await reserve(reservations, ImageGenerate(prompt="a dog", generate_count=8))
    with pytest.raises(BudgetExceeded):
        await reserve(reservations, ImageGenerate(prompt="a dog"), kept=False)


async def reserve(
    reservations: Reservations, request: Request, *, kept: bool = True
) -> Reservation:
    reservation = await reservations.reserve(request, again=False)
    assert reservation is not None
    if kept:
        reservation.keep(request.count)
        reservation.end()
    return reservation


async def test_what_is_too_large_is_refused_and_what_is_smaller_still_fits() -> None:
    reservations = Reservations(Budget(videos=5), NullJournal())
    await reserve(reservations, video(3))
    with pytest.raises(BudgetExceeded) as caught:
        await reserve(reservations, video(3))
    assert caught.value.spent == {"videos": 3}
    assert "videos: 3 of 5 spent, 3 more needed" in str(caught.value)
    assert caught.value.needed == {"videos": 3}
    assert not reservations.is_exhausted
    await reserve(reservations, video(2))
    assert reservations.is_exhausted


async def test_one_waits_for_those_under_way_before_it_is_refused() -> None:
    reservations = Reservations(Budget(videos=4), NullJournal())
    first, second = [await reserve(reservations, video(2), kept=False) for _ in range(2)]
    waiting = [asyncio.ensure_future(reserve(reservations, video(2))) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    first.end()  # nothing was made: one of them fits
    second.keep(2)
    second.end()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["BudgetExceeded", "Reservation"]


async def test_a_step_that_outlives_its_call_holds_its_share() -> None:
    reservations = Reservations(Budget(videos=1), NullJournal())
    reservation = await reserve(reservations, video(), kept=False)
    with reservation:
        reservation.end()  # the call was cancelled
        waiting = asyncio.ensure_future(reserve(reservations, video()))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_more_ids_than_were_asked_for_count() -> None:
    reservations = Reservations(Budget(videos=4), NullJournal())
    (await reserve(reservations, video(), kept=False)).keep(3)
    with pytest.raises(BudgetExceeded):
        await reserve(reservations, video(2))


def test_a_loop_that_ended_leaves_what_it_reserved_as_made() -> None:
    reservations = Reservations(Budget(videos=2), NullJournal())
    left = asyncio.run(reserve(reservations, video(), kept=False))

    async def later() -> None:
        await reserve(reservations, video())
        left.end()
        with pytest.raises(BudgetExceeded):
            await reserve(reservations, video())

    asyncio.run(later())


async def test_earlier_runs_count_by_what_they_made_or_may_have() -> None:
    async with Journal(":memory:") as journal:
        for number, (request, end) in enumerate(
            [
                (video(2), "submitted"),
                (video(3), "uncertain"),
                (video(4), "refused"),
                (video(4, duration=4), "planned"),
                (video(1, duration=8), "sending"),
                (ImageGenerate(prompt="a dog"), "two ids"),
            ]
        ):
            key, kind = f"k{number}", request.kind.name
            await journal.mark_sending(key, kind, canonical_body(request))
            if end == "submitted":
                await journal.mark_submitted(key, ["i2v-1"])  # fewer than asked for
            elif end == "uncertain":
                await journal.mark_uncertain(key, "lost")
            elif end == "refused":
                await journal.mark_refused(key, "no")
            elif end == "planned":
                await journal.mark_planned(key)
            elif end == "two ids":
                await journal.mark_submitted(key, ["i2is-1", "i2is-2"])
        assert await journal.usage() == {
            FULL_HD: 5,
            FULL_HD._replace(duration=8): 1,
            UsageGroup("image_generate"): 2,
        }
        reservations = Reservations(Budget(videos=9), journal)
        with pytest.raises(BudgetExceeded) as caught:
            await reserve(reservations, video(2))
        assert caught.value.spent == {"videos": 8}
        await reserve(reservations, video())
        assert reservations.is_exhausted


async def test_one_that_is_sent_again_counts_twice_in_later_runs_too() -> None:
    async with Journal(":memory:") as journal:
        request = video(2)
        await journal.mark_sending("k", request.kind.name, canonical_body(request))
        await journal.mark_uncertain("k", "lost")
        reservations = Reservations(Budget(videos=4), journal)
        reservation = await reservations.reserve(request, again=True)
        assert reservation is not None
        reservation.keep(2)
        await journal.mark_submitted("k", ["i2v-1", "i2v-2"])
        with pytest.raises(BudgetExceeded):
            await Reservations(Budget(videos=4), _Reopened(journal)).reserve(video(), again=False)


async def test_one_that_is_sent_again_and_refused_counts_once() -> None:
    async with Journal(":memory:") as journal:
        request = video(2)
        await journal.mark_sending("k", request.kind.name, canonical_body(request))
        await journal.mark_uncertain("k", "lost")
        reservations = Reservations(None, journal)  # no budget: it counts for a later run
        reservation = await reservations.reserve(request, again=True)
        assert reservation is not None
        reservation.end()
        await reservations.save()
        later = Reservations(Budget(videos=4), _Reopened(journal))
        assert await later.reserve(video(2), again=False)


class _Reopened:
    """The same journal as another process would see it: no client of this one counts along."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


ENDS = ("made", "uncertain", "refused")


@given(
    limit=st.integers(0, 30),
    counts=st.lists(st.integers(1, 4), max_size=40),
    ends=st.lists(st.sampled_from(ENDS), min_size=40, max_size=40),
    concurrency=st.integers(1, 8),
    order=st.randoms(use_true_random=False),
)
def test_never_beyond_the_budget_and_as_many_as_fit(
    limit: int, counts: list[int], ends: list[str], concurrency: int, order: Any
) -> None:
    made: Counter[str] = Counter()
    refused: list[int] = []

    async def run() -> None:
        reservations = Reservations(Budget(videos=limit), NullJournal())
        items = iter(zip(counts, ends, strict=False))

        async def worker() -> None:
            for count, end in items:
                try:
                    reservation = await reservations.reserve(video(count), again=False)
                except BudgetExceeded:
                    refused.append(count)
                    continue
                assert reservation is not None
                for _ in range(order.randrange(4)):
                    await asyncio.sleep(0)
                if end != "refused":
                    made["videos"] += count
                    reservation.keep(count if end == "made" else 0)
                reservation.end()

        await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(run())
    assert made["videos"] <= limit
    if refused:
        assert limit - made["videos"] < min(refused), "a request that fits was refused"

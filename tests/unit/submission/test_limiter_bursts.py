"""Short runs: what goes at once after a hold, and how two 429s measure a token bucket."""

from itertools import pairwise
from typing import Any

import pytest

from keevx_async.submission.adaptive_rate import AdaptiveRate, ThrottleSample, bucket_rate

simulated: Any = pytest.importorskip("benchmarks.pacing", reason="not in the source tree")

BURST = 20


def go_at_once(limiter: AdaptiveRate, now: float) -> int:
    """Take all creates that may go at this moment; return how many."""
    sent = 0
    while limiter.delay(now) <= 0:
        limiter.take(now)
        sent += 1
    return sent


def throttle_after_burst(
    limiter: AdaptiveRate, now: float, accepted: int, retry_after: float | None
) -> float:
    """Have a burst accepted and one more create refused; return when the hold ends."""
    for _ in range(accepted):
        limiter.take(now)
        limiter.accepted(now, now)
    limiter.take(now)
    limiter.refused(now, now, retry_after)
    return now + limiter.delay(now)


def bucket_sample(rate: float, capacity: float, sending: float) -> ThrottleSample:
    """Return what is seen of a full bucket that is sent creates at an even rate until a 429."""
    level, accepted, at = capacity, [0.0], 0.0
    level -= 1
    while True:
        at += 1 / sending
        level = min(capacity, level + rate / sending)
        if level < 1:
            return ThrottleSample(accepted, [at])
        level -= 1
        accepted.append(at)


# Whole runs


@pytest.mark.parametrize("rtt", [0.001, 0.005, 0.020])
@pytest.mark.parametrize(("retry_after", "most"), [(1.0, 1.135), (None, 1.03)])
def test_a_short_run_loses_little_to_a_bucket(
    rtt: float, retry_after: float | None, most: float
) -> None:
    """Two holds of a second are 10% of the ideal time; all else may take 3.5% more."""
    runs = [simulated.short_run(100, 25, rtt, retry_after, seed) for seed in range(1, 4)]
    for run in runs:
        assert len(run.accepted) == 1_500
        assert run.refusals <= 0.03
        assert run.seconds <= most * (1_500 - 25) / 100


def test_after_a_long_slow_start_the_search_takes_longer_still() -> None:
    """Two samples of the same length would measure nothing, and miss the limit by half."""
    runs = [simulated.short_run(100, 25, 0.1, 1.0, seed) for seed in range(1, 4)]
    assert max(run.seconds for run in runs) <= 1.25 * 14.75
    assert max(run.refusals for run in runs) <= 0.03


@pytest.mark.parametrize("name", list(simulated.LIMITERS))
def test_no_create_goes_during_a_hold(name: str) -> None:
    limiter = simulated.LIMITERS[name]()
    run = simulated.Simulation(limiter, simulated.steady(100), 0.005, 1.0, jobs=600).run()
    assert run.refused
    for refused in run.refused:
        assert not [at for at in run.took if refused < at < refused + 1 - 1e-9]


# After a hold


def test_what_a_hold_has_refilled_goes_at_once_but_never_all_that_a_bucket_holds() -> None:
    limiter = AdaptiveRate()
    resumed = throttle_after_burst(limiter, 0.0, BURST, retry_after=1.0)
    assert BURST / 4 <= go_at_once(limiter, resumed) < BURST


def test_a_hold_too_short_to_refill_the_bucket_is_followed_by_no_burst() -> None:
    limiter = AdaptiveRate()
    resumed = throttle_after_burst(limiter, 0.0, BURST, retry_after=0.1)
    assert go_at_once(limiter, resumed) <= 3


def test_a_strict_limit_is_sent_no_burst() -> None:
    limiter = AdaptiveRate()
    resumed = throttle_after_burst(limiter, 0.0, 1, retry_after=1.0)
    assert go_at_once(limiter, resumed) == 1


def test_a_429_soon_after_a_hold_ends_the_bursts() -> None:
    """Bursts that a shrunken bucket refuses would cost a hold each."""
    run = simulated.Simulation(
        simulated.Bucket(0.25), lambda now: 100 if now < 10 else 20, 0.005, 1.0, jobs=4_000
    ).run(until=60)
    assert run.refusals <= 0.03
    assert run.rate_between(15, 60) >= 0.8 * 20


def test_a_window_of_a_second_is_sent_no_burst_on_a_plateau() -> None:
    """A burst on top of the measured rate would be more than the window lets through."""
    run = simulated.Simulation(
        simulated.Sliding(), simulated.steady(100), 0.005, 1.0, jobs=1_500
    ).run()
    holds = [at for at, after in pairwise([*run.refused, float("inf")]) if after - at > 0.5]
    plateau = holds[1] + 1
    assert sum(plateau <= at <= plateau + 0.05 for at in run.took) <= 10


def test_a_ceiling_holds_after_a_hold_too() -> None:
    limiter = AdaptiveRate(ceiling=2_000)
    now = 0.0
    for _ in range(BURST):
        while (wait := limiter.delay(now)) > 0:
            now += wait
        limiter.take(now)
        limiter.accepted(now, now)
    now += limiter.delay(now)
    resumed = throttle_after_burst(limiter, now, 0, retry_after=2.0)
    assert go_at_once(limiter, resumed) == 1


# A bucket measured by two 429s


@pytest.mark.parametrize("capacity", [10, 25, 60])
@pytest.mark.parametrize("rate", [40.0, 100.0, 300.0])
def test_samples_of_different_length_measure_a_buckets_rate(rate: float, capacity: int) -> None:
    flash = bucket_sample(rate, capacity, 100 * rate)
    longer = bucket_sample(rate, capacity, 1.3 * rate)
    assert bucket_rate(flash, longer, 2 * rate) == pytest.approx(rate, rel=0.05)


def test_a_longer_sample_measures_better() -> None:
    flash = bucket_sample(100, 25, 10_000)
    errors = [
        abs(bucket_rate(flash, bucket_sample(100, 25, sending), 1_000) - 100)
        for sending in (110, 400)
    ]
    assert errors[0] < 1
    assert errors[0] <= errors[1]

"""Decides when the next create may be sent. A pure state machine: time is passed as an argument.

Keevx publishes no rate limit, so this module measures the limit. There are four phases:

1. Slow start: a window limits the creates in flight, and widens until the first 429. There is no
   rate yet.
2. Hold: a 429 pauses all creates. The limit is measured from the creates accepted and refused so
   far. If it is a token bucket that the hold has refilled, most of the bucket's capacity is used
   at once after the hold, so that little of the hold's time is lost.
3. Search: if the limit could not be measured, the rate doubles every 0.28 s until the next 429, or
   more slowly after a long slow start.
4. Plateau and probe: the rate stays slightly below the measured limit for a few seconds. Then it
   grows, slowly at first and then faster, to see if the limit has risen. A probe ends with a 429.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

# Slow start
FIRST_WINDOW = 7.0  # creates in flight at first: few enough if all but one were refused
DOUBLING = 12  # creates in flight: up to here the window doubles with each round trip
OPENING = 0.34  # beyond that, how much each accepted create widens it: fewer meet a 429
WIDE = 1_000  # creates in flight: slow start is over
TICK = 0.001  # s: the resolution of timers; shorter gaps are not kept
# Holds
FIRST_HOLD = 0.1  # s: after a 429 without Retry-After; doubles while the next one is refused
WINDOW_HOLD = 1.0  # s: the most, if another 429 follows soon: most windows are a second
MAX_HOLD = 30.0  # s: the longest hold of our own, and the longest wait for a response
# Bursts: after a hold that has refilled a token bucket, and after a late timer
REFILLED = 0.9  # the share of the bucket's capacity that goes at once; the rest covers errors
TRIAL = 0.6  # the same in a search, which does not know yet that the limit is a bucket
NO_WINDOW = 1.1  # a limit this many times the number of creates first accepted is not a window
CATCH_UP = 0.25  # the share of an accepted burst that may go at once after a delay
MAX_SLACK = 0.05  # s
# Search and probe: how fast the rate grows
SEARCH_START = 40.0  # creates/s: where a search starts by default
SEARCH_GAIN = 2.5  # /s: doubles in 0.28 s; 2.5% from create to create at 100/s
SEARCH_TIMES = 0.5  # at most e^0.5 in the time that slow start took: see `bucket_rate`
PROBE_GAIN = 0.3  # a probe of y seconds multiplies by e^(0.3 y^3): by 1.04 in 0.5 s, by 11 in 2 s
CREATE_GAIN = 0.14  # at most e^0.14 per accepted create: low limits are approached slowly too
ROUND_TRIP_GAIN = 0.4  # at most e^0.4 per round trip: creates sent before the 429 are refused
MIN_RATE, MAX_RATE = 1 / MAX_HOLD, 100_000.0  # creates/s: never stuck, never infinite
IDLE = 0.01  # s: a create this late was not waiting for the rate, so the rate is kept
# Plateau
MARGIN = 0.02  # how far below the measured limit: the error of the measurement
BUCKET_MARGIN = 0.01  # the same for a bucket that a hold has refilled, which is measured best
PLATEAU_HOLDS = 22.0  # this many times the hold: probes then cost 4.5% of the time
PLATEAU_ROUND_TRIPS = 60.0  # this many round trips: probes then cost 1.5% of the requests
MIN_PLATEAU = 4.0  # s
FALLEN = 0.8  # below this share of its peak, a limit is likely to return: halve the plateau
FADING = 0.9  # the share of the peak that is kept with each probe
# Too high: a 429 soon after a hold
SETTLED = 3.0  # s: how soon "soon" is
CUT, MIN_LEFT = 0.97, 0.7  # the limit is multiplied by CUT for each in a row, down to MIN_LEFT
# Measuring
MIN_SAMPLE = 5  # creates: fewer measure nothing
FLIGHT_TIME = 0.1  # s: creates in flight sent within less time measure a burst, not a rate
VAGUE = 0.95  # the share of a bucket's highest possible rate to use if the range is wide
STRETCH = 1.25  # how far a bucket's rate may exceed what a flight or a second shows
MEMORY, BURST_MEMORY = 2_000, 400  # creates to remember
RANGE, HALVINGS = 1e5, 14  # bisection: down to this fraction of the rate, to within 0.1%
NEAR = 1e-6


class ThrottleSample:
    """Measures the limit from one 429 and the creates sent since the previous 429.

    Args:
        accepted: the times at which accepted creates were sent, in any order, in seconds of any
            clock.
        refused: the times at which refused creates were sent; at least one. These creates were in
            flight together.

    Attributes:
        accepted: the times at which accepted creates were sent, sorted.
        refused: the time at which the first refused create was sent.
        before: the times in ``accepted`` that are not after ``refused``.
        span: seconds from the first accepted create to the refusal; 0 if none was accepted before.
        last_second: the number of times in ``before`` in the last second before ``refused``.
        sustained_rate: creates per second that were accepted after the limit was exhausted; 0 if
            there were hardly any; None if the creates are too few, or too close together, to
            measure the rate.
    """

    def __init__(self, accepted: list[float], refused: list[float]) -> None:
        self.accepted: list[float] = sorted(accepted)
        self.refused: float = min(refused)
        self.before: list[float] = self.accepted[: bisect_right(self.accepted, self.refused)]
        self.span: float = self.refused - self.before[0] if self.before else 0.0
        self.last_second: int = sum(at > self.refused - 1 for at in self.before)
        self.sustained_rate: float | None = None
        after = len(self.accepted) - len(self.before)
        last = max(*refused, *self.accepted[-1:], self.refused)
        if after + len(refused) >= MIN_SAMPLE and last - self.refused >= FLIGHT_TIME:
            hardly_any = after * 3 <= len(refused)
            self.sustained_rate = 0.0 if hardly_any else after / (last - self.refused)

    def capacity(self, rate: float) -> tuple[float, float]:
        """Return bounds on the capacity of a token bucket with this rate that the 429 found empty.

        Returns:
            The lowest capacity that allows every accepted create, and the lowest capacity that
            would have allowed the refused create too.
        """
        level = _drain(0.0, self.before[-BURST_MEMORY:], -math.inf, rate)[0]
        last = self.before[-1] if self.before else -math.inf
        less_than = max(0.0, level - rate * (self.refused - last)) + 1.0
        highest = _drain(level, self.accepted[len(self.before) :], last, rate)[1]
        return highest, less_than


def _drain(level: float, sent: list[float], last: float, rate: float) -> tuple[float, float]:
    """Add 1 to a bucket at each time in ``sent``, while the bucket drains at ``rate``.

    Returns:
        The bucket's level at the end, and its highest level.
    """
    highest = level
    for at in sent:
        level = max(0.0, level - rate * (at - last)) + 1.0
        highest = max(highest, level)
        last = at
    return level, highest


def bucket_rate(first: ThrottleSample, second: ThrottleSample, max_rate: float) -> float:
    """Return the rate of a token bucket that explains both 429s, if it was full before each sample.

    Args:
        first: the earlier sample.
        second: the later sample.
        max_rate: the highest rate to return, in creates per second.
    """

    # Each 429 found the bucket empty, so at the true rate both samples show the same capacity. At a
    # lower rate, the longer sample shows a larger capacity. The more the samples differ in length,
    # the more exact the rate. If few creates leave a wide range, a high rate is returned, because
    # it is corrected sooner.
    def highest(bound: int) -> float:
        least = first.capacity
        return _highest(lambda rate: second.capacity(rate)[bound] > least(rate)[0] + NEAR, max_rate)

    same, high = highest(0), highest(1)
    if first.capacity(high)[0] < 1 + NEAR:  # no burst was ever accepted: allow none
        same = min(same, high)
    return max(VAGUE * high, same)


def _highest(holds: Callable[[float], bool], max_rate: float) -> float:
    """Bisect for the highest rate, up to ``max_rate``, for which ``holds`` is true."""
    low, high = max_rate / RANGE, max_rate
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


class AdaptiveRate:
    """Decides when creates may be sent.

    Call `delay`. When it returns 0, call `take`, send one create, and then report how the create
    ended with exactly one call: `accepted`, `refused` (with a 429), or `lost` (anything else). The
    class reads no clock. All times are arguments, in seconds of one monotonic clock, and must never
    decrease.

    Args:
        ceiling: the maximum number of creates per second, or None. At most ``ceiling * w + 1``
            creates are sent in any w seconds.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        self._spacing = self._gap = 0.0 if ceiling is None else 1.0 / ceiling
        self._rate = math.inf
        self._starting = True
        self._window = FIRST_WINDOW
        self._in_flight = 0
        self._round_trip = MAX_HOLD
        self._ready = self._taken = self._throttled_at = -math.inf
        self._hold = self._cost = FIRST_HOLD
        self._fresh = self._used = True
        self._slack = MAX_SLACK / 5
        self._search_gain = SEARCH_GAIN
        self._bursts = True
        self._accepted: deque[float] = deque(maxlen=MEMORY)
        self._refused: list[float] = []
        self._first: ThrottleSample | None = None
        self._full: ThrottleSample | None = None
        self._previous: ThrottleSample | None = None
        self._limit = self._peak = 0.0  # 0: unknown, so search for it
        self._bound = math.inf
        self._throttled_early = 0
        self._resumed = self._grown = self._probed = -math.inf

    @property
    def rate(self) -> float:
        """The creates per second allowed now; infinite until the first 429 if no ceiling is set."""
        return min(self._rate, 1.0 / self._spacing if self._spacing else math.inf)

    def delay(self, now: float) -> float:
        """Return the seconds to wait before calling this again; 0 if a create may be sent now."""
        if self._in_flight >= self._window and now < self._taken + MAX_HOLD:
            return max(TICK, self._ready - now)
        if now < self._ready:
            return self._ready - now
        if self._refused:
            self._resume(now)
        return 0.0

    def take(self, now: float) -> None:
        """Record that a create allowed by `delay` is being sent now."""
        self._in_flight += 1
        self._taken = now
        if self._gap:
            late = now - self._ready
            self._used = late < self._gap + IDLE
            self._ready = (self._ready if late < self._slack else now) + self._gap
            if self._spacing:
                self._ready = max(self._ready, now + self._spacing)

    def lost(self) -> None:
        """Report that a create ended without being accepted or refused with a 429."""
        self._in_flight -= 1
        if self._starting:
            self._widen_window()  # whatever became of it, no limit stopped it

    def accepted(self, now: float, sent: float) -> None:
        """Report that the create taken at ``sent`` was accepted."""
        self._in_flight -= 1
        self._accepted.append(sent)
        if now - sent < self._round_trip:
            self._round_trip = now - sent  # the shortest one: queueing time does not count
        if self._starting:
            self._widen_window()
        elif self._throttled_at < sent and self._first:
            self._window, self._fresh = math.inf, True
            self._raise_rate(now)

    def _widen_window(self) -> None:
        """In slow start, allow more creates in flight, evenly spaced if timers are fine enough."""
        self._window += 1.0 if self._window < DOUBLING else OPENING
        measured = self._round_trip < MAX_HOLD  # only after the first was accepted
        gap = self._round_trip / self._window if measured else 0.0
        self._gap = max(self._spacing, gap if gap > TICK else 0.0)
        if self._window > WIDE:
            self._starting, self._window, self._gap = False, math.inf, self._spacing

    def refused(self, now: float, sent: float, retry_after: float | None = None) -> None:
        """Report a 429, which pauses all creates.

        1. If the create was sent after the last 429 arrived, a new hold starts. If nothing was
           accepted since the last hold, that hold was too short: nothing is measured, and the new
           hold is twice as long.
        2. If the create was in flight when the last 429 arrived, it is added to that 429's sample.

        Args:
            now: when the 429 arrived.
            sent: when the refused create was taken.
            retry_after: the response's Retry-After in seconds; None or 0 to use our own hold.
        """
        self._in_flight -= 1
        if retry_after:
            self._ready = max(self._ready, now + retry_after)
        if sent <= self._throttled_at:
            if self._refused:
                self._refused.append(sent)
            return
        fresh, self._fresh, self._starting = self._fresh, False, False
        self._throttled_at = now
        max_hold = MAX_HOLD
        if fresh:
            max_hold = WINDOW_HOLD if self._is_early(sent) else FIRST_HOLD
            self._refused = [sent]
        self._hold = min(max_hold, self._hold * 2)
        self._cost = retry_after or self._hold
        self._ready = max(self._ready, now + self._cost)
        # After a hold that may be too short, send a single create first.
        self._window = math.inf if retry_after and fresh else 1.0

    def _is_early(self, refused: float) -> bool:
        """Return whether a 429 came so soon after a hold that the limit must have been too high."""
        return self._limit > 0 and refused < self._resumed + SETTLED

    def _resume(self, now: float) -> None:
        """After a hold, start a plateau below the limit, or a search for the limit."""
        sample = ThrottleSample(list(self._accepted), self._refused)
        self._limit = self._estimate_limit(sample)
        rate = self._limit * (1 - MARGIN)
        if not rate:  # search: from what slow start reached, or from half of the rate refused
            started = self._first is not None
            first_rate = max(SEARCH_START, sample.last_second)
            rate = min(SEARCH_START, self._rate / 2) if started else first_rate
        self._first = self._first or sample
        self._search_gain = min(SEARCH_GAIN, SEARCH_TIMES / max(self._first.span, TICK))
        if self._full is None or self._throttled_early or len(sample.accepted) < MIN_SAMPLE:
            self._full = sample
        self._previous = sample
        self._refused = []
        self._accepted.clear()
        self._resumed, self._grown = now, now + self._plateau()
        self._probed = self._grown
        self._set_rate(rate)
        self._allow_burst(now, self._first)

    def _allow_burst(self, now: float, first: ThrottleSample) -> None:
        """Set how many creates may be sent at once, after the hold and when a timer is late."""
        # 1. Creates delayed by a late timer are caught up as far as the limit tolerates bursts; a
        #    strict limit does not. While the limit is unknown, count only creates accepted within
        #    moments of each other: over a longer time, they may fit the rate without a burst.
        flash = 0.0 if self._limit else len(first.before) / FLIGHT_TIME
        burst = max(0.0, first.capacity(max(self._rate, flash))[0] - 2)
        self._slack = min(MAX_SLACK, burst * CATCH_UP / self._rate)
        # 2. There is no burst if the hold was too short to refill the bucket, or if a 429 followed
        #    soon after an earlier hold: the bucket may be smaller than it seemed.
        refilled = burst >= MIN_SAMPLE and now - self._throttled_at >= burst / self._rate
        if not refilled or not self._bursts:
            return
        # 3. In a search, part of the bucket is used at once. The rest is needed while the rate is
        #    still below the limit.
        # 4. On a plateau, a limit well above the number of creates first accepted is a bucket's: a
        #    window of a second would have accepted all of its limit before the first 429.
        if not self._limit:
            share = TRIAL
        elif self._limit > NO_WINDOW * len(first.accepted):
            share = REFILLED
            self._set_rate(self._limit * (1 - BUCKET_MARGIN))
        else:
            return
        self._slack = share * burst / self._rate
        self._ready = now - self._slack + NEAR

    def _estimate_limit(self, sample: ThrottleSample) -> float:
        """Return the estimated limit; 0 if the limit must be searched for."""
        # 1. A 429 that is not early ended a probe or a search: use the limit that it measures.
        # 2. An early 429 shows that the last limit was too high. Cut the limit, by more for each
        #    early 429 in a row; the sample's own measurement may cut it further.
        # 3. Two early 429s in a row that measure nothing: search for the limit again.
        if not self._is_early(sample.refused):
            if self._limit:
                self._throttled_early, self._bound = 0, math.inf
                self._peak = max(self._limit, self._peak * FADING)
            return min(self._bound, self._measure(sample, self._full))
        self._throttled_early += 1
        self._bursts = False
        self._bound = min(self._bound, self._limit * CUT**self._throttled_early)
        measured = sample.sustained_rate or self._measure(sample, self._previous)
        if not measured and self._throttled_early > 1 and sample.sustained_rate is None:
            return 0.0
        return max(self._limit * MIN_LEFT, min(measured or math.inf, self._bound))

    def _measure(self, sample: ThrottleSample, reference: ThrottleSample | None) -> float:
        """Return the highest limit that explains the sample, for any kind of limiter, or 0."""
        # The server's limiter may be a token bucket, a window of a second, or one that only lets
        # through what drains. Each explains the sample with a different limit. Use the highest: the
        # next 429 corrects a limit that is too high; only a later probe corrects one that is too
        # low.
        drained, second = sample.sustained_rate or 0.0, sample.last_second
        if sample.span > 1 and (sample.sustained_rate == 0 or reference is None):
            return max(drained, second)
        if self._first is None or reference is None or len(sample.before) < MIN_SAMPLE:
            return drained
        bucket = bucket_rate(reference, sample, self._rate)
        if sample.sustained_rate is not None:
            bucket = min(bucket, STRETCH * max(drained, second))
            # The number of creates is exact only to within one.
            drained *= 1 - 1 / (len(sample.accepted) - len(sample.before) or 1)
        window = min(second, len(self._first.accepted))
        since = self._previous.refused if self._previous else -math.inf
        refilled = len(sample.before) / (sample.refused - since)  # nothing was left at the last 429
        return min(self._rate, max(drained, window, bucket, refilled))

    def _plateau(self) -> float:
        """Return a plateau's length in seconds, chosen so that probes cost little.

        If the limit has fallen far below its peak, the plateau is half as long.
        """
        if not self._limit:
            return 0.0
        costs = self._cost * PLATEAU_HOLDS, self._round_trip * PLATEAU_ROUND_TRIPS
        fallen = self._limit < self._peak * FALLEN
        return max(MIN_PLATEAU, *costs) * (0.5 if fallen else 1.0)

    def _raise_rate(self, now: float) -> None:
        """Raise the rate according to the time since it was last raised."""
        since, self._grown = self._grown, max(self._grown, now)
        if now > since and self._used:
            gain = 3 * PROBE_GAIN * (now - self._probed) ** 2 if self._limit else self._search_gain
            gain = min(gain, ROUND_TRIP_GAIN / max(self._round_trip, TICK))
            self._set_rate(self._rate * math.exp(min(CREATE_GAIN, gain * (now - since))))

    def _set_rate(self, rate: float) -> None:
        self._rate = min(max(rate, MIN_RATE), MAX_RATE)
        self._gap = max(self._spacing, 1 / self._rate)

"""When the next create may go. A pure state machine: time comes in as an argument.

Slow start opens a window of creates in flight until a first 429. From then on there is a rate:
an exponential search finds the limit, a plateau stays a little below it, then a probe looks, ever
more boldly, whether there is more. A 429 holds every create, and what had been accepted and
refused until then measures the limit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

# Slow start
FIRST_WINDOW = 7.0  # creates in flight at first: few enough if all but one were refused
DOUBLING = 12  # creates in flight: up to here the window doubles with each round trip
OPENING = 0.34  # beyond, each accepted create opens it by so much: a 429 finds fewer in flight
WIDE = 1_000  # creates in flight: slow start is over
TICK = 0.001  # s: timers are no finer, and shorter gaps are not kept
# Holds
FIRST_HOLD = 0.1  # s: after a 429 that names none; doubles while the create after it is refused
WINDOW_HOLD = 1.0  # s: and up to here while a 429 comes soon after: most windows are a second
LONGEST_HOLD = 30.0  # s: of our own; also the longest that an answer is waited for
# Late timers
CATCH_UP = 0.25  # of the burst that was accepted: so many creates may go at once after a delay
LONGEST_SLACK = 0.05  # s
# Search and probe: how fast the rate grows
SEARCH_START = 40.0  # creates/s: where a search begins that knows nothing better
SEARCH_GAIN = 4.0  # /s: doubles in 0.17 s, and from create to create by 4% at 100/s
PROBE_GAIN = 0.3  # a probe of y seconds multiplies by e^(0.3 y^3): by 1.04 in 0.5 s, by 11 in 2 s
CREATE_GAIN = 0.14  # e^0.14 the most per accepted create: low limits too are met slowly
ROUND_TRIP_GAIN = 0.4  # e^0.4 the most per round trip: what goes before the 429 comes is refused
SLOWEST, FASTEST = 1 / LONGEST_HOLD, 100_000.0  # creates/s: never stuck, never infinite
IDLE = 0.01  # s: a create that comes so late was not waiting for the rate, which then stays
# Plateau
MARGIN = 0.02  # so far below the measured limit, for that errs as much
PLATEAU_HOLDS = 22.0  # so many times the hold: probes then cost 4.5% of the time
PLATEAU_ROUND_TRIPS = 60.0  # so many round trips: probes then cost 1.5% of the requests
SHORTEST_PLATEAU = 4.0  # s
FALLEN = 0.8  # below so much of its peak a limit is likely to return: half a plateau
FADING = 0.9  # of the peak, with each probe
# Too high: a 429 soon after a hold
SETTLED = 3.0  # s: what "soon" is
CUT, LEAST = 0.97, 0.7  # what it leaves of the limit: CUT to the power of how many, and no less
# Measuring
ENOUGH = 5  # creates: fewer measure nothing
FLIGHT_TIME = 0.1  # s: creates in flight sent within less measure a burst, not a rate
STRETCH = 1.25  # a bucket is believed up to so much above what a flight or a second shows
MEMORY, BURST_MEMORY = 2_000, 400  # creates that are looked back on
RANGE, HALVINGS = 1e5, 14  # a limit is sought within so much below the rate, to 0.1%
NEAR = 1e-6


class ThrottleSample:
    """What a 429 tells: when creates were sent that were accepted or refused since the last.

    Args:
        accepted: in any order.
        refused: those that were in flight together.
    """

    def __init__(self, accepted: list[float], refused: list[float]) -> None:
        self.accepted: list[float] = sorted(accepted)
        self.refused: float = min(refused)
        self.before: list[float] = self.accepted[: bisect_right(self.accepted, self.refused)]
        self.last_second: int = sum(at > self.refused - 1 for at in self.before)
        self.sustained_rate: float | None = self._sustained_rate(
            len(refused), max(*refused, *self.accepted[-1:], self.refused)
        )

    @property
    def spans_a_second(self) -> bool:
        """Whether `last_second` was one in full."""
        return bool(self.before) and self.before[0] < self.refused - 1

    def _sustained_rate(self, refused: int, last: float) -> float | None:
        """Return the rate that an exhausted limit still let through; 0 if hardly any."""
        accepted = len(self.accepted) - len(self.before)
        if accepted + refused < ENOUGH or last - self.refused < FLIGHT_TIME:
            return None
        return accepted / (last - self.refused) if accepted * 3 > refused else 0.0

    def capacity(self, rate: float) -> tuple[float, float]:
        """Return how deep a token bucket of this rate is at least, and less than what."""
        level, least, last = _drain(0.0, self.before[-BURST_MEMORY:], -math.inf, rate)
        less_than = max(0.0, level - rate * (self.refused - last)) + 1
        _, least_after, _ = _drain(level, self.accepted[len(self.before) :], last, rate)
        return max(least, least_after), less_than


def _drain(level: float, sent: list[float], last: float, rate: float) -> tuple[float, float, float]:
    """Return what is in a bucket that leaks at this rate, the most there was, and since when."""
    most = 0.0
    for at in sent:
        level -= rate * (at - last)
        level = level + 1.0 if level > 0.0 else 1.0
        if level > most:
            most = level
        last = at
    return level, most, last


def bucket_rate(one: ThrottleSample, other: ThrottleSample, most: float) -> float:
    """Return the rate of a token bucket, full before either, that explains both 429s."""

    def too_deep(rate: float) -> bool:
        return other.capacity(rate)[0] > one.capacity(rate)[1] + NEAR

    def bursts(rate: float) -> bool:
        return other.capacity(rate)[0] > 1 + NEAR

    high = _highest(lambda rate: other.capacity(rate)[1] > one.capacity(rate)[0] + NEAR, most)
    strict = one.capacity(high)[0] < 1 + NEAR  # no burst was ever accepted: then none may be
    low = max(0.9 * high, _highest(bursts if strict else too_deep, most))
    return min(high, (low + high) / 2)


def _highest(holds: Callable[[float], bool], most: float) -> float:
    """Return the highest rate up to `most` for which this holds."""
    low, high = most / RANGE, most
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


class AdaptiveRate:
    """Says when creates go; whoever takes one reports its end: accepted, refused or lost.

    Args:
        ceiling: creates per second, or None. In w seconds go at most ``ceiling * w + 1``.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        self._spacing = self._gap = 0.0 if ceiling is None else 1.0 / ceiling
        self._rate = math.inf
        self._starting = True
        self._window = FIRST_WINDOW
        self._in_flight = 0
        self._round_trip = LONGEST_HOLD
        self._ready = self._taken = self._throttled_at = -math.inf
        self._hold = self._cost = FIRST_HOLD
        self._fresh = self._used = True
        self._slack = LONGEST_SLACK / 5
        self._accepted: deque[float] = deque(maxlen=MEMORY)
        self._refused: list[float] = []
        self._first: ThrottleSample | None = None
        self._full: ThrottleSample | None = None
        self._previous: ThrottleSample | None = None
        self._limit = self._peak = 0.0  # 0: not known, search
        self._bound = math.inf
        self._throttled_early = 0
        self._resumed = self._grown = self._probed = -math.inf

    def delay(self, now: float) -> float:
        """Return the seconds until it is worth asking again; 0 when a create may go now."""
        if self._in_flight >= self._window and now < self._taken + LONGEST_HOLD:
            return max(TICK, self._ready - now)
        if now < self._ready:
            return self._ready - now
        if self._refused:
            self._resume(now)
        return 0.0

    def take(self, now: float) -> None:
        """Note that a create goes now."""
        self._in_flight += 1
        self._taken = now
        if self._gap:
            late = now - self._ready
            self._used = late < self._gap + IDLE
            due = self._ready if late < self._slack else now
            self._ready = max(due + self._gap, now + self._spacing)

    def lost(self) -> None:
        """Note that a create ended, but neither accepted nor refused with a 429."""
        self._in_flight -= 1
        if self._starting:
            self._widen_window()  # whatever became of it, no limit stood in its way

    def accepted(self, now: float, sent: float) -> None:
        """Note that the create taken at `sent` was accepted."""
        self._in_flight -= 1
        self._accepted.append(sent)
        if now - sent < self._round_trip:
            self._round_trip = now - sent  # the shortest: what waits in queues is no distance
        if self._starting:
            self._widen_window()
        elif self._throttled_at < sent and self._first:
            self._window, self._fresh = math.inf, True
            self._raise_rate(now)

    def _widen_window(self) -> None:
        """Slow start: let more be in flight, evenly spaced where timers can."""
        self._window += 1.0 if self._window < DOUBLING else OPENING
        known = self._round_trip < LONGEST_HOLD  # not before the first was accepted
        gap = self._round_trip / self._window if known else 0.0
        self._gap = max(self._spacing, gap if gap > TICK else 0.0)
        if self._window > WIDE:
            self._starting, self._window, self._gap = False, math.inf, self._spacing

    def refused(self, now: float, sent: float, retry_after: float | None = None) -> None:
        """Note a 429: every create is held.

        Args:
            now: when it came.
            sent: when its create was taken; before the last 429 came, it is no news.
            retry_after: the seconds that it asks for; None or 0 leaves them to us.
        """
        self._in_flight -= 1
        if retry_after:
            self._ready = max(self._ready, now + retry_after)
        if sent > self._throttled_at:
            self._begin_hold(now, sent, retry_after)
        elif self._refused:
            self._refused.append(sent)

    def _begin_hold(self, now: float, sent: float, retry_after: float | None) -> None:
        """Hold. If none was accepted since the last hold, that was too short, nothing else."""
        fresh, self._fresh, self._starting = self._fresh, False, False
        self._throttled_at = now
        longest = LONGEST_HOLD
        if fresh:
            longest = WINDOW_HOLD if self._is_early(sent) else FIRST_HOLD
            self._refused = [sent]
        self._hold = min(longest, self._hold * 2)
        self._cost = retry_after or self._hold
        self._ready = max(self._ready, now + self._cost)
        # After a hold that may be too short one goes ahead, alone.
        self._window = math.inf if retry_after and fresh else 1.0

    def _is_early(self, refused: float) -> bool:
        return self._limit > 0 and refused < self._resumed + SETTLED

    def _resume(self, now: float) -> None:
        """After a hold: a plateau below the limit, or a search for it."""
        evidence = ThrottleSample(list(self._accepted), self._refused)
        self._limit = self._estimate_limit(evidence)
        rate = self._limit * (1 - MARGIN) or self._search_from(evidence)
        self._first = self._first or evidence
        if self._full is None or self._throttled_early or len(evidence.accepted) < ENOUGH:
            self._full = evidence
        self._previous = evidence
        self._refused = []
        self._accepted.clear()
        self._resumed, self._grown = now, now + self._plateau()
        self._probed = self._grown
        self._set_rate(rate)
        # Late creates are made up for as far as bursts are borne; a strict limit bears none.
        burst = self._first.capacity(self._rate)[0] - 2
        self._slack = min(LONGEST_SLACK, max(0.0, burst) * CATCH_UP / self._rate)

    def _estimate_limit(self, evidence: ThrottleSample) -> float:
        """Return the limit, 0 where it is to be searched for."""
        if not self._is_early(evidence.refused):
            if self._limit:
                self._throttled_early, self._bound = 0, math.inf
                self._peak = max(self._limit, self._peak * FADING)
            return min(self._bound, self._measure(evidence, self._full))
        self._throttled_early += 1
        self._bound = min(self._bound, self._limit * CUT**self._throttled_early)
        measured = evidence.sustained_rate or self._measure(evidence, self._previous)
        if not measured and self._throttled_early > 1 and evidence.sustained_rate is None:
            return 0.0
        return max(self._limit * LEAST, min(measured or math.inf, self._bound))

    def _measure(self, evidence: ThrottleSample, reference: ThrottleSample | None) -> float:
        """Return the highest limit that some kind of limiter would have; 0 if none is known."""
        leak, second = evidence.sustained_rate or 0.0, evidence.last_second
        if evidence.spans_a_second and (evidence.sustained_rate == 0 or reference is None):
            return max(leak, second)
        if self._first is None or reference is None or len(evidence.before) < ENOUGH:
            return leak
        bucket = bucket_rate(reference, evidence, self._rate)
        if evidence.sustained_rate is not None:
            bucket = min(bucket, STRETCH * max(leak, second))
        window = min(second, len(self._first.accepted))
        return min(self._rate, max(leak, window, bucket, self._refill(evidence)))

    def _refill(self, evidence: ThrottleSample) -> float:
        """Return what went since the last 429, when nothing was left, per second."""
        since = self._previous.refused if self._previous else -math.inf
        return len(evidence.before) / (evidence.refused - since)

    def _search_from(self, evidence: ThrottleSample) -> float:
        if self._first is None:
            return max(SEARCH_START, evidence.last_second)
        return min(SEARCH_START, self._rate / 2)

    def _plateau(self) -> float:
        """Return the seconds for which a probe is not worth what it costs."""
        if not self._limit:
            return 0.0
        costs = self._cost * PLATEAU_HOLDS, self._round_trip * PLATEAU_ROUND_TRIPS
        fallen = self._limit < self._peak * FALLEN
        return max(SHORTEST_PLATEAU, *costs) * (0.5 if fallen else 1.0)

    def _raise_rate(self, now: float) -> None:
        """Raise the rate for the time that has passed since it was raised last."""
        since, self._grown = self._grown, max(self._grown, now)
        if now > since and self._used:
            gain = 3 * PROBE_GAIN * (now - self._probed) ** 2 if self._limit else SEARCH_GAIN
            gain = min(gain, ROUND_TRIP_GAIN / max(self._round_trip, TICK))
            self._set_rate(self._rate * math.exp(min(CREATE_GAIN, gain * (now - since))))

    def _set_rate(self, rate: float) -> None:
        self._rate = min(max(rate, SLOWEST), FASTEST)
        self._gap = max(self._spacing, 1 / self._rate)

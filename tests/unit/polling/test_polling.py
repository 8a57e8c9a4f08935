"""When a task is asked about: within the policy's bounds, each once, none forgotten."""

import math
import random
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keevx_async.polling.durations import Durations
from keevx_async.polling.schedule import Schedule
from keevx_async.settings import PollPolicy

POLICY = PollPolicy(shortest=0.5, longest=20.0)
WIDE = PollPolicy(shortest=1e-3, longest=1e7)

ages = st.floats(0, 10_000)
chances = st.floats(0, 1, exclude_max=True)


def made(policy: PollPolicy = POLICY, chance: float | None = None, seed: int = 0) -> Schedule:
    uniform = random.Random(seed).random if chance is None else lambda: chance
    return Schedule(policy, Durations(), uniform)


def gap(schedule: Schedule, now: float) -> float:
    when = schedule.next_at()
    assert when is not None
    return when - now


def asked(schedule: Schedule, until: float) -> list[tuple[float, str]]:
    """Every poll until then, each answered at once: not ended."""
    polls: list[tuple[float, str]] = []
    while (when := schedule.next_at()) is not None and when <= until:
        for name in schedule.due(when, most=1):
            polls.append((when, name))
            schedule.plan(name, when)
    return polls


@given(ages, chances, st.floats(0.01, 10), st.floats(1, 100), st.lists(ages, max_size=30))
@settings(max_examples=30)
def test_no_task_is_asked_about_more_often_or_more_rarely_than_the_policy_says(
    age: float, chance: float, shortest: float, times: float, ended: list[float]
) -> None:
    policy = PollPolicy(shortest=shortest, longest=shortest * times)
    schedule = made(policy, chance)
    for i, duration in enumerate(ended):
        schedule.add(str(i), "", 0.0, 0.0)
        schedule.ended(str(i), duration, duration)
    schedule.add("a", "", 0.0, age)
    assert gap(schedule, age) <= policy.longest * (1 + 1e-9) + 1e-9
    assert schedule.due(age + policy.longest * 1.01, most=9) == ["a"]
    schedule.plan("a", age)
    assert policy.shortest * (1 - 1e-9) <= gap(schedule, age) + 1e-9
    assert gap(schedule, age) <= policy.longest * (1 + 1e-9) + 1e-9


@given(chances, st.floats(0.01, 1))
def test_where_the_bounds_are_at_odds_the_longest_holds(chance: float, longest: float) -> None:
    schedule = made(PollPolicy(shortest=5.0, longest=longest), chance)
    schedule.add("a", "", 0.0, 0.0)
    assert 0 < gap(schedule, 0.0) <= longest


def test_while_nothing_is_known_the_interval_grows_with_the_age() -> None:
    schedule, waits = made(chance=0.5), []
    for age in (0.0, 5.0, 10.0, 50.0, 500.0):
        schedule.add("a", "", 0.0, 0.0)
        schedule.plan("a", age)
        waits.append(gap(schedule, age))
    assert waits == sorted(waits)
    assert waits[0] < 1 < waits[-1]


@pytest.mark.parametrize("age", [0.0, 30.0, 1_000.0])
def test_tasks_created_together_are_not_asked_about_together(age: float) -> None:
    schedule = made()
    for number in range(1_000):
        schedule.add(str(number), "", 0.0, age)
    moments: set[float] = set()
    while (when := schedule.next_at()) is not None:
        moments.add(when)
        schedule.due(when, most=1)
    assert len(moments) > 900
    assert max(moments) - min(moments) > 0.09


def test_a_learned_schedule_spreads_them_too() -> None:
    schedule, rng = made(WIDE), random.Random(1)
    for _ in range(100):
        schedule.add("a", "", 0.0, 0.0)
        duration = rng.lognormvariate(math.log(100.0), 0.15)
        schedule.ended("a", duration, duration)
    for number in range(1_000):
        schedule.add(str(number), "", 0.0, 0.0)
    first = sorted(when for when, _ in asked(schedule, 100.0)[:1_000])
    assert first[900] - first[100] > 1.0


def test_a_due_task_is_given_once_until_it_is_planned_again() -> None:
    schedule = made()
    schedule.add("a", "", 0.0, 0.0)
    assert schedule.due(0.4, most=9) == []
    assert schedule.due(99.0, most=9) == ["a"]
    assert schedule.due(99.0, most=9) == []
    assert schedule.next_at() is None
    schedule.plan("a", 99.0)
    assert schedule.due(200.0, most=9) == ["a"]


def test_the_earliest_come_first_and_no_more_than_asked() -> None:
    chances = iter([0.9, 0.1, 0.5])
    schedule = Schedule(POLICY, Durations(), lambda: next(chances))
    for name in ("late", "early", "middle"):
        schedule.add(name, "", 0.0, 0.0)
    assert schedule.due(99.0, most=2) == ["early", "middle"]
    assert schedule.due(99.0, most=0) == []
    assert schedule.due(99.0, most=2) == ["late"]


def test_a_dropped_task_is_not_due_and_is_not_planned_again() -> None:
    schedule = made()
    schedule.add("a", "", 0.0, 0.0)
    for name in ("a", "never there"):
        schedule.drop(name)
        schedule.plan(name, 5.0)  # its query was under way
        schedule.wake(name, 5.0)
        schedule.ended(name, 5.0)
    assert schedule.next_at() is None
    assert schedule.due(999.0, most=9) == []
    assert len(schedule) == 0


def test_a_task_dropped_and_added_again_is_asked_about_once() -> None:
    schedule = made(chance=0.5)
    schedule.add("first", "", 0.0, 0.0)
    for now in (0.1, 0.2, 0.3):
        schedule.add("again", "", now, now)
        schedule.drop("again")
    schedule.add("again", "", 0.4, 0.4)
    schedule.add("again", "", 0.0, 0.4)  # known already: left as it is
    assert schedule.due(0.85, most=9) == ["first"], "not at the time of an earlier wait"
    assert schedule.due(99.0, most=9) == ["again"]


def test_an_age_counts_from_creation_so_a_restart_asks_at_once() -> None:
    schedule = made()
    schedule.add("old", "", created_at=0.0, now=600.0)
    schedule.add("of unknown age", "", created_at=None, now=600.0)
    assert gap(schedule, 600.0) < POLICY.shortest
    assert sorted(schedule.due(600.5, most=9)) == ["of unknown age", "old"]


def test_a_task_of_unknown_age_teaches_nothing() -> None:
    durations = Durations()
    schedule = Schedule(POLICY, durations)
    schedule.add("a", "group", created_at=None, now=0.0)
    schedule.ended("a", 5.0)
    assert durations.dump()["groups"] == {}


def test_a_woken_task_is_due_at_once_but_not_twice_within_the_shortest() -> None:
    schedule = made()
    schedule.add("a", "", 0.0, 0.0)
    schedule.wake("a", 0.1)
    assert schedule.due(0.1, most=9) == ["a"]
    schedule.plan("a", 0.2)
    schedule.wake("a", 0.3)
    assert schedule.due(0.3, most=9) == []
    assert schedule.due(0.7, most=9) == ["a"]


def test_a_task_woken_while_it_is_asked_about_is_asked_again() -> None:
    schedule = made()
    schedule.add("a", "", 0.0, 0.0)
    assert schedule.due(100.0, most=9) == ["a"]
    schedule.wake("a", 100.1)
    assert schedule.next_at() is None
    schedule.plan("a", 100.2)
    assert schedule.due(100.7, most=9) == ["a"]


def test_a_poll_without_an_answer_teaches_nothing() -> None:
    learned = []
    for answered in (True, False):
        durations = Durations()
        schedule = Schedule(POLICY, durations)
        schedule.add("a", "group", 0.0, 0.0)
        schedule.plan("a", 95.0, answered=answered)
        schedule.ended("a", 100.0)
        learned.append(len(durations.dump()["groups"]["group"]))
    assert learned[0] < 5
    assert learned[1] > 50


def test_slowing_down_holds_every_poll_and_then_keeps_their_distances() -> None:
    schedule = made(chance=0.5)
    for i in range(10):
        schedule.add(str(i), "", i * 0.1, i * 0.1)
    before = schedule.next_at() or 0.0
    schedule.slow_down(0.0, 100.0)
    schedule.wake("9", 50.0)
    assert schedule.due(99.0, most=99) == []
    assert schedule.next_at() == 100.0
    assert schedule.due(100.0, most=99) == ["9"]
    assert schedule.next_at() == pytest.approx(before + 100.0)


def test_holds_double_while_refusals_go_on_and_start_over_after_a_quiet_time() -> None:
    schedule, now, holds = made(), 0.0, []
    for quiet in (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 500.0):
        now += quiet
        schedule.add("a", "", now - 100.0, now)
        schedule.wake("a", now)
        schedule.slow_down(now)
        schedule.slow_down(now)  # another query of the same moment
        holds.append(round(gap(schedule, now)))
        now = schedule.next_at() or 0.0
        schedule.drop("a")
    assert holds == [1, 2, 4, 8, 16, 30, 1]


@given(st.integers(1, 60), st.floats(0.5, 20.0), st.integers(0, 5))
@settings(max_examples=15)
def test_the_ceiling_is_kept_in_every_window_and_nobody_starves(
    count: int, rate: float, seed: int
) -> None:
    policy = PollPolicy(shortest=0.5, longest=20.0, max_rate=rate)
    schedule = made(policy, seed=seed)
    for i in range(count):
        schedule.add(str(i), "", 0.0, 0.0)
    polls = asked(schedule, 300.0)
    times = [when for when, _ in polls]
    assert all(b - a >= 1 / rate - 1e-9 for a, b in pairwise(times))
    longest = max(20.0, 1.7 * count / rate) + count / rate
    for i in range(count):
        own = [0.0, *(when for when, name in polls if name == str(i)), 300.0]
        assert max(b - a for a, b in pairwise(own)) <= longest + 1e-6


def test_under_the_ceiling_nothing_stretches() -> None:
    free, capped = made(), made(attrs.evolve(POLICY, max_rate=1_000.0))
    for schedule in (free, capped):
        schedule.add("a", "", 0.0, 0.0)
    assert asked(free, 500.0) == asked(capped, 500.0)


@given(st.lists(st.tuples(st.sampled_from("pwdae"), st.integers(0, 3)), max_size=300))
@settings(max_examples=30)
def test_the_heap_stays_small_whatever_happens(steps: list[tuple[str, int]]) -> None:
    schedule = made()
    for now, (step, number) in enumerate(steps * 3):
        name = str(number)
        if step == "a":
            schedule.add(name, str(number % 2), float(now), float(now))
        else:
            does = {"w": schedule.wake, "p": schedule.plan, "e": schedule.ended}
            does.get(step, lambda name, _: schedule.drop(name))(name, float(now))
        assert schedule.statistics().heap <= 2 * len(schedule) + 64


def test_kinds_no_longer_waited_for_are_let_go() -> None:
    schedule = made()
    for i in range(400):
        schedule.add("a", f"group {i}", 0.0, 0.0)
        schedule.drop("a")
    assert schedule.statistics().groups <= 256


class Scheduling(RuleBasedStateMachine):
    """Any order of adding, dropping, asking: each known task is planned, once."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = made()
        self.now = 0.0
        self.planned: set[str] = set()
        self.asking: set[str] = set()

    @rule(name=st.sampled_from("abc"), age=st.sampled_from([0.0, 5.0, 500.0]))
    def add(self, name: str, age: float) -> None:
        if name not in self.planned | self.asking:
            self.schedule.add(name, "", self.now - age, self.now)
            self.planned.add(name)

    @rule(name=st.sampled_from("abc"), ended=st.booleans())
    def leave(self, name: str, ended: bool) -> None:
        if ended:
            self.schedule.ended(name, self.now)
        else:
            self.schedule.drop(name)
        self.planned.discard(name)
        self.asking.discard(name)

    @rule(name=st.sampled_from("abc"))
    def wake(self, name: str) -> None:
        self.schedule.wake(name, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 60.0]), most=st.sampled_from([0, 1, 3, 9]))
    def ask(self, seconds: float, most: int) -> None:
        self.now += seconds
        due = self.schedule.due(self.now, most)
        assert len(due) == len({*due}) <= most
        assert {*due} <= self.planned
        if most >= 3 and seconds >= POLICY.longest:
            assert {*due} == self.planned
        self.planned -= {*due}
        self.asking |= {*due}

    @precondition(lambda self: self.asking)
    @rule(data=st.data(), answered=st.booleans())
    def answer(self, data: st.DataObject, answered: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.asking)))
        self.schedule.plan(name, self.now, answered=answered)
        self.asking.discard(name)
        self.planned.add(name)

    @invariant()
    def each_planned_task_has_its_time(self) -> None:
        when = self.schedule.next_at()
        assert (when is not None) == bool(self.planned)
        assert len(self.schedule) == len(self.planned | self.asking)


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=25, stateful_step_count=30)


@pytest.mark.parametrize(
    "wrong",
    [{"shortest": 0}, {"longest": -1}, {"concurrency": 0}, {"max_rate": 0}, {"polls_per_task": 0}],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PollPolicy(**wrong)  # type: ignore[arg-type]


def test_a_policy_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PollPolicy().shortest = 3  # type: ignore[misc]

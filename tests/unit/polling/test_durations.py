"""What is learned of durations: finite for any data, near the truth, forgotten in time, of use."""

import json
import math
import random
from collections.abc import Callable
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keevx_async.polling.durations import MAX_GROUPS, Durations, Group
from keevx_async.polling.intensity import Curve, Intensity
from keevx_async.polling.life_table import BINS, EDGES, Estimate, bin_of
from keevx_async.polling.schedule import Schedule
from keevx_async.settings import PollPolicy

WIDE = PollPolicy(shortest=1e-3, longest=1e7)
ANY_AGE = st.floats(0.0, 1e12, allow_nan=False)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = LEAF | st.lists(LEAF, max_size=4) | st.lists(st.lists(LEAF, max_size=3), max_size=3)
MAPPING = st.dictionaries(st.sampled_from(["step", "groups", "other"]), JSON, max_size=3)


def taught(ages: list[float], group: Group | None = None) -> Group:
    group = group or Group()
    for age in ages:
        group.observe(group.next_weight(0), age, age)
    return group


def drawn(count: int, sigma: float, median: float = 100.0, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(math.log(median), sigma) for _ in range(count)]


def simulated(
    draw: Callable[[int], float], count: int, policy: PollPolicy = WIDE, *, hints: bool = False
) -> list[tuple[float, int, float]]:
    """One task after another: duration, polls, lag of each."""
    schedule = Schedule(policy, Durations(), random.Random(0).random)
    rows, now = [], 1_000.0
    for i in range(count):
        born, polls, end = now, 0, now + draw(i)
        schedule.add("a", "group", born, now)
        while len(schedule):
            now = schedule.next_at() or 0.0
            if hints and now > end:
                schedule.wake("a", end)
                now = end
            assert schedule.due(now, most=9) == ["a"]
            polls += 1
            if now < end:
                schedule.plan("a", now)
            else:
                schedule.ended("a", now, end if hints else None)
        rows.append((end - born, polls, now - end))
    return rows


def product(rows: list[tuple[float, int, float]]) -> float:
    durations, polls, lags = zip(*rows, strict=True)
    return float(sum(polls) / len(rows) * sum(lags) / sum(durations))


def lognormal(sigma: float, seed: int = 1) -> Callable[[int], float]:
    rng = random.Random(seed)
    return lambda _: rng.lognormvariate(math.log(100.0), sigma)


def below(estimate: Estimate, age: float) -> float:
    return sum(estimate.density[: bin_of(age)])


@given(ANY_AGE)
@settings(max_examples=30)
def test_every_age_has_its_bin(age: float) -> None:
    k = bin_of(age)
    assert 0 <= k < BINS
    if EDGES[0] < age < EDGES[-1]:
        assert EDGES[k] * (1 - 1e-9) <= age <= EDGES[k + 1] * (1 + 1e-9)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(ANY_AGE, ANY_AGE), max_size=20),
    st.lists(st.tuples(ANY_AGE, st.integers(1, 1_000)), max_size=5),
    st.integers(0, 100_000),
)
def test_estimates_and_curves_are_finite_for_any_data(
    ends: list[tuple[float, float]], alive: list[tuple[float, int]], crowd: int
) -> None:
    group = Group()
    group.estimate([])
    for pair in ends:
        group.observe(group.next_weight(crowd), min(pair), max(pair))
    estimate = group.estimate([(age, group.next_weight(crowd), count) for age, count in alive])
    assert all(0.0 <= value <= 1.0 + 1e-9 for value in estimate.density + estimate.survival)
    assert sum(estimate.density) <= 1.0 + 1e-6
    assert all(0.0 <= value < math.inf for value in estimate.support)
    curve = Intensity(0.04, 3.2, 8.0).curve(estimate)
    for age in (0.0, 0.1, 1.0, 1e3, 1e6):
        assert 1 / 3.2 - 1e-6 <= curve.after(age, 1.0) - age <= 1 / 0.04 + 1e-6


def test_equal_durations_zeros_and_one_huge_are_learned() -> None:
    assert below(taught([100.0] * 50).estimate([]), 150.0) > 0.99
    assert sum(taught([0.0] * 50).estimate([]).density) > 0.4  # half the kernel lies off the grid
    assert below(taught([100.0] * 50 + [1e9]).estimate([]), 300.0) > 0.9


def test_quantiles_come_near_the_truth_from_intervals_alone() -> None:
    group = Group()
    for age in drawn(150, 0.35):
        group.observe(group.next_weight(0), age * 0.93, age * 1.05)
    estimate = group.estimate([])
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        age = 100.0 * math.exp(0.35 * NormalDist().inv_cdf(quantile))
        assert abs(below(estimate, age) - quantile) < 0.1


def test_tasks_still_alive_are_not_taken_for_quick_ones() -> None:
    # Of 1000 created together the first 20 have ended: the fastest, not a sample.
    group = taught(sorted(drawn(1_000, 0.35))[:20])
    naive = group.estimate([])
    censored = group.estimate([(50.0, group.next_weight(0), 980)])
    assert below(naive, 60.0) > 0.9
    assert below(censored, 60.0) < 0.05


def test_an_age_that_only_old_tasks_reached_keeps_their_durations() -> None:
    group = taught(drawn(150, 0.35))
    before = group.estimate([])
    newer = [(20.0, group.next_weight(1_000), 1_000) for _ in range(1_000)]
    after = group.estimate(newer)
    assert abs(below(after, 100.0) - below(before, 100.0)) < 0.05


def test_a_shift_is_forgotten_within_200() -> None:
    group = taught(drawn(200, 0.35, 300.0), taught(drawn(500, 0.35)))
    assert abs(below(group.estimate([]), 300.0) - 0.5) < 0.15


def test_an_end_below_an_age_moves_the_estimate_down() -> None:
    group = taught(drawn(100, 0.15))
    group.estimate([])
    for _ in range(30):
        group.observe(group.next_weight(0), 0.0, 40.0)
    assert below(group.estimate([]), 40.0) > 0.2


def test_weights_stay_finite_however_many_are_created() -> None:
    group = Group()
    first = [group.next_weight(0) for _ in range(10_000)][-1]
    for _ in range(10_000):
        group.next_weight(0)
    group.observe(first, 10.0, 10.0)
    assert sum(group.estimate([(5.0, first, 3)]).density) <= 1.0


def test_two_humps_stay_two() -> None:
    rng = random.Random(0)
    ages = [rng.lognormvariate(math.log(rng.choice((60.0, 240.0))), 0.15) for _ in range(150)]
    density = taught(ages).estimate([]).density
    between = max(density[bin_of(100.0) : bin_of(130.0)])
    assert between < 0.2 * min(max(density[: bin_of(100.0)]), max(density[bin_of(130.0) :]))


def loading(data: object) -> Durations:
    durations = Durations()
    durations.load(data)
    return durations


def test_dump_goes_through_json_and_back() -> None:
    durations = Durations()
    taught(drawn(150, 0.35), durations.group("image_to_video/V/1080p/6/False"))
    durations.group(("not", "text"))
    data = json.loads(json.dumps(durations.dump()))
    loaded = loading(data)
    assert loaded.dump() == data
    for name in data["groups"]:
        assert loaded.group(name).estimate([]) == durations.group(name).estimate([])


@given(JSON | MAPPING)
def test_garbage_teaches_nothing(data: object) -> None:
    assert loading(data).dump()["groups"] == {}


@given(JSON, st.dictionaries(st.text(max_size=3), JSON, max_size=2))
@settings(max_examples=30)
def test_garbage_inside_is_left_out(rows: object, others: dict[str, object]) -> None:
    step = Durations().dump()["step"]
    bad: list[object] = [
        rows,
        [-1, 0.5, 0.1],
        [BINS, 0.5, 0.1],
        [1, math.nan, 0.1],
        [1, 0.5, math.inf],
        [1],
    ]
    data = {"step": step, "groups": others | {"good": [*bad, [3, 0.5, 0.25]]}}
    assert loading(data).dump()["groups"]["good"] == [[3, 0.5, 0.25]]


def test_groups_are_bounded_and_the_longest_unused_goes() -> None:
    durations = Durations()
    for i in range(MAX_GROUPS):
        taught([1.0], durations.group(f"group {i}"))
    durations.group("group 0")
    durations.group("one more")
    names = durations.dump()["groups"]
    assert len(names) == MAX_GROUPS
    assert "group 0" in names
    assert "group 1" not in names


def test_a_curve_is_its_intensity_summed() -> None:
    curve = Curve([0.5] * BINS)
    for age in (0.0, 0.01, 1.0, 100.0, 1e6):
        assert math.isclose(curve.after(age, 3.0), age + 6.0, rel_tol=1e-9)


def test_polls_are_dense_where_ends_cluster_and_rare_before() -> None:
    curve = Intensity(1e-9, 1e3, 8.0).curve(taught(drawn(150, 0.25)).estimate([]))
    assert 40.0 < curve.after(0.0, 1.0) < 95.0
    assert curve.after(100.0, 1.0) - 100.0 < 15.0


def test_nothing_known_means_intervals_that_grow_with_age() -> None:
    curve = Intensity(1e-9, 1e3, 8.0).curve(Group().estimate([]))
    for age in (1.0, 10.0, 100.0):
        assert math.isclose(curve.after(age, 1.0), age * math.exp(0.2), rel_tol=0.01)


@pytest.mark.parametrize(("sigma", "best"), [(0.5, 0.40), (0.25, 0.24)])
def test_the_product_comes_near_the_optimum(sigma: float, best: float) -> None:
    rows = simulated(lognormal(sigma), 500)[100:]
    assert 6.5 < sum(polls for _, polls, _ in rows) / len(rows) < 9.0
    assert product(rows) < 1.15 * best  # 400 tasks; benchmarks/polling.py has 2,000


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_shift_of_the_mean_is_learned_within_200(factor: float) -> None:
    draw = lognormal(0.35)
    rows = simulated(lambda i: draw(i) * (factor if i >= 200 else 1.0), 600)
    assert product(rows[400:]) < 0.40  # a fixed interval gives 0.57


def test_with_callbacks_a_task_takes_at_most_one_and_a_half_polls() -> None:
    policy = PollPolicy(longest=600.0, polls_per_task=1.25)
    rows = simulated(lognormal(0.35), 300, policy, hints=True)
    assert sum(polls for _, polls, _ in rows) / len(rows) <= 1.5
    assert max(lag for _, _, lag in rows) == 0.0


def test_what_was_learned_serves_the_next_schedule() -> None:
    durations = Durations()
    first = Schedule(WIDE, durations)
    for i in range(50):
        first.add("a", "group", 0.0, 0.0)
        first.ended("a", 80.0 + i, 80.0 + i)
    second = Schedule(WIDE, loading(durations.dump()))
    second.add("a", "group", 0.0, 0.0)
    assert (second.next_at() or 0.0) > 40.0

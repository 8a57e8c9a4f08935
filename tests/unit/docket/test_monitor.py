"""When a fleet counts as stuck, and what its gauges show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from keevx_async.docket.monitor import GAUGES, FleetStatus, StuckDetector
from keevx_async.docket.rate_limit import MAX_RATE, check_rate
from keevx_async.docket.worker import check_interval
from keevx_async.errors import ConfigurationError

NAMES = ("planned", "sending", "submitted", "refused", "uncertain", "succeeded", "failed")


def status(held: float = 0.0, rate: float = 0.0, **counts: int) -> FleetStatus:
    whole: Mapping[str, int] = dict.fromkeys(NAMES, 0) | counts
    return FleetStatus(whole, rate=rate, held_seconds=held)


def test_a_fleet_that_stands_still_is_reported_once_and_again_when_it_goes_on() -> None:
    stuck = StuckDetector(60.0)
    assert stuck.observe(status(planned=5), 0.0) == ""
    assert stuck.observe(status(planned=5), 59.0) == ""
    line = stuck.observe(status(planned=5, held=12.0), 61.0)
    assert line.startswith("the fleet is stuck: nothing has ended for 61 s, 5 creates are planned")
    assert "a 429 has held its creates for 12 s" in line
    assert stuck.observe(status(planned=5), 100.0) == ""
    assert (
        stuck.observe(status(planned=4, submitted=1), 101.0) == "the fleet is making progress again"
    )
    assert stuck.observe(status(planned=4, submitted=1), 102.0) == ""


def test_a_fleet_without_work_is_not_stuck() -> None:
    stuck = StuckDetector(60.0)
    for now in (0.0, 100.0, 200.0):
        assert stuck.observe(status(submitted=3), now) == ""


def test_each_gauge_shows_a_number() -> None:
    values = {name: value(status(planned=3, rate=5.0)) for name, (*_, value) in GAUGES.items()}
    assert values["keevx_fleet_planned"] == 3
    assert values["keevx_fleet_rate"] == 5.0
    assert all(isinstance(value, (int, float)) for value in values.values())


@pytest.mark.parametrize(("slots", "ms"), [(1, 20), (16, 20), (64, 80), (1000, 250)])
def test_fewer_slots_are_filled_more_often(slots: int, ms: int) -> None:
    assert check_interval(slots) == timedelta(milliseconds=ms)


@pytest.mark.parametrize("rate", [1e9, MAX_RATE * 1.01, 1e-4])
def test_a_rate_that_is_a_typo_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match=r"rate must be from 0\.001 to 10,000 creates"):
        check_rate(rate)

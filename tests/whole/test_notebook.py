"""Progress shows how a fan-out goes, and stands in the way of nothing."""

import asyncio
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from keevx_async import FanOut, Outcome, SubmissionUncertain, notebook
from keevx_async.notebook import progress
from keevx_async.submission.shield import Guard
from tests.support.simulated import simulated

STEP = 7.0  # seconds that an item takes


def a_fan(items: Any, *, concurrency: int = 2) -> FanOut:
    async def work(outcome: Outcome, guard: Guard) -> None:
        await asyncio.sleep(STEP)
        outcome.task_ids = (f"i2v-{outcome.index}",)
        if outcome.request == "bad":  # type: ignore[comparison-overlap]  # a fan-out takes anything
            raise ValueError("bad")
        if outcome.request == "lost":  # type: ignore[comparison-overlap]  # likewise
            raise SubmissionUncertain("lost", "key", "dropped")

    return FanOut(items, lambda: work, concurrency=concurrency, grace=1.0)


class Bar:
    """Stands for tqdm, and keeps what it was told."""

    def __init__(self, *, total: int | None, desc: str, unit: str) -> None:
        self.total = total
        self.n = 0
        self.shown: list[tuple[int, str]] = []
        self.closed = False

    def set_postfix_str(self, text: str) -> None:
        self.shown.append((self.n, text))

    def close(self) -> None:
        self.closed = True


class Bars:
    """Makes them, and keeps them."""

    def __init__(self) -> None:
        self.made: list[Bar] = []

    def tqdm(self, **settings: Any) -> Bar:
        self.made.append(Bar(**settings))
        return self.made[-1]


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Bars:
    made = Bars()
    monkeypatch.setattr(notebook, "make_bar", made.tqdm)
    return made


@pytest.fixture
def no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "make_bar", None)


@simulated
async def test_awaited_it_is_the_fan_out_complete(bars: Bars) -> None:
    fan = a_fan(["ok", "bad", "lost", "ok"])
    assert await progress(fan) is fan
    assert [one.index for one in fan.outcomes] == [0, 1, 2, 3]
    (bar,) = bars.made
    assert bar.total == 4
    assert bar.shown == [
        (0, "0 ok, 2 under way"),
        (2, "1 ok, 1 failed, 2 under way"),
        (4, "2 ok, 1 failed, 1 uncertain"),
    ]
    assert bar.closed


@simulated
async def test_iterated_over_it_hands_out_each_outcome(bars: Bars) -> None:
    fan = a_fan(iter(["ok"] * 9))
    assert sorted([one.index async for one in progress(fan, total=9)]) == list(range(9))
    assert fan.outcomes == []
    (bar,) = bars.made
    assert bar.total == 9
    assert bar.shown[-1] == (9, "9 ok")
    assert bar.closed


@pytest.mark.parametrize(
    ("items", "given", "total"),
    [
        (["ok"] * 3, None, 3),
        (("ok",) * 3, None, 3),
        (range(3), None, 3),
        (["ok"] * 3, 5, 5),
        (iter(["ok"] * 3), None, None),
        ({"ok", "fine"}, None, None),
    ],
)
@simulated
async def test_the_total_is_the_caller_s_or_the_input_s_length(
    bars: Bars, items: Any, given: int | None, total: int | None
) -> None:
    await progress(a_fan(items), total=given)
    assert bars.made[0].total == total


@simulated
async def test_leaving_the_loop_early_ends_bar_and_work(bars: Bars) -> None:
    fan = a_fan(["ok"] * 10)
    async with aclosing(aiter(progress(fan))) as outcomes:
        first = await anext(outcomes)
    assert {first.index, *(one.index for one in fan.outcomes)} == {0, 1}
    assert fan.counts.under_way == 0
    assert bars.made[0].closed


@simulated
async def test_cancelling_goes_through_and_the_lists_stay(bars: Bars) -> None:
    shown = progress(a_fan(["ok"] * 10))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(STEP * 1.5):
            await shown
    assert shown.fan.task_ids == ["i2v-0", "i2v-1"]
    assert str(shown.fan.counts) == "2 ok"
    assert bars.made[0].shown[-1] == (2, "2 ok")
    assert bars.made[0].closed


@simulated
async def test_what_the_input_raises_comes_through(bars: Bars) -> None:
    def items() -> Iterator[str]:
        yield "ok"
        raise LookupError("no more lines")

    fan = a_fan(items())
    with pytest.raises(LookupError, match="no more lines"):
        await progress(fan)
    assert fan.task_ids == ["i2v-0"]
    assert bars.made[0].closed


@pytest.mark.parametrize("when", ["tqdm", "set_postfix_str", "close"])
@pytest.mark.parametrize("iterated", [False, True])
def test_a_display_that_fails_costs_nothing(
    bars: Bars,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
    iterated: bool,
) -> None:
    def broken(*args: Any, **settings: Any) -> None:
        raise BrokenPipeError("nobody reads")

    if when == "tqdm":
        monkeypatch.setattr(notebook, "make_bar", broken)
    else:
        monkeypatch.setattr(Bar, when, broken)

    @simulated
    async def run() -> None:
        shown = progress(a_fan(["ok"] * 5))
        got = [one async for one in shown] if iterated else (await shown).outcomes
        assert len(got) == 5

    with caplog.at_level(logging.WARNING, "keevx_async"):
        run()
    assert [one.getMessage() for one in caplog.records] == [
        "progress is no longer shown; the fan-out continues"
    ]


@pytest.mark.usefixtures("no_bars")
@simulated
async def test_without_tqdm_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    await progress(a_fan(["ok"] * 3 + ["bad"] * 3))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "keevx: 2 of 6 ended: 2 ok, 2 under way",  # after 10 s
        "keevx: 4 of 6 ended: 3 ok, 1 failed, 2 under way",  # after 20 s
        "keevx: 6 of 6 ended: 3 ok, 3 failed",  # at the end, after 21 s
    ]


@pytest.mark.usefixtures("no_bars")
@simulated
async def test_a_line_makes_no_total_up(capsys: pytest.CaptureFixture[str]) -> None:
    await progress(a_fan(iter(["ok"])))
    assert capsys.readouterr().err == "keevx: 1 ended: 1 ok\n"


@simulated
async def test_tqdm_itself_draws_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", err := io.StringIO())

    await progress(a_fan(["ok", "bad"]))
    last = err.getvalue().strip().split("\r")[-1]
    assert "100%" in last
    assert "1 ok, 1 failed" in last


def test_it_can_be_imported_without_the_extra() -> None:
    program = """
import sys
sys.modules["tqdm"] = None
from keevx_async import notebook
print(notebook.make_bar)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "None\n", done.stderr


@simulated
async def test_after_its_end_it_looks_no_more(bars: Bars) -> None:
    fan = await progress(a_fan(["ok"]))
    fan.counts.ok += 1
    await asyncio.sleep(60)
    assert bars.made[0].shown[-1] == (1, "1 ok")


def test_a_value_that_is_not_a_fan_out_is_refused() -> None:
    with pytest.raises(TypeError, match=r"submit_many or generate_many returns \(got a list"):
        progress([1, 2])  # type: ignore[arg-type]  # the mistake this is about

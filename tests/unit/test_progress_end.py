"""How a fan-out ended stays as text where a widget may be gone, and only there."""

from typing import Any

import pytest

from keevx_async import FanOut, Outcome, notebook
from keevx_async.notebook import progress
from tests.support.simulated import simulated


class Terminal:
    """Stands for tqdm in a terminal, which keeps the bar itself."""

    def __init__(self, **_: Any) -> None:
        self.n = 0

    def set_postfix_str(self, text: str) -> None: ...

    def close(self) -> None: ...


class Widget(Terminal):
    """Stands for tqdm in a notebook."""

    container: object = None


@pytest.mark.parametrize(
    ("bar", "expected"), [(Widget, "keevx: 3 of 3 ended: 3 ok\n"), (Terminal, "")]
)
@simulated
async def test_a_line_says_how_it_ended_below_a_widget(
    bar: type, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notebook, "make_bar", bar)

    async def work(outcome: Outcome, slot: object) -> None: ...

    items: Any = ["item"] * 3
    await progress(FanOut(items, lambda: work, concurrency=2, grace=1.0))
    assert capsys.readouterr() == (expected, "")

"""Computes amounts of results: videos, images, seconds and, if prices are set, cost."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from keevx_async.models.registry import REQUESTS
from keevx_async.models.usage import Usage
from keevx_async.settings import Budget
from keevx_async.submission.budget import Valuation


class Amounts:
    """Computes and formats the amounts and the cost of results.

    Args:
        budget: the budget with the prices to use; None for no prices.

    Attributes:
        are_shown: whether to show amounts, because limits or prices were set.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.are_shown = budget is not None
        self._valuation = (
            Valuation(budget) if budget is not None and budget.prices is not None else None
        )

    def cost(self, usage: Usage) -> Decimal | None:
        """Return the cost of results; None if there are no prices.

        Results without a price count as free; ``to_text`` shows their number.
        """
        if self._valuation is None:
            return None
        prices = ((self._valuation.price(group), count) for group, count in usage.items())
        return sum((count * price for price, count in prices if price is not None), Decimal(0))

    def to_json(self, usage: Usage) -> dict[str, float]:
        """Return ``videos``, ``images``, ``seconds`` and, if prices are set, ``cost``."""
        amounts: dict[str, float] = {"videos": 0, "images": 0, "seconds": 0}
        for group, count in usage.items():
            name = f"{result_noun(group.kind)}s"
            amounts[name] = amounts.get(name, 0) + count
            amounts["seconds"] += count * group.duration
        if (cost := self.cost(usage)) is not None:
            amounts["cost"] = float(cost)
        return amounts

    def to_text(self, usage: Usage) -> str:
        """Return the amounts in words, such as ``40 videos, 240 s, cost 24.00``."""
        counts: Counter[str] = Counter()
        seconds = unpriced = 0
        for group, count in usage.items():
            counts[result_noun(group.kind)] += count
            seconds += count * group.duration
            if self._valuation is not None and self._valuation.price(group) is None:
                unpriced += count
        parts = [
            plural(count, noun) for noun, count in sorted(counts.items(), reverse=True) if count
        ]
        if seconds:
            parts.append(f"{seconds:,} s")
        if (cost := self.cost(usage)) is not None:
            without = f" ({unpriced:,} without a price)" if unpriced else ""
            parts.append(f"cost {format_money(cost)}{without}")
        return ", ".join(parts or ["0 videos"])


def format_money(value: Decimal) -> str:
    """Format an amount of money with two decimals, or more if needed."""
    return f"{value:,.2f}" if value == round(value, 2) else f"{value.normalize():,f}"


def result_noun(kind: str) -> str:
    """Return the noun for a kind's results: ``video`` or ``image``; ``result`` if unknown."""
    request = REQUESTS.get(kind)
    return "result" if request is None else request.kind.results[0].removesuffix("_url")


def plural(count: int, noun: str) -> str:
    """Return a count and its noun: ``1 video``, ``2 videos``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

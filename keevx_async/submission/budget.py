"""Decides what a budget allows, without using a journal or waiting."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from enum import Enum

from ..errors import BudgetExceeded, ConfigurationError
from ..models.rules import MODELS
from ..models.usage import Usage, UsageGroup, UsageLimit
from ..settings import Budget

UNITS = ("videos", "seconds", "cost")
"""The units that a budget may limit. ``Budget`` has an attribute for each."""
UNKNOWN_LENGTH = frozenset({"video_translate"})
"""Kinds whose results are as long as their source, which only the server can measure."""


class Fit(Enum):
    """Whether a create fits in the remaining budget.

    Attributes:
        NOW: the create fits.
        PERHAPS: the create fits only if creates in progress give back enough reservations.
        NEVER: the create does not fit, however the creates in progress end.
    """

    NOW = "now"
    PERHAPS = "perhaps"
    NEVER = "never"


class Valuation:
    """Converts results to a budget's units. Amounts of money are exact decimals.

    Args:
        budget: the budget, with its prices and limits.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._prices = {name: _exact(price) for name, price in (budget.prices or {}).items()}
        self._limits = {
            unit: _exact(limit) for unit in UNITS if (limit := getattr(budget, unit)) is not None
        }
        self._values: dict[UsageGroup, dict[str, Decimal]] = {}

    @property
    def is_limited(self) -> bool:
        """Whether the budget has any limits. A budget may have only prices."""
        return bool(self._limits)

    def price(self, group: UsageGroup) -> Decimal | None:
        """Return the price of one result in a group; None if the budget has no price for it."""
        # Most specific first. Only results of a known length are priced per second.
        kind, model, resolution, duration = group
        for name in (f"{model}/{resolution}", model, kind):
            if name in self._prices:
                return self._prices[name] * (duration or 1)
        return None

    def check(self, group: UsageGroup) -> None:
        """Check that a result can be expressed in each unit that the budget limits.

        Raises:
            ConfigurationError: the result has no price, or its length is unknown.
        """
        if "cost" in self._limits and self.price(group) is None:
            names = [f"{group.model}/{group.resolution}", group.model] if group.model else []
            wanted = " or ".join(map(repr, [*names, group.kind]))
            raise ConfigurationError(
                f"the budget has no price for {wanted}, so its cost cannot be limited; "
                "nothing was sent. Add the price, or remove the cost limit"
            )
        if "seconds" in self._limits and group.kind in UNKNOWN_LENGTH:
            raise ConfigurationError(
                f"the length of a {group.kind} result depends on its source, so a limit on "
                "seconds cannot apply to it; nothing was sent. Limit videos or cost instead"
            )

    def spent(self, usage: Usage) -> dict[str, Decimal]:
        """Return the total of ``usage`` in each unit that the budget limits.

        Results without a price, which earlier runs may have made, count as free.
        """
        totals = dict.fromkeys(self._limits, Decimal(0))
        for group, count in usage.items():
            for unit, value in self._value(group).items():
                totals[unit] += count * value
        return totals

    def _value(self, group: UsageGroup) -> dict[str, Decimal]:
        if (value := self._values.get(group)) is None:
            every = {
                "videos": Decimal(1),
                "seconds": Decimal(group.duration),
                "cost": self.price(group) or Decimal(0),
            }
            value = self._values[group] = {unit: every[unit] for unit in self._limits}
        return value

    def fits(self, spent: Usage, reserved: Usage, group: UsageGroup, count: int) -> Fit:
        """Decide whether a create fits in the remaining budget.

        Args:
            spent: results that were made, or may have been.
            reserved: results that creates in progress may make.
            group: the group of the new create's results.
            count: the number of the new create's results.
        """
        kept, held = self.spent(spent), self.spent(reserved)
        needed = self.spent({group: count})
        limits = self._limits
        if any(kept[unit] + needed[unit] > limits[unit] for unit in limits if needed[unit]):
            return Fit.NEVER
        if any(
            kept[unit] + held[unit] + needed[unit] > limits[unit] for unit in limits if needed[unit]
        ):
            return Fit.PERHAPS
        return Fit.NOW

    def exceeded(self, spent: Usage, group: UsageGroup, count: int) -> BudgetExceeded:
        """Return the error for a create that does not fit."""
        return BudgetExceeded(
            self.budget, _plain(self.spent(spent)), _plain(self.spent({group: count}))
        )

    def limit(self) -> UsageLimit:
        """Return the limits and prices as whole numbers, for a journal that enforces them."""
        costs = [*self._prices.values(), *([cost] if (cost := self._limits.get("cost")) else [])]
        places = max((-int(value.as_tuple().exponent) for value in costs), default=0)
        scale = Decimal(10) ** max(0, places)

        def whole(unit: str, factor: Decimal = Decimal(1)) -> int | None:
            value = self._limits.get(unit)
            return None if value is None or value.is_infinite() else int(value * factor)

        prices = {name: int(price * scale) for name, price in self._prices.items()}
        return UsageLimit(whole("videos"), whole("seconds"), whole("cost", scale), prices)

    def is_exhausted(self, spent: Usage) -> bool:
        """Return whether even the smallest request no longer fits."""
        # The smallest request is one result of the shortest duration at the lowest price. (An image
        # has no seconds, but a run that limits seconds is about videos.)
        shortest = min((min(rules.durations) for rules in MODELS.values()), default=1)
        cheapest = min(self._prices.values(), default=Decimal(0))
        by_seconds = {"image_generate", "video_translate"}.isdisjoint(self._prices)
        smallest = {
            "videos": Decimal(1),
            "seconds": Decimal(shortest),
            "cost": cheapest * (shortest if by_seconds else 1),
        }
        totals = self.spent(spent)
        return any(totals[unit] + smallest[unit] > limit for unit, limit in self._limits.items())


class Balance:
    """The results spent and reserved so far, by group.

    Attributes:
        spent: results that were made, or may have been.
        reserved: results that creates in progress may make.
    """

    def __init__(self) -> None:
        self.spent: Counter[UsageGroup] = Counter()
        self.reserved: Counter[UsageGroup] = Counter()

    def reserve(self, group: UsageGroup, count: int) -> None:
        """Reserve the results that a create may make."""
        self.reserved[group] += count

    def keep(self, group: UsageGroup, count: int, made: int) -> None:
        """Move reserved results to ``spent``.

        Args:
            group: the results' group.
            count: the number of results that were reserved.
            made: the number of results that were made, or may have been.
        """
        self.reserved[group] -= count
        self.spent[group] += made

    def give_back(self, group: UsageGroup, count: int) -> None:
        """Cancel a reservation, since nothing was made."""
        self.reserved[group] -= count


def _exact(number: float) -> Decimal:
    # Converted through text, so 0.1 is exactly a tenth, as the user wrote it.
    return Decimal(str(float(number)))


def _plain(values: dict[str, Decimal]) -> dict[str, float]:
    return {
        unit: int(value) if value == int(value) else float(value) for unit, value in values.items()
    }

"""Options that limit a run's rows, budget and rate, and ``--yes``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, cast

from attrs import frozen
from cyclopts import Parameter
from cyclopts.validators import Number

from keevx_async.errors import ConfigurationError
from keevx_async.settings import Budget

from .input.selection import Selection
from .options import FLAG, SPENDING, PathOption

MAX_UNASKED = 100
"""The maximum number of videos that a run makes without asking first on a terminal."""

Prices = Annotated[
    PathOption | None,
    Parameter(
        help='JSON or TOML file with prices per second of video, such as {"V/1080p": 0.12}; per '
        "image or translation for those kinds. Keevx publishes no prices."
    ),
]


@Parameter(name="*", group=SPENDING)
@frozen(kw_only=True)
class BudgetOptions:
    """The options for the budget that all runs with the same journal share."""

    max_videos: Annotated[
        int | None,
        Parameter(
            help="Maximum number of videos or images, across all runs with this journal.",
            validator=Number(gte=0),
        ),
    ] = None
    max_seconds: Annotated[
        float | None,
        Parameter(
            help="Maximum seconds of video, across all runs with this journal.",
            validator=Number(gte=0),
        ),
    ] = None
    max_cost: Annotated[
        float | None,
        Parameter(
            help="Maximum cost, across all runs with this journal; needs --prices.",
            validator=Number(gte=0),
        ),
    ] = None
    prices: Prices = None

    @property
    def is_limited(self) -> bool:
        """Whether any limit is set; prices alone are not a limit."""
        return not self.max_videos is self.max_seconds is self.max_cost is None

    def budget(self) -> Budget | None:
        """Return the budget with its prices; None if neither limits nor prices are set.

        Raises:
            ConfigurationError: the price file cannot be read or is invalid, or ``--max-cost`` was
                passed without ``--prices``.
        """
        if self.max_cost is not None and self.prices is None:
            raise ConfigurationError(
                "--max-cost needs --prices FILE, because Keevx publishes no prices: a JSON file "
                'such as {"V/1080p": 0.12}, the price per second'
            )
        prices = None if self.prices is None else read_prices(self.prices)
        if prices is None and not self.is_limited:
            return None
        return Budget(
            videos=self.max_videos, seconds=self.max_seconds, cost=self.max_cost, prices=prices
        )


@Parameter(name="*", group=SPENDING)
@frozen(kw_only=True)
class LimitOptions(BudgetOptions):
    """All options that limit ``keevx run``."""

    limit: Annotated[
        int | None, Parameter(help="Use only the first N rows.", validator=Number(gte=1))
    ] = None
    sample: Annotated[
        int | None,
        Parameter(
            help="Use N random rows, the same rows each time, so a run can be resumed.",
            validator=Number(gte=1),
        ),
    ] = None
    rate: Annotated[
        float | None,
        Parameter(help="Maximum number of creates per second.", validator=Number(gt=0)),
    ] = None
    yes: Annotated[
        bool,
        FLAG,
        Parameter(
            help=f"Do not ask before making more than {MAX_UNASKED} videos, or with --fresh."
        ),
    ] = False

    def selection(self, total: int) -> Selection:
        """Return the selection from an input with ``total`` rows."""
        return Selection.of(total, self.limit, self.sample)


def read_prices(path: Path) -> dict[str, float]:
    """Read a price file: TOML if its suffix is ``.toml``, otherwise JSON.

    Raises:
        ConfigurationError: the file cannot be read, or does not contain prices.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        prices = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        if not isinstance(prices, dict) or not prices:
            raise ValueError('it must map names to prices, such as {"V/1080p": 0.12}')
        return cast("dict[str, float]", Budget(prices=cast(Any, prices)).prices)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # invalid JSON or TOML, or an invalid price
        raise ConfigurationError(f"{path} is not a valid price file: {error}") from error

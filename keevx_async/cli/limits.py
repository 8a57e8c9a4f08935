"""The options that limit a run: which rows, how much may be made, how fast, and whether to ask."""

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
"""Videos that a terminal is not asked about first."""

Prices = Annotated[
    PathOption | None,
    Parameter(
        help='JSON or TOML file of prices per second of video, such as {"V/1080p": 0.12}; per '
        "image or translation for those kinds. Keevx publishes none."
    ),
]


@Parameter(name="*", group=SPENDING)
@frozen(kw_only=True)
class BudgetOptions:
    """How much may be made, by all runs with the same journal together."""

    max_videos: Annotated[
        int | None,
        Parameter(
            help="Most videos, or images, that all runs with this journal may make.",
            validator=Number(gte=0),
        ),
    ] = None
    max_seconds: Annotated[
        float | None,
        Parameter(help="Most seconds of video, likewise.", validator=Number(gte=0)),
    ] = None
    max_cost: Annotated[
        float | None,
        Parameter(help="Most money, likewise; needs --prices.", validator=Number(gte=0)),
    ] = None
    prices: Prices = None

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit; prices alone are none."""
        return not self.max_videos is self.max_seconds is self.max_cost is None

    def budget(self) -> Budget | None:
        """Return the budget, with its prices; None without either.

        Raises:
            ConfigurationError: the prices cannot be read, or are missing.
        """
        if self.max_cost is not None and self.prices is None:
            raise ConfigurationError(
                "--max-cost needs --prices FILE, for Keevx publishes no prices: a JSON file such "
                'as {"V/1080p": 0.12}, in money per second'
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
    """All limits of ``keevx run``."""

    limit: Annotated[
        int | None, Parameter(help="Take only the first N rows.", validator=Number(gte=1))
    ] = None
    sample: Annotated[
        int | None,
        Parameter(
            help="Take N rows at random: the same ones each time, so that a run can be resumed.",
            validator=Number(gte=1),
        ),
    ] = None
    rate: Annotated[
        float | None,
        Parameter(help="Most creates per second.", validator=Number(gt=0)),
    ] = None
    yes: Annotated[
        bool,
        FLAG,
        Parameter(help=f"Do not ask: before more than {MAX_UNASKED} videos, and with --fresh."),
    ] = False

    def selection(self, total: int) -> Selection:
        """Return which of so many rows are taken."""
        return Selection.of(total, self.limit, self.sample)


def read_prices(path: Path) -> dict[str, float]:
    """Read a file of prices: TOML by its suffix, else JSON.

    Raises:
        ConfigurationError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        prices = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        if not isinstance(prices, dict) or not prices:
            raise ValueError('it must map names to prices, such as {"V/1080p": 0.12}')
        return cast("dict[str, float]", Budget(prices=cast(Any, prices)).prices)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # of JSON, of TOML, or of a price
        raise ConfigurationError(f"{path} is no file of prices: {error}") from error

"""What creates use of a budget: results, by what decides their length and their price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .request import Request


class UsageGroup(NamedTuple):
    """Results of one group have the same length and the same price.

    Attributes:
        kind: the name of the kind of job.
        model: the model; empty for kinds without models.
        resolution: the ``aspect_resolution``; empty likewise.
        duration: seconds of each result; 0 where it has none, or none that is known.
    """

    kind: str
    model: str = ""
    resolution: str = ""
    duration: int = 0


Usage = Mapping[UsageGroup, int]
"""Results that were made, or may have been, by their group."""


class UsageLimit(NamedTuple):
    """The most that all creates of a journal may use together, in whole numbers.

    Attributes:
        videos: results; None for no limit.
        seconds: of all results; None for no limit.
        cost: in the smallest unit of money that the prices need; None for no limit.
        prices: in the same unit, by ``model/resolution``, model or kind, most specific first.
    """

    videos: int | None
    seconds: int | None
    cost: int | None
    prices: Mapping[str, int]


def usage_group(request: Request) -> UsageGroup:
    """Return the group that a request's results belong to."""
    return UsageGroup(
        request.kind.name,
        getattr(request, "model", ""),
        getattr(request, "aspect_resolution", ""),
        getattr(request, "duration", 0),
    )

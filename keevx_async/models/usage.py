"""Counts the results of creates against a budget, grouped by length and price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .request import Request


class UsageGroup(NamedTuple):
    """A group of results with the same length and the same price.

    Attributes:
        kind: the name of the kind of job.
        model: the model; empty for kinds without models.
        resolution: the ``aspect_resolution``; empty for kinds without resolutions.
        duration: the length of each result in seconds; 0 if it has no length or an unknown length.
    """

    kind: str
    model: str = ""
    resolution: str = ""
    duration: int = 0


Usage = Mapping[UsageGroup, int]
"""The number of results, by group, that were made or may have been made."""


class UsageLimit(NamedTuple):
    """Limits on the total usage of all creates in a journal, as whole numbers.

    Attributes:
        videos: the maximum number of results; None for no limit.
        seconds: the maximum total length of the results in seconds; None for no limit.
        cost: the maximum total cost, in the smallest unit that the prices need; None for no limit.
        prices: the prices in the same unit, by ``model/resolution``, model or kind; the most
            specific name applies.
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

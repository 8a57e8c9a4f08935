"""Which rows of an input are taken, and what they amount to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import compress, islice
from typing import Self, TypeVar

from attrs import frozen

from keevx_async.models.request import canonical_body
from keevx_async.models.usage import UsageGroup, usage_group

from .formats import BadLine
from .prompts import Job

T = TypeVar("T")
SEED = 0
"""Of the sample: a second run takes the same rows, and so pays for nothing twice."""
MAX_DUPLICATES = 5
"""Groups of equal requests that are printed."""
MAX_LINES = 3
"""Line numbers that are printed of each."""


@frozen
class Selection:
    """Some of the rows of an input.

    Attributes:
        total: how many rows are taken.
        last: after how many rows of the input none is taken any more.
        chosen: for each of these, 1 where it is taken; None where all are.
    """

    total: int
    last: int
    chosen: bytes | None = None

    @classmethod
    def of(cls, total: int, limit: int | None, sample: int | None) -> Self:
        """Return the first rows of an input, or a random sample of these.

        Args:
            total: rows of the input.
            limit: how many of the first; None for all.
            sample: how many of those; None for all.
        """
        last = total if limit is None else min(limit, total)
        if sample is None or sample >= last:
            return cls(last, last)
        chosen = bytearray(last)
        for number in random.Random(SEED).sample(range(last), sample):
            chosen[number] = 1
        return cls(sample, last, bytes(chosen))

    def apply(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the rows that are taken, in their order."""
        return islice(rows, self.last) if self.chosen is None else compress(rows, self.chosen)


class Survey:
    """What rows amount to, and which of them are the same request.

    For each request, a hash and a line number are held in memory.

    Attributes:
        usage: results by their group.
    """

    def __init__(self) -> None:
        self.usage: Counter[UsageGroup] = Counter()
        self._first: dict[int, int] = {}
        self._repeated: dict[int, tuple[int, list[int]]] = {}

    @classmethod
    def of(cls, rows: Iterable[Job | BadLine]) -> Self:
        """Return the survey of rows."""
        survey = cls()
        for row in rows:
            if isinstance(row, Job):
                survey.add(row)
        return survey

    def add(self, job: Job) -> None:
        """Count a row."""
        request = job.request
        self.usage[usage_group(request)] += request.count
        body = request.kind.name.encode() + canonical_body(request)
        number = int.from_bytes(blake2b(body, digest_size=8).digest(), "big")
        line = self._first.setdefault(number, job.line)
        if line != job.line:  # one row may be meant to be made several times
            _, lines = self._repeated.setdefault(number, (request.count, [line]))
            lines.append(job.line)

    def duplicates(self) -> Iterator[str]:
        """Yield a sentence for each request that several lines have, and one for those left out.

        Such as ``lines 4 and 19 are the same request: 2 videos``.
        """
        for count, lines in islice(self._repeated.values(), MAX_DUPLICATES):
            results = count * len(lines)
            shown = [f"{line:,}" for line in lines[:MAX_LINES]]
            left = len(lines) - len(shown)
            listed = (
                f"{', '.join(shown)} and {left:,} more"
                if left
                else f"{', '.join(shown[:-1])} and {shown[-1]}"
            )
            yield f"lines {listed} are the same request: {results:,} videos"
        if (left := len(self._repeated) - MAX_DUPLICATES) > 0:
            yield f"{left:,} more requests are on several lines"

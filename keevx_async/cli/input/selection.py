"""Selects rows from an input, and counts the results they make."""

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
"""The fixed seed for samples: a second run selects the same rows, and pays for nothing twice."""
MAX_DUPLICATES = 5
"""The maximum number of groups of equal requests to print."""
MAX_LINES = 3
"""The maximum number of line numbers to print for each group."""


@frozen
class Selection:
    """A selection of an input's rows.

    Attributes:
        total: the number of selected rows.
        last: the number of rows, from the start of the input, that may be selected.
        chosen: for each of these rows, 1 if it is selected and 0 if not; None if all are selected.
    """

    total: int
    last: int
    chosen: bytes | None = None

    @classmethod
    def of(cls, total: int, limit: int | None, sample: int | None) -> Self:
        """Select the first rows of an input, or a random sample of them.

        Args:
            total: the number of rows in the input.
            limit: the number of rows to use, from the start; None for all.
            sample: the number of these rows to select at random; None for all.
        """
        last = total if limit is None else min(limit, total)
        if sample is None or sample >= last:
            return cls(last, last)
        chosen = bytearray(last)
        for number in random.Random(SEED).sample(range(last), sample):
            chosen[number] = 1
        return cls(sample, last, bytes(chosen))

    def apply(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the selected rows in order."""
        return islice(rows, self.last) if self.chosen is None else compress(rows, self.chosen)


class Survey:
    """Counts the results that rows make, and finds rows that are the same request.

    For each request, a hash and a line number are kept in memory.

    Attributes:
        usage: the number of results by usage group.
    """

    def __init__(self) -> None:
        self.usage: Counter[UsageGroup] = Counter()
        self._first: dict[int, int] = {}
        self._repeated: dict[int, tuple[int, list[int]]] = {}

    @classmethod
    def of(cls, rows: Iterable[Job | BadLine]) -> Self:
        """Return a survey of the given rows."""
        survey = cls()
        for row in rows:
            if isinstance(row, Job):
                survey.add(row)
        return survey

    def add(self, job: Job) -> None:
        """Add a row to the counts."""
        request = job.request
        self.usage[usage_group(request)] += request.count
        body = request.kind.name.encode() + canonical_body(request)
        number = int.from_bytes(blake2b(body, digest_size=8).digest(), "big")
        line = self._first.setdefault(number, job.line)
        if line != job.line:  # --repeat may make one row several times
            _, lines = self._repeated.setdefault(number, (request.count, [line]))
            lines.append(job.line)

    def duplicates(self) -> Iterator[str]:
        """Yield a sentence for each request that is on several lines.

        For example, ``lines 4 and 19 are the same request: 2 videos``. If there are more than
        ``MAX_DUPLICATES`` such requests, a last sentence counts the others.
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

"""How much of a large product of cases one run of the suite takes.

Every run samples, with another seed each time (pytest-randomly prints it). The whole product is an
evening's work:

    KEEVX_THOROUGH=1 make test
"""

import os
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

THOROUGH = bool(os.environ.get("KEEVX_THOROUGH"))

T = TypeVar("T")


def rotated(variants: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the variants that each place of a sweep is tried with, endlessly.

    Place by place, all of them in turn, from a random one on; where the run is thorough, all of
    them at each place.
    """
    place = random.randrange(len(variants))
    while True:
        yield variants if THOROUGH else [variants[place % len(variants)]]
        place += 1

"""Python's search for reference cycles, made rare while tables are worked on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_OBJECTS: Final = 100_000
"""Objects that are made between two searches; Python's own number is 700 to 2,000."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Search for cycles a hundred times more rarely inside the `with`.

    Outlines are made by the hundred thousand and are in no cycle; looking at each again and again took a tenth of the time of
    comparing 10,000 lakes. Whoever has set higher numbers, or none, keeps them.
    """
    before = gc.get_threshold()
    if 0 < before[0] < _OBJECTS:
        gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)

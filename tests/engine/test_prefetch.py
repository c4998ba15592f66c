"""The next item while the current one is in use."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from cryosentinel_core.engine.prefetch import prefetch


def test_order_one_ahead_and_no_more() -> None:
    made: list[int] = []

    def make() -> Generator[int, None, None]:
        for number in range(5):
            made.append(number)
            yield number

    seen = []
    for item in prefetch(make(), "made"):
        # The next one may be on its way; the one after it must not be.
        assert max(made) <= item + 1
        seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_the_next_is_made_while_this_one_is_used() -> None:
    asked = threading.Event()

    def make() -> Generator[int, None, None]:
        yield 1
        asked.set()
        yield 2

    items = prefetch(make(), "made")
    assert next(items) == 1
    assert asked.wait(10), "nobody asked for the second item, and yet it is made"
    items.close()


def test_errors_come_where_their_item_would() -> None:
    def make() -> Generator[int, None, None]:
        yield 1
        raise ValueError("two")

    items = prefetch(make(), "made")
    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_leaving_early_closes_the_maker_and_its_thread() -> None:
    closed: list[str] = []

    def make() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread().name)

    items = prefetch(make(), "leaving")
    next(items)
    items.close()
    assert len(closed) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("leaving")]

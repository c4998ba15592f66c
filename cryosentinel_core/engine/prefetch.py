"""Prefetching: the next item is made while the current one is in use, so that stages run side by side with no queue to grow."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

_END: Final = object()


def prefetch(items: Generator[T, None, None], name: str) -> Generator[T, None, None]:
    """The items in their order, each being made in a thread while the one before is in use.

    At most one item waits. An error of the maker is raised where its item is asked for. If the items are not used up, the maker is
    closed, after the item that it is at.

    Args:
        items: The maker; runs in a thread of its own from now on.
        name: Of the thread.
    """
    try:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix=name) as maker:
            following = maker.submit(next, items, _END)
            while (item := following.result()) is not _END:
                following = maker.submit(next, items, _END)
                yield item  # type: ignore[misc]
                del item
    finally:
        items.close()

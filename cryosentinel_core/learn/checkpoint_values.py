"""Values that a checkpoint's file may hold, as inert data: records of tensors, and placeholders of whatever class it names.

Neighbours: `io.weights.unpickle` makes them of a file; `plain_values` turns them into plain data.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, Final, NoReturn

MAX_INERT: Final = 100_000
"""Most placeholders of instances that are made of one pickle."""


@dataclass(frozen=True)
class StorageRecord:
    """Place of a storage in the archive: record key, element type, number of elements."""

    key: str
    dtype: str
    numel: int

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a storage takes no state")


@dataclass(frozen=True)
class TensorRecord:
    """A tensor not yet read: a strided view of a storage, checked to lie inside it."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a tensor takes no state")


class PlaceholderBudget:
    """Number of placeholders that may still be made of one file."""

    def __init__(self) -> None:
        self.left = MAX_INERT

    def spend(self) -> None:
        """Count one more.

        Raises:
            pickle.UnpicklingError: If there are too many.
        """
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"more than {MAX_INERT} objects")


class InertDict(dict[Any, Any]):
    """An ordered dict of the file, without the attributes that the file wants on it."""

    def __setstate__(self, state: object) -> None:
        """Drop the state (PyTorch keeps `_metadata` there)."""


class Inert:
    """Placeholder of an instance of some class: what the file says of it, and no behaviour."""

    class_name = ""
    budget: PlaceholderBudget | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:  # noqa: D102
        if cls.budget is not None:
            cls.budget.spend()
        self = super().__new__(cls)
        self.args = args
        self.kwargs = kwargs
        self.state = None
        self.entries = {}
        self.elements = []
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args: tuple[Any, ...]
        self.kwargs: dict[str, Any]
        self.state: Any
        self.entries: dict[Any, Any]
        self.elements: list[Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        check_key(key)
        self.entries[key] = value

    def append(self, element: Any) -> None:
        """Keep an element that the file adds to a list or set."""
        self.elements.append(element)

    def extend(self, elements: list[Any]) -> None:
        """Keep elements that the file adds to a list."""
        self.elements.extend(elements)

    add = append


def check_key(key: Any, depth: int = 0) -> None:
    """Refuse a dict key or set element whose hash could take for ever: tuples that hold one another, or very many parts.

    Python computes the hash of a tuple anew from all that is in it, shared parts as often as they are referred to, and
    without a limit to its depth: thirty levels of pairs in a hundred bytes take hours, and a hundred thousand levels
    the stack.

    Raises:
        pickle.UnpicklingError: If it is one.
    """
    if isinstance(key, tuple | frozenset):
        if depth >= 3 or len(key) > 32:
            raise pickle.UnpicklingError("a key is nested or long")
        for part in key:
            check_key(part, depth + 1)

"""Which chips train, which choose and which judge: blocks of degrees, so that neighbours are never on both sides.

A block is a square of latitude and longitude; its split hangs on a hash of its address alone, so that every year, region and person
gives the same ground to the same split. Two rules are told apart by name. `published` is the released one: chips whose centre lies
near a block's edge are dropped. `extents` also drops every chip whose real extent touches ground of another split, which alone
proves, for blocks of any size and at any latitude, that no two kept chips of different splits share ground. Neighbours:
`chip_footprints` says where a chip's edges lie; `overlaps` proves what is claimed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosentinel_core.chips.chip_footprints import lonlat_bounds
from cryosentinel_core.errors import ConfigError

SplitRule = Literal["published", "extents"]
"""How chips near a block's edge are judged."""

TRAIN, VAL, TEST, UNKNOWN = "train", "val", "test", "UNKNOWN"
BUFFER: Final = "BUFFER"
"""Of a chip that is dropped: too near to ground of another block."""

KEPT: Final = (TRAIN, VAL, TEST)
"""Splits whose chips are used."""

PUBLISHED_SALT: Final = "cryosentinel-blocks-v1"
FINETUNE_SIZE_DEG: Final = 0.15
"""Block size of the published fine-tune."""

PRETRAINING_SIZE_DEG: Final = 0.25
"""Block size of the published pretraining (stage 4a)."""


@dataclass(frozen=True, kw_only=True)
class BlockSplit:
    """A spatial block split; the defaults are the published fine-tune's.

    Attributes:
        size_deg: Side of a block, degrees of latitude and of longitude.
        buffer_deg: A chip whose centre is nearer to its block's edge than this, on either axis, is dropped.
        salt: Goes into the hash: another salt is another split.
        rule: `published`, or `extents` (see the top of this file), which drops more.
        train_below: Buckets 0..99 below this train.
        val_below: Buckets from `train_below` to below this validate; the rest tests.
    """

    size_deg: float = FINETUNE_SIZE_DEG
    buffer_deg: float = 0.02
    salt: str = PUBLISHED_SALT
    rule: SplitRule = "published"
    train_below: int = 80
    val_below: int = 90

    def __post_init__(self) -> None:
        """Refuse what is no split.

        Raises:
            ConfigError: If a value is outside its range.
        """
        if not 0.001 <= self.size_deg <= 90:
            raise ConfigError(f"blocks of {self.size_deg:g} degrees", "wanted 0.001 to 90")
        if not 0 <= self.buffer_deg < self.size_deg / 2:
            raise ConfigError(
                f"a buffer of {self.buffer_deg:g} degrees in blocks of {self.size_deg:g}",
                "wanted 0 to less than half a block: nothing would be left",
            )
        if not 0 <= self.train_below <= self.val_below <= 100:
            raise ConfigError(f"buckets {self.train_below} and {self.val_below}", "wanted 0 <= train <= val <= 100")
        if self.rule not in ("published", "extents"):
            raise ConfigError(f"split rule {self.rule!r}", "it can be published or extents")

    @classmethod
    def of_size(cls, size_deg: float) -> BlockSplit:
        """The published split in blocks of another size, with a smaller buffer where the published one would leave nothing."""
        return cls(size_deg=size_deg, buffer_deg=min(cls.buffer_deg, size_deg / 4))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for records."""
        return asdict(self)

    def changed(self, changes: Mapping[str, Any]) -> BlockSplit:
        """This split with some settings changed.

        Raises:
            ConfigError: If they make no split.
        """
        return replace(self, **changes)

    def bucket_of(self, lat_index: int, lon_index: int) -> int:
        """0..99 of a block: the first 8 hex digits of the SHA-1 of its salted address, modulo 100."""
        text = f"{self.salt}|{lat_index}|{lon_index}"
        return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8], 16) % 100

    def split_of_block(self, lat_index: int, lon_index: int) -> str:
        """`train`, `val` or `test` of a block."""
        bucket = self.bucket_of(lat_index, lon_index)
        return TRAIN if bucket < self.train_below else VAL if bucket < self.val_below else TEST

    def blocks_of(self, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.int64]:
        """(N, 2) indices (latitude, longitude) of the blocks that hold some points, whole numbers from 0 at 0 degrees."""
        both = np.column_stack([np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)])
        return np.asarray(np.floor(both / self.size_deg), dtype=np.int64)

    def assign(self, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.str_]:
        """The split of some chips by their centres.

        Args:
            lat: (N,) degrees north, finite.
            lon: (N,) degrees east, finite.

        Returns:
            (N,) `train`, `val`, `test`, or `BUFFER` for those that are dropped. The year plays no part.

        Source: the released code, bit for bit (which of two neighbouring doubles is dropped hangs on how the distance is written).
        """
        north, east = (np.atleast_1d(np.asarray(one, dtype=np.float64)) for one in (lat, lon))
        found = self._of_blocks(self.blocks_of(north, east))
        dropped = (self._edge_distance(north) < self.buffer_deg) | (self._edge_distance(east) < self.buffer_deg)
        if self.rule == "extents" and north.size:
            dropped |= self._touches_others(north, east, found, ~dropped)
        found[dropped] = BUFFER
        return found

    def _edge_distance(self, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance to the nearer edge of the block, degrees; written as the released code writes it."""
        share = (degrees / self.size_deg) % 1.0
        return np.asarray(np.minimum(share, 1.0 - share) * self.size_deg)

    def _of_blocks(self, blocks: NDArray[np.int64]) -> NDArray[np.str_]:
        """(N,) splits of (N, 2) blocks."""
        if not len(blocks):
            return np.empty(0, dtype="<U7")
        different, which = np.unique(blocks, axis=0, return_inverse=True)
        splits = np.array([self.split_of_block(int(row), int(col)) for row, col in different], dtype="<U7")
        return np.asarray(splits[which.reshape(-1)])

    def _touches_others(
        self, lat: NDArray[np.float64], lon: NDArray[np.float64], own: NDArray[np.str_], asked: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """(N,) True where a chip that is asked about touches a block of another split, or the antimeridian."""
        answer = np.zeros(lat.size, dtype=bool)
        which = np.flatnonzero(asked)
        if not which.size:
            return answer
        west, south, east, north = lonlat_bounds(lat[which], lon[which]).T
        first, last = self.blocks_of(south, west), self.blocks_of(north, east)
        answer[which] = (west < -180.0) | (east > 180.0)
        for down in range(int((last - first)[:, 0].max()) + 1):
            for right in range(int((last - first)[:, 1].max()) + 1):
                block = np.minimum(first + np.array([down, right]), last)
                answer[which] |= self._of_blocks(block) != own[which]
        return answer


def is_kept(split: NDArray[np.str_]) -> NDArray[np.bool_]:
    """(N,) True for chips that are used: those of `KEPT`."""
    return np.isin(split, KEPT)


def warn_of_empty(counts: Mapping[str, int]) -> str:
    """A sentence on the splits that have no chip; empty if all have some.

    Args:
        counts: Split -> chips.
    """
    without = [name for name in KEPT if not counts.get(name)]
    if not without:
        return ""
    return f"no chip for {' and '.join(without)}: give smaller blocks (--block-size, --buffer) or other --shares"


def count_blocks(
    blocks: BlockSplit, lat: NDArray[np.float64], lon: NDArray[np.float64], split: NDArray[np.str_]
) -> dict[str, int]:
    """Split -> blocks that hold used chips of it; chips without a centre (NaN) are passed over."""
    placed = np.isfinite(lat) & np.isfinite(lon)
    found = {}
    for name in KEPT:
        here = placed & (split == name)
        found[name] = len(np.unique(blocks.blocks_of(lat[here], lon[here]), axis=0)) if here.any() else 0
    return found

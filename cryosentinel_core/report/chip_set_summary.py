"""What is told of a data set of chips: what it holds, its statistics, its split, and what was exported of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip_index import ChipIndex
from cryosentinel_core.chips.split import BUFFER, KEPT, UNKNOWN
from cryosentinel_core.chips.stats import BandCounts, Normalisation
from cryosentinel_core.reporter import counted
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES

WATER_FRAC: Final = 0.002
"""From this share of water on the published sampler takes a chip as one with water."""

TOLD_AT_MOST: Final = 20


def count_splits(split: NDArray[np.str_]) -> dict[str, int]:
    """Chips by split, the used ones first and always, then `BUFFER` and `UNKNOWN` where there are any."""
    counts = Counter(split.tolist())
    rest = {name: counts[name] for name in (BUFFER, UNKNOWN) if counts[name]}
    others = {name: counts[name] for name in sorted(counts) if name not in (*KEPT, *rest)}
    return {**{name: counts[name] for name in KEPT}, **rest, **others}


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """A data set's split, and the proof that it is sound.

    Attributes:
        source: Of the data set.
        settings: Of the block split.
        index: Of the data set.
        split: (N,) of each chip.
        n_blocks: Split -> blocks that hold chips of it.
        overlaps: (K, 2) positions of kept chips of different splits on common ground; None if that was not looked for.
        n_without_centre: Kept chips of which nothing can be proved.
        table: CSV file that was written, or None.
    """

    source: str
    settings: Mapping[str, Any]
    index: ChipIndex
    split: NDArray[np.str_]
    n_blocks: Mapping[str, int]
    overlaps: NDArray[np.int64] | None
    n_without_centre: int
    table: Path | None

    @property
    def is_proved(self) -> bool | None:
        """True if no two kept chips of different splits share ground; None if that was not looked for."""
        return None if self.overlaps is None else not len(self.overlaps) and not self.n_without_centre

    def pairs_in_words(self) -> list[str]:
        """The first of the overlapping pairs."""
        if self.overlaps is None:
            return []
        return [
            f"{self.index.chip_id[one]} ({self.split[one]}) and {self.index.chip_id[other]} ({self.split[other]})"
            for one, other in self.overlaps[:TOLD_AT_MOST].tolist()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "data": self.source,
            "split": dict(self.settings),
            "n_chips": len(self.index),
            "splits": count_splits(self.split),
            "blocks": dict(self.n_blocks),
            "n_without_centre": self.n_without_centre,
            "n_overlaps": None if self.overlaps is None else len(self.overlaps),
            "overlaps": self.pairs_in_words(),
            "is_proved": self.is_proved,
            "table": None if self.table is None else str(self.table),
        }

    def as_text(self) -> str:
        """A few lines for a reader."""
        counts = count_splits(self.split)
        lines = [
            f"{name}: {counted(count, 'chip')}"
            + (f" in {counted(self.n_blocks[name], 'block')}" if name in self.n_blocks else "")
            for name, count in counts.items()
        ]
        if self.is_proved:
            lines.append("proved: no two chips of different splits share ground")
        if self.table is not None:
            lines.append(str(self.table))
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class StatsSummary:
    """Statistics of a data set, all years together and year by year.

    Attributes:
        source: Of the data set.
        output: File that was written.
        split: Whose chips were counted; `all` for all.
        by_year: Year -> what was counted.
        normalisation: Of all years together.
        suspects: Year -> why its chips look as if they still carried the +1000 offset.
        failed: Chip or shard -> why it could not be read.
    """

    source: str
    output: Path
    split: str
    by_year: Mapping[int, BandCounts]
    normalisation: Normalisation
    suspects: Mapping[int, str]
    failed: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json` and for the file beside the statistics."""
        return {
            "data": self.source,
            "output": str(self.output),
            "split": self.split,
            "statistics": self.normalisation.as_dict(),
            "years": {str(year): self._year(counts) for year, counts in self.by_year.items()},
            "offset_suspects": {str(year): words for year, words in self.suspects.items()},
            "failed": dict(self.failed),
        }

    @staticmethod
    def _year(counts: BandCounts) -> dict[str, Any]:
        floors = {name: value if np.isfinite(value) else None for name, value in counts.offset.floors.items()}
        return {
            "n_chips": counts.n_chips,
            "n_pixels": counts.n_pixels,
            "valid_share": counts.n_pixels / counts.n_all_pixels if counts.n_all_pixels else 0.0,
            "water_share": counts.n_water_pixels / counts.n_pixels if counts.n_pixels else 0.0,
            "statistics": counts.normalisation.as_dict() if counts.n_pixels else None,
            "dark_floors": floors,
        }

    def as_text(self) -> str:
        """A table for a reader."""
        lines = [f"{'band':5} {'mean':>10} {'std':>10}" + "".join(f" {year:>10}" for year in self.by_year)]
        yearly = [counts.normalisation if counts.n_pixels else None for counts in self.by_year.values()]
        for modality, names in (("S2L2A", S2_NAMES), ("S1GRD", S1_NAMES), ("DEM", ("DEM",))):
            for number, name in enumerate(names):
                mean, std = self.normalisation.means[modality][number], self.normalisation.stds[modality][number]
                of_years = "".join(
                    f" {'-':>10}" if one is None else f" {one.means[modality][number]:10.2f}" for one in yearly
                )
                lines.append(f"{name:5} {mean:10.2f} {std:10.2f}{of_years}")
        chips = ", ".join(f"{counted(counts.n_chips, 'chip')} of {year}" for year, counts in self.by_year.items())
        lines.append(f"{chips}; means by year on the right")
        lines.append(str(self.output))
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class InfoSummary:
    """What a data set holds.

    Attributes:
        source: Of the data set.
        places: One entry a region and year: counts and bytes.
        settings: Of the block split that the counts are by.
        splits: Chips by split, of all.
        lacking: Optional column -> shards that lack it.
        n_duplicates: Rows that were there before.
        problems: What is missing or cannot be read, in words.
    """

    source: str
    places: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    splits: Mapping[str, int]
    lacking: Mapping[str, int]
    n_duplicates: int
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "data": self.source,
            "regions": sorted({one["region"] for one in self.places}),
            "years": sorted({one["year"] for one in self.places}),
            "places": [dict(one) for one in self.places],
            "n_shards": sum(one["n_shards"] for one in self.places),
            "n_chips": sum(one["n_chips"] or 0 for one in self.places),
            "n_bytes": sum(one["n_bytes"] for one in self.places),
            "split": dict(self.settings),
            "splits": dict(self.splits),
            "missing_columns": dict(self.lacking),
            "n_duplicates": self.n_duplicates,
            "problems": list(self.problems),
        }

    def as_text(self) -> str:
        """A table for a reader."""
        lines = []
        for one in self.places:
            water = "" if one.get("n_water") is None else f", {one['n_water']} with water on {WATER_FRAC:.1%} or more"
            chips = "" if one["n_chips"] is None else f"{counted(one['n_chips'], 'chip')}{water} in "
            cached = f", {one['n_cached']} of them in the cache" if "n_cached" in one else ""
            lines.append(
                f"{one['region']} {one['year']}: {chips}{counted(one['n_shards'], 'shard')}, {one['n_bytes'] / 1e6:,.0f} MB{cached}"
            )
        if self.splits:
            lines.append(", ".join(f"{count} {name}" for name, count in self.splits.items()))
        for column, count in self.lacking.items():
            lines.append(f"{counted(count, 'shard has', 'shards have')} no column {column}")
        if self.n_duplicates:
            lines.append(f"{counted(self.n_duplicates, 'chip is', 'chips are')} there twice")
        lines += [f"problem: {text}" for text in self.problems]
        return "\n".join(lines)


def describe_places(
    index: ChipIndex,
    split: NDArray[np.str_],
    n_shards: Mapping[tuple[str, int], int],
    n_bytes: Mapping[tuple[str, int], int],
) -> tuple[dict[str, Any], ...]:
    """One entry a region and year, by name and year."""
    found = []
    for region, year in sorted(n_shards):
        here = (index.region == region) & (index.year == year)
        shares = index.water_frac[here]
        known = np.isfinite(shares)
        found.append(
            {
                "region": region,
                "year": year,
                "n_shards": n_shards[region, year],
                "n_bytes": n_bytes[region, year],
                "n_chips": int(here.sum()),
                "n_water": int((shares[known] >= WATER_FRAC).sum()) if known.any() else None,
                "water_share": float(shares[known].mean()) if known.any() else None,
                "splits": count_splits(split[here]),
            }
        )
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was exported.

    Attributes:
        folder: Of the GeoTIFFs.
        names: Of the files, without ending.
        failed: Chip -> why it was not written.
    """

    folder: Path
    names: tuple[str, ...]
    failed: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "folder": str(self.folder),
            "n_chips": len(self.names),
            "names": list(self.names),
            "failed": dict(self.failed),
        }

    def as_text(self) -> str:
        """A line for a reader."""
        failed = f", {len(self.failed)} left out" if self.failed else ""
        return f"{counted(len(self.names), 'chip')} in {self.folder}{failed}"

"""What cutting a data set of chips came to, for a reader and as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosentinel_core.chips.split import KEPT
from cryosentinel_core.reporter import counted


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a shard came to, as its record holds it.

    Attributes:
        n_windows: Windows that were looked at.
        n_chips: Chips in the shard; without one there is no file.
        n_water: Of these, chips with a lake.
        n_water_px: Pixels of lake in them.
        splits: Chips by split.
        rejected: Windows left out, by reason.
        n_bytes: Of the file.
        sha256: Of the file; empty without one.
    """

    n_windows: int
    n_chips: int
    n_water: int
    n_water_px: int
    splits: dict[str, int]
    rejected: dict[str, int]
    n_bytes: int
    sha256: str

    @classmethod
    def from_record(cls, data: Any) -> ShardResult | None:
        """The result in a record; None if it is not whole."""
        try:
            return cls(**data["result"])
        except (KeyError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True)
class ChipBuildSummary:
    """What was cut.

    Attributes:
        root: Of the data set.
        region: Upper folder of the shards.
        results: Path of each shard -> what it came to.
        label_years: Year of imagery -> year of the outlines that label it.
        warnings: What a reader should know.
        is_partial: True if a stack lacks a planned scene.
    """

    root: Path
    region: str
    results: Mapping[Path, ShardResult]
    label_years: Mapping[int, int]
    warnings: tuple[str, ...]
    is_partial: bool

    def _of_year(self, year: int) -> list[ShardResult]:
        return [result for path, result in self.results.items() if path.parent.name == str(year)]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "folder": str(self.root),
            "region": self.region,
            "years": [
                {"year": year, "label_year": label_year, **_totals(self._of_year(year))}
                for year, label_year in self.label_years.items()
            ],
            **_totals(list(self.results.values())),
            "warnings": list(self.warnings),
            "is_partial": self.is_partial,
        }

    def as_text(self) -> str:
        """A few lines for a reader."""
        lines = []
        for year, label_year in self.label_years.items():
            total = _totals(self._of_year(year))
            left_out = ", ".join(f"{count} {reason}" for reason, count in total["rejected"].items()) or "none"
            lines.append(
                f"{year}: {counted(total['n_chips'], 'chip')}, {total['n_water']} with a lake, labels of {label_year}; "
                f"left out: {left_out}"
            )
        total = _totals(list(self.results.values()))
        splits = ", ".join(f"{total['splits'].get(name, 0)} {name}" for name in KEPT)
        lines.append(f"{splits}; {total['n_bytes'] / 1e6:,.0f} MB in {self.root / self.region}")
        if self.is_partial:
            lines.append("some stacks are incomplete: run the same command again to complete them")
        return "\n".join(lines)


def count_splits(results: Sequence[ShardResult]) -> dict[str, int]:
    """Chips by split, of some shards together."""
    splits: dict[str, int] = _totals(list(results))["splits"]
    return splits


def _totals(results: list[ShardResult]) -> dict[str, Any]:
    """Sums over some shards."""
    splits: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for result in results:
        splits.update(result.splits)
        rejected.update(result.rejected)
    return {
        "n_windows": sum(result.n_windows for result in results),
        "n_chips": sum(result.n_chips for result in results),
        "n_water": sum(result.n_water for result in results),
        "n_bytes": sum(result.n_bytes for result in results),
        "splits": dict(sorted(splits.items())),
        "rejected": dict(sorted(rejected.items())),
    }

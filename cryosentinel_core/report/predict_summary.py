"""What a prediction came to, in plain data and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryosentinel_core.reporter import counted


@dataclass(frozen=True, kw_only=True)
class YearResult:
    """What one year came to.

    Attributes:
        year: Of the imagery.
        folder: Where the results lie.
        n_lakes: Lakes from the minimum area up.
        lake_area_m2: Their geodesic area together.
        observed_share: Share of the area of interest's cells that was seen free of cloud, snow and shadow.
        is_reused: True if everything was there already.
    """

    year: int
    folder: Path
    n_lakes: int
    lake_area_m2: float
    observed_share: float
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a run came to.

    Attributes:
        model: Name of the segmenter, as in folders and tables.
        years: One result a year.
        is_partial: True if a stack lacks planned scenes: run again to complete.
        engine: Windows, seconds, memory and conditions of this run, as in `run.json`.
        warnings: What a reader should know.
    """

    model: str
    years: tuple[YearResult, ...]
    is_partial: bool
    engine: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "model": self.model,
            "is_partial": self.is_partial,
            "engine": self.engine,
            "warnings": list(self.warnings),
            "years": [
                {
                    "year": year.year,
                    "folder": str(year.folder),
                    "n_lakes": year.n_lakes,
                    "lake_area_m2": year.lake_area_m2,
                    "observed_share": year.observed_share,
                    "is_reused": year.is_reused,
                }
                for year in self.years
            ],
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{year.year}: {counted(year.n_lakes, 'lake')}, {year.lake_area_m2 / 1e6:.3f} km2, "
            f"{100 * year.observed_share:.1f} % of the ground observed, in {year.folder}"
            for year in self.years
        ]
        if self.is_partial:
            lines.append("some planned scenes could not be read: run the same command again to complete the stacks")
        return "\n".join(lines)

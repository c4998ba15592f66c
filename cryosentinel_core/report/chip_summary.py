"""What chips come to: one chip's result as its record holds it, its lakes as plain rows, and the summary of a run.

Neighbours: `chips` makes and keeps these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import geopandas
import numpy as np
import pandas as pd
import shapely

from cryosentinel_core.chips.metrics import Counts
from cryosentinel_core.lakes.extract import merge_zones
from cryosentinel_core.lakes.tables import BAND_COLUMNS, LAKE_COLUMNS

NAMED_AT_MOST: Final = 20
"""Chips that a summary's text and its warnings name one by one; `run.json` holds all of them."""


@dataclass(frozen=True, kw_only=True)
class ChipResult:
    """What one chip came to, as its record holds it.

    Attributes:
        n_water_px: Pixels of lake.
        n_observed_px: Pixels with good optical and terrain data.
        n_components: Lakes and candidates in its record.
        is_placed: False if its source does not say where it lies.
        offset_warning: What is suspect about its numbers; empty if nothing is.
        counts: Against its label, over the pixels where no sensor is nodata; None if it has none.
    """

    n_water_px: int
    n_observed_px: int
    n_components: int
    is_placed: bool
    offset_warning: str
    counts: Counts | None

    @property
    def water_share(self) -> float | None:
        """Share of the observed pixels that is water; None if none was observed, which is not the same as dry."""
        return self.n_water_px / self.n_observed_px if self.n_observed_px else None

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> ChipResult | None:
        """The result in a record; None if it is not whole."""
        try:
            plain = dict(data["result"])
            counts = plain.pop("counts")
            result = cls(**plain, counts=None if counts is None else Counts(**counts))
            return result if len(data["lakes"]) == result.n_components else None
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, kw_only=True)
class ChipsSummary:
    """What a run over chips came to.

    Attributes:
        folder: Of the results.
        water_share: Chip -> share of its observed pixels that is water; None if nothing of it was observed.
        n_lakes: Lakes from the minimum area up.
        n_reused: Chips that were done already.
        n_labelled: Chips with a label.
        counts: Of all labelled chips together.
        failed: Chips that could not be read -> why.
        warnings: What a reader should know.
    """

    folder: Path
    water_share: dict[str, float | None]
    n_lakes: int
    n_reused: int
    n_labelled: int
    counts: Counts
    failed: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def is_partial(self) -> bool:
        """True if a chip could not be read."""
        return bool(self.failed)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        labels = {"n_chips": self.n_labelled, **asdict(self.counts), "iou": self.counts.iou}
        return {
            "folder": str(self.folder),
            "water_share": self.water_share,
            "n_lakes": self.n_lakes,
            "n_reused": self.n_reused,
            "labels": labels if self.n_labelled else None,
            "failed": self.failed,
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """A few lines for a person."""
        chips = [
            f"{name}: {'unobserved' if share is None else f'{100 * share:.2f} % water'}"
            for name, share in self.water_share.items()
        ]
        lines = _first_of(chips, "chips") + _first_of([f"{k}: skipped, {v}" for k, v in self.failed.items()], "skipped")
        if self.n_labelled:
            c = self.counts
            lines.append(
                f"against the labels of {self.n_labelled} chips: {c.intersection} px water in both, {c.union} in either "
                f"({c.fp} found alone, {c.fn} labelled alone), "
                + ("no IoU, as there is no water in either" if c.iou is None else f"IoU {c.iou:.4f}")
            )
        return "\n".join([*lines, f"{self.n_lakes} lakes, in {self.folder}"])


def _first_of(lines: Sequence[str], what: str) -> list[str]:
    """At most `NAMED_AT_MOST` lines, and how many more there are."""
    more = len(lines) - NAMED_AT_MOST
    return [*lines[:NAMED_AT_MOST], f"... and {more} more {what}"] if more > 0 else list(lines)


def warnings_of(results: Mapping[str, ChipResult]) -> list[str]:
    """What a reader should know, however many chips it concerns."""
    found = _first_of(
        [f"{name}: {result.offset_warning}" for name, result in results.items() if result.offset_warning],
        "chips whose numbers look as if an offset were left in or taken off twice",
    )
    n_lost = sum(not result.is_placed for result in results.values())
    if n_lost:
        found.append(
            f"{n_lost} of {len(results)} chips have no latitude and longitude (in reach of UTM): their rasters have no "
            "coordinate reference system, and their lakes are in no table"
        )
    return found


def rows_of(table: geopandas.GeoDataFrame) -> list[dict[str, Any]]:
    """A lake table as plain data: outlines as WKB in hex, what is unknown as None; every number exact."""
    plain = pd.DataFrame(table.drop(columns="geometry")).astype(object)
    plain = plain.where(plain.notna(), None).assign(geometry=shapely.to_wkb(table.geometry.to_numpy(), hex=True))
    return [
        {str(name): value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        for row in plain.to_dict(orient="records")
    ]


def table_of(rows: Sequence[Mapping[str, Any]], *, with_band: bool = False) -> geopandas.GeoDataFrame:
    """The lake table that `rows_of` made plain.

    Args:
        rows: Its rows.
        with_band: Whether they have an area band; a table without a row then has its columns too.
    """
    lakes, _ = merge_zones([])
    band = dict.fromkeys(BAND_COLUMNS if with_band else (), "float64")
    kinds = {name: lakes[name].dtype for name in LAKE_COLUMNS} | band | {"is_lake": "bool", "epsg": "int64"}
    plain = pd.DataFrame(list(rows), columns=[*kinds, "geometry"])
    outlines = shapely.from_wkb(plain.pop("geometry").to_numpy())
    return geopandas.GeoDataFrame(plain.astype(kinds), geometry=outlines, crs="EPSG:4326")

"""What a comparison came to, in plain data and in words: read back from the files that it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosentinel_core.change.change_table import ChangeTables, Comparison
from cryosentinel_core.io.tables.vector import read_layer
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.lakes.tables import Status

RECORD: Final = "change.json"
"""The record beside the results; it is written last."""


@dataclass(frozen=True, kw_only=True)
class ChangeSummary:
    """What a comparison came to.

    Attributes:
        folder: Where the results lie.
        years: That were compared.
        model: Segmenter, or `inventories`.
        n_rows: Rows of the table.
        statuses: Status -> rows, for each pair of years.
        reasons: Reason -> unobserved rows.
        lake_area_m2: Year -> area of all lakes of the table that year, as far as they were seen.
        is_reused: True if everything was there already.
        warnings: What a reader should know.
        registration: Pair of years -> `dx_m` and `dy_m` (shift of the later year's images to the east and north), `sigma_m`
            (all None = unknown), `n_patches`, and `is_applied`: whether it was taken out of gained and lost ground. Empty
            without imagery.
        table: The change table without geometry.
    """

    folder: Path
    years: tuple[int, ...]
    model: str
    n_rows: int
    statuses: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, int]
    lake_area_m2: Mapping[int, float]
    is_reused: bool
    warnings: tuple[str, ...] = ()
    registration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "folder": str(self.folder),
            "years": list(self.years),
            "model": self.model,
            "n_rows": self.n_rows,
            "statuses": {pair: dict(counts) for pair, counts in self.statuses.items()},
            "reasons": dict(self.reasons),
            "lake_area_m2": {str(year): area for year, area in self.lake_area_m2.items()},
            "is_reused": self.is_reused,
            "warnings": list(self.warnings),
            "registration": {pair: dict(shift) for pair, shift in self.registration.items()},
        }

    def as_text(self, max_rows: int = 20) -> str:
        """The table's largest changes, the counts and the folder, for a person."""
        lines = []
        for pair in dict.fromkeys(self.table["pair"]):
            counts = self.statuses[pair]
            told = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
            lines.append(f"{pair}: {told or 'no lakes'}")
            lines += _table_lines(self.table[self.table["pair"] == pair], max_rows)
        if self.reasons:
            lines.append("unobserved for " + ", ".join(f"{reason} ({n})" for reason, n in self.reasons.items()))
        lines.append(f"table, map and layers in {self.folder}")
        return "\n".join(lines)


def result_of(
    found: ChangeTables, tables: Mapping[int, gpd.GeoDataFrame], in_table: Mapping[int, NDArray[np.bool_]]
) -> dict[str, Any]:
    """Counts for the record and the summary."""
    table = found.change
    statuses = {
        pair: {str(status): int((rows["status"] == status).sum()) for status in Status}
        for pair, rows in table.groupby("pair", sort=False)
    }
    reasons = table.loc[table["reason"] != "", "reason"].value_counts()
    return {
        "n_rows": len(table),
        "statuses": statuses,
        "reasons": {str(reason): int(reasons[reason]) for reason in sorted(reasons.index)},
        "lake_area_m2": {str(year): float(tables[year]["area_m2"].to_numpy()[in_table[year]].sum()) for year in tables},
    }


def read_summary(folder: Path, comparison: Comparison, model: str, *, is_reused: bool) -> ChangeSummary:
    """What the files in a folder say."""
    record = read_json(folder / RECORD)
    table = pd.DataFrame(read_layer(folder / "change.parquet").drop(columns="geometry"))
    result = record["result"]
    return ChangeSummary(
        folder=folder,
        years=comparison.years,
        model=model,
        n_rows=int(result["n_rows"]),
        statuses=result["statuses"],
        reasons=result["reasons"],
        lake_area_m2={int(year): float(area) for year, area in result["lake_area_m2"].items()},
        is_reused=is_reused,
        warnings=tuple(record["warnings"]),
        registration=record.get("registration", {}),
        table=table,
    )


def _table_lines(table: pd.DataFrame, max_rows: int) -> list[str]:
    """The rows with the largest changes as aligned text."""
    if table.empty:
        return []
    size = table["change_m2"].abs().fillna(0.0).to_numpy()
    table = table.assign(mark=np.where(table["significant"].fillna(False).to_numpy(dtype=bool), "*", " "))
    shown = table.iloc[np.lexsort((table["lake_key"].to_numpy(), -size))].head(max_rows)
    lines = [
        f"  {'lake':<20} {'status':<10} {'from m2':>10} {'to m2':>10} {'change m2':>10} {'+- m2':>8} {'%':>7}  reason"
    ]
    for _, row in shown.iterrows():
        numbers = [row["area_from_m2"], row["area_to_m2"], row["change_m2"], row["change_sigma_m2"]]
        told = [f"{value:.0f}" if np.isfinite(value) else "-" for value in numbers]
        percent = f"{row['change_percent']:+.1f}" if np.isfinite(row["change_percent"]) else "-"
        lines.append(
            f"{row['mark']} {row['lake_key']:<20} {row['status']:<10} {told[0]:>10} {told[1]:>10} {told[2]:>10} {told[3]:>8} "
            f"{percent:>7}  {row['reason']}"
        )
    if len(table) > max_rows:
        lines.append(f"  ... and {len(table) - max_rows} more rows")
    return lines

"""Summary of a comparison, in plain data and in words: read back from the files that it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosentinel_core.change.change_table import ChangeTables
from cryosentinel_core.change.lake_keys import is_key
from cryosentinel_core.io.tables.vector import read_columns
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.lakes.tables import Reason, Status
from cryosentinel_core.reporter import counted
from cryosentinel_core.units import HECTARE_M2

RECORD: Final = "change.json"
"""File name of the record beside the results; it is written last."""

_NAME_WIDTH: Final = 20


@dataclass(frozen=True, kw_only=True)
class ChangeSummary:
    """Summary of a comparison.

    Attributes:
        folder: Folder of the results.
        years: Years that were compared.
        model: Segmenter, or `inventories`.
        n_rows: Rows of the table.
        statuses: Status -> rows, for each pair of years.
        reasons: Reason -> unobserved rows.
        lake_area_m2: Year -> area of all lakes of the table that year, as far as they were seen.
        is_reused: True if everything was there already.
        warnings: Sentences that a reader should know.
        registration: Pair of years -> `dx_m` and `dy_m` (shift of the later year's images to the east and north), `sigma_m`
            (all None = unknown), `n_patches`, and `is_applied`: whether it was taken out of gained and lost ground. Empty
            without imagery.
        errors: Member `errors` of the record: source, and for each pair of years its noise and what can be detected; empty if unknown.
        check: Member `check` of the record: how far another model agrees; empty where none was asked.
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
    errors: Mapping[str, Any] = field(default_factory=dict)
    check: Mapping[str, Any] = field(default_factory=dict)
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
            "errors": dict(self.errors),
            "check": dict(self.check) or None,
        }

    def as_text(self, max_rows: int = 20) -> str:
        """The table's largest changes, the counts and the folder, for a person; the table is at most 80 columns wide.

        Args:
            max_rows: Rows of each pair of years.
        """
        lines = []
        for pair in dict.fromkeys(self.table["pair"]):
            rows = self.table[self.table["pair"] == pair]
            told = ", ".join(f"{number} {status}" for status, number in self.statuses[pair].items() if number)
            lines.append(f"{pair}: {counted(len(rows), 'lake')}: {told}")
            lines += _table_lines(rows, max_rows)
            lines += _error_lines(self.errors.get("pairs", {}).get(pair))
        if not lines:
            lines.append("no lakes")
        if self.reasons:
            lines.append("unobserved for " + ", ".join(f"{reason} ({n})" for reason, n in self.reasons.items()))
        if self.reasons.get(Reason.NOT_DRAWN):
            lines.append(
                "a lake that one inventory lacks is not observed then: --complete YEAR says that it was not there"
            )
        if self.check:
            lines.append(_check_line(self.check))
        lines.append(f"table, map and layers in {self.folder}")
        return "\n".join(lines)


def counts_of_result(
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


def read_summary(folder: Path, years: tuple[int, ...], model: str, *, is_reused: bool) -> ChangeSummary:
    """The summary that the files in a folder give."""
    record = read_json(folder / RECORD)
    table = read_columns(folder / "change.parquet")
    result = record["result"]
    return ChangeSummary(
        folder=folder,
        years=years,
        model=model,
        n_rows=int(result["n_rows"]),
        statuses=result["statuses"],
        reasons=result["reasons"],
        lake_area_m2={int(year): float(area) for year, area in result["lake_area_m2"].items()},
        is_reused=is_reused,
        warnings=tuple(record["warnings"]),
        registration=record.get("registration", {}),
        errors=record.get("errors", {}),
        check=record.get("check") or {},
        table=table,
    )


def _table_lines(table: pd.DataFrame, max_rows: int) -> list[str]:
    """The rows with the largest changes as aligned text, areas in hectares, `*` where a change is significant."""
    size = table["change_m2"].abs().fillna(0.0).to_numpy()
    shown = table.iloc[np.lexsort((table["lake_key"].to_numpy(), -size))].head(max_rows)
    year_from, year_to = int(shown["year_from"].iloc[0]), int(shown["year_to"].iloc[0])
    lines = [
        f"  {'lake':<{_NAME_WIDTH}} {'status':<10} {f'ha {year_from}':>8} {f'ha {year_to}':>8} {'change':>8} {'+-':>6} {'%':>6}"
    ]
    lines += [_row_line(row) for row in shown.to_dict("records")]
    if len(table) > max_rows:
        lines.append(f"  ... and {counted(len(table) - max_rows, 'more row')}")
    return lines


def _check_line(check: Mapping[str, Any]) -> str:
    """What another model says of the lakes."""
    median = check["median_agreement"]
    agrees = (
        "nothing to compare"
        if median is None
        else f"agreement {median:.2f} in the median, under 0.5 in {check['n_under_half']}"
    )
    alone = f"{counted(check['n_alone'], 'lake')} that it alone has"
    return f"checked with {check['model']}: {agrees} of {check['n_checked']}; {alone} (check.csv)"


def _error_lines(errors: Mapping[str, Any] | None) -> list[str]:
    """How sure the changes of a pair of years are, and what could have been found by size of lake."""
    if not errors:
        return []
    lines = [str(errors["told"]).partition(": ")[2]]
    found = errors["detectable_percent"]
    if found:
        lines.append(
            "found in 4 of 5 lakes: " + ", ".join(f"{percent:.1f} % at {size}" for size, percent in found.items())
        )
    return lines


def _row_line(row: Mapping[Any, Any]) -> str:
    """One row of the table as text; of a lake that was not seen the reason in place of its change."""
    significant = bool(pd.notna(row["significant"]) and row["significant"])
    digits = _digits(row)
    before, after = (_in_hectares(row[name], f".{digits}f") for name in ("area_from_m2", "area_to_m2"))
    start = f"{'*' if significant else ' '} {_name_of(row):<{_NAME_WIDTH}} {row['status']:<10} {before:>8} {after:>8}"
    if row["reason"]:
        return f"{start} {row['reason']:>8}"
    change, sigma = _in_hectares(row["change_m2"], f"+.{digits}f"), _in_hectares(row["change_sigma_m2"], f".{digits}f")
    percent = row["change_percent"]
    told = f"{percent:+.1f}" if abs(percent) < 100 else f"{percent:+.0f}" if np.isfinite(percent) else "-"
    return f"{start} {change:>8} {sigma:>6} {told:>6}"


def _name_of(row: Mapping[Any, Any]) -> str:
    """A lake's name, where it has one among its aliases, else its key; cut to its column."""
    names = [alias for alias in str(row["aliases"]).split(";") if alias and not is_key(alias)]
    told = "".join(letter for letter in (names[0] if names else str(row["lake_key"])) if letter.isprintable())
    return told if len(told) <= _NAME_WIDTH else f"{told[: _NAME_WIDTH - 1]}…"


def _digits(row: Mapping[Any, Any]) -> int:
    """Decimals of a hectare that the uncertainty of a row bears: two up to 1 ha, one up to 10 ha, else none."""
    known = [row[name] for name in ("change_sigma_m2", "area_from_m2", "area_to_m2") if np.isfinite(row[name])]
    sigma_ha = (known[0] if np.isfinite(row["change_sigma_m2"]) else max(known, default=0.0) / 20) / HECTARE_M2
    return 2 if sigma_ha < 1 else 1 if sigma_ha < 10 else 0


def _in_hectares(area_m2: float, form: str) -> str:
    """An area in hectares in a number format; a dash if it is unknown."""
    return format(area_m2 / HECTARE_M2, form) if np.isfinite(area_m2) else "-"

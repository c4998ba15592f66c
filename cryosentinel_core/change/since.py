"""News since an earlier comparison: its lakes beside those of a newer one, as far as the two tables say something else of them.

Lakes are the same by key, or by an alias where two of them merged. Of each table the rows between its first and its last year count.
What a table says of a lake is its status; areas stand beside it and are not judged here, as they are in a table of both last years.
Neighbour: `alerts` tells what a single table says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.units import HECTARE_M2

SINCE_COLUMNS: Final = (
    "lake_key",
    "news",
    "pair_before",
    "pair_now",
    "status_before",
    "status_now",
    "area_before_m2",
    "area_now_m2",
    "lon",
    "lat",
    "sentence",
)
"""Columns of `since.csv`; areas are those of the last year of each table."""

LISTED, DROPPED, STATUS = "listed", "dropped", "status"
"""News: a lake that the earlier table lacks, one that the newer lacks, one of another status."""

_URGENCY: Final = (Status.NEW, Status.GROWN, Status.MERGED, Status.COMPLEX, Status.VANISHED, Status.SHRUNK)


def news_since(now: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """What a newer change table says and an earlier one does not.

    Args:
        now: The newer table, with the columns of `change.csv`.
        before: The earlier one.

    Returns:
        Rows of `SINCE_COLUMNS`: new and grown lakes first, within a status by area now, largest first.
    """
    newer, earlier = _widest(now), _widest(before)
    known = {key: row for row in earlier for key in _keys_of(row)}
    rows, met = [], set()
    for row in newer:
        matched = [known[key] for key in _keys_of(row) if key in known]
        met |= {str(one["lake_key"]) for one in matched}
        if not matched:
            rows.append(_news(LISTED, row, None))
        elif matched[0]["status"] != row["status"]:
            rows.append(_news(STATUS, row, matched[0]))
    rows += [_news(DROPPED, None, row) for row in earlier if str(row["lake_key"]) not in met]
    rows.sort(key=lambda row: (_rank(row), -np.nan_to_num(row["area_now_m2"]), row["lake_key"]))
    return pd.DataFrame(rows, columns=list(SINCE_COLUMNS))


def share_in_common(now: pd.DataFrame, before: pd.DataFrame) -> float:
    """Share of the earlier table's lakes that the newer one has; 1 if the earlier has none."""
    earlier = _widest(before)
    keys = {key for row in _widest(now) for key in _keys_of(row)}
    return sum(bool(keys & set(_keys_of(row))) for row in earlier) / len(earlier) if earlier else 1.0


def _widest(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows between the first and the last year of a table."""
    if not len(table):
        return []
    widest = (table["year_from"] == table["year_from"].min()) & (table["year_to"] == table["year_to"].max())
    found: list[dict[str, Any]] = table[widest].to_dict("records")
    return found


def _keys_of(row: Mapping[str, Any]) -> list[str]:
    """The key of a lake, and the others that it goes by."""
    aliases = row["aliases"]
    return [str(row["lake_key"]), *(str(aliases).split(";") if isinstance(aliases, str) and aliases else ())]


def _news(kind: str, now: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """One row."""
    told = now if now is not None else before
    assert told is not None
    row = {
        "lake_key": str(told["lake_key"]),
        "news": kind,
        "pair_before": "" if before is None else str(before["pair"]),
        "pair_now": "" if now is None else str(now["pair"]),
        "status_before": "" if before is None else str(before["status"]),
        "status_now": "" if now is None else str(now["status"]),
        "area_before_m2": np.nan if before is None else float(before["area_to_m2"]),
        "area_now_m2": np.nan if now is None else float(now["area_to_m2"]),
        "lon": float(told["lon"]),
        "lat": float(told["lat"]),
    }
    return {**row, "sentence": _sentence(row)}


def _sentence(row: Mapping[str, Any]) -> str:
    """A row as a sentence."""
    before = f"{_said(row['status_before'])} in {row['pair_before']}{_hectares(row['area_before_m2'])}"
    now = f"{_said(row['status_now'])} in {row['pair_now']}{_hectares(row['area_now_m2'])}"
    if row["news"] == LISTED:
        return f"{row['lake_key']} was not in the earlier table; it is {now}."
    if row["news"] == DROPPED:
        return f"{row['lake_key']} is no longer in the table; it was {before}."
    return f"{row['lake_key']} was {before}; it is {now}."


def _said(status: str) -> str:
    return "merged and split" if status == str(Status.COMPLEX) else status


def _hectares(area_m2: float) -> str:
    return f" ({area_m2 / HECTARE_M2:.2f} ha)" if np.isfinite(area_m2) else ""


def _rank(row: Mapping[str, Any]) -> int:
    """Place of a row: by its status now; what is no longer in the table comes last."""
    order = [str(status) for status in _URGENCY]
    return order.index(row["status_now"]) if row["status_now"] in order else len(order) + (row["news"] == DROPPED)

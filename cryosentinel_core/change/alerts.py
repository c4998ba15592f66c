"""Alerts: the lakes of a change table that somebody should look at, largest growth first, each with a sentence.

Growth counts where it is significant among all lakes that were tested (the q-value), so that at most a stated share of such alerts is
false; a new lake counts by what was seen. Neighbour: `change_table` makes the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cryosentinel_core.change.lake_keys import is_key
from cryosentinel_core.lakes.tables import Status
from cryosentinel_core.units import HECTARE_M2

ALERT_COLUMNS: Final = (
    "pair",
    "rank",
    "lake_key",
    "kind",
    "change_m2",
    "change_sigma_m2",
    "change_percent",
    "q_value",
    "area_from_m2",
    "area_to_m2",
    "elevation_m",
    "glacier_contact_to",
    "lon",
    "lat",
    "sentence",
)
"""Columns of `alerts.csv`."""


def alerts_of(change: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Significant growth and new lakes, the newest pair of years first, within it by growth.

    Args:
        change: The change table.
        confidence: One minus the share of false alerts among growth that is accepted.
    """
    has_grown = (change["status"] == str(Status.GROWN)) | (change["total_status"] == str(Status.GROWN))
    has_grown &= change["q_value"] <= 1.0 - confidence
    is_new = change["status"] == str(Status.NEW)
    chosen = pd.DataFrame(change[has_grown | is_new].drop(columns="geometry", errors="ignore"))
    chosen = chosen.sort_values(
        ["year_to", "year_from", "change_m2", "lake_key"], ascending=[False, False, False, True], kind="stable"
    )
    chosen["kind"] = np.where(chosen["status"] == str(Status.NEW), str(Status.NEW), str(Status.GROWN)).astype(object)
    chosen["rank"] = chosen.groupby("pair", sort=False).cumcount() + 1
    chosen["sentence"] = pd.Series(
        [sentence_of(row) for row in chosen.to_dict("records")], index=chosen.index, dtype=object
    )
    return chosen[list(ALERT_COLUMNS)].reset_index(drop=True)


def sentence_of(row: Mapping[Any, Any]) -> str:
    """An alert as a sentence."""
    names = [alias for alias in str(row["aliases"]).split(";") if alias and not is_key(alias)]
    lake = f"{names[0]} ({row['lake_key']})" if names else str(row["lake_key"])
    years = f"between {int(row['year_from'])} and {int(row['year_to'])}"
    sigma, area = row["change_sigma_m2"] / HECTARE_M2, row["area_to_m2"] / HECTARE_M2
    digits = 2 if sigma < 1 else 1 if sigma < 10 else 0
    if row["kind"] == str(Status.NEW):
        told = f"{lake} appeared {years}: {area:.{digits}f} ha where bare ground was seen"
    else:
        told = (
            f"{lake} grew by {row['change_m2'] / HECTARE_M2:.{digits}f} +- {sigma:.{digits}f} ha ({row['change_percent']:+.0f} %) "
            f"{years}, to {area:.{digits}f} ha"
        )
    if row["status"] in (str(Status.MERGED), str(Status.COMPLEX), str(Status.SPLIT)):
        told += f"; its outlines {row['status'] if row['status'] != str(Status.COMPLEX) else 'merged and split'}"
    return told + ("; it ends at a glacier." if row["glacier_contact_to"] == "yes" else ".")

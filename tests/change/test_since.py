"""What is new since an earlier table, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryosentinel_core.change.since import SINCE_COLUMNS, news_since, share_in_common

COLUMNS = ("lake_key", "aliases", "pair", "year_from", "year_to", "status", "area_to_m2", "lon", "lat")


def make(*rows: tuple[str, str, str, str, float]) -> pd.DataFrame:
    """A change table of (key, aliases, pair, status, last area)."""
    filled = [
        (key, aliases, pair, *map(int, pair.split("-")), status, area, 77.0, 43.0)
        for key, aliases, pair, status, area in rows
    ]
    return pd.DataFrame(filled, columns=list(COLUMNS))


BEFORE = make(
    ("A", "", "2017-2023", "stable", 3e4),
    ("B", "", "2017-2023", "grown", 5e4),
    ("C", "", "2017-2023", "stable", 1e4),
    ("D", "", "2017-2023", "unobserved", np.nan),
    ("E", "", "2017-2023", "stable", 2e4),
)


def test_what_both_say_is_no_news() -> None:
    assert news_since(BEFORE, BEFORE).columns.tolist() == list(SINCE_COLUMNS)
    assert not len(news_since(BEFORE, BEFORE))
    assert share_in_common(BEFORE, BEFORE) == 1.0


def test_the_most_urgent_comes_first_and_merged_lakes_are_known_by_their_aliases() -> None:
    now = make(
        ("A", "", "2017-2024", "grown", 4e4),
        ("B", "C;Big lake", "2017-2024", "merged", 7e4),
        ("D", "", "2017-2024", "stable", 9e4),
        ("F", "", "2017-2024", "new", 0.8e4),
    )
    news = news_since(now, BEFORE)
    assert list(zip(news["lake_key"], news["news"], news["status_before"], news["status_now"], strict=True)) == [
        ("F", "listed", "", "new"),
        ("A", "status", "stable", "grown"),
        ("B", "status", "grown", "merged"),
        ("D", "status", "unobserved", "stable"),
        ("E", "dropped", "stable", ""),
    ]
    assert news["sentence"][1] == "A was stable in 2017-2023 (3.00 ha); it is grown in 2017-2024 (4.00 ha)."
    assert news["sentence"][3].startswith("D was unobserved in 2017-2023; it is stable")
    assert np.isnan(news["area_now_m2"][4])
    assert share_in_common(now, BEFORE) == pytest.approx(0.8)


def test_of_several_pairs_the_widest_counts() -> None:
    now = make(
        ("A", "", "2017-2023", "stable", 3e4),
        ("A", "", "2023-2024", "stable", 3.1e4),
        ("A", "", "2017-2024", "grown", 3.1e4),
    )
    news = news_since(now, BEFORE.iloc[:1])
    assert news["pair_now"].tolist() == ["2017-2024"]


def test_empty_tables_have_no_news() -> None:
    nothing = BEFORE.iloc[:0]
    assert not len(news_since(nothing, nothing))
    assert share_in_common(BEFORE, nothing) == 1.0
    assert news_since(nothing, BEFORE)["news"].unique().tolist() == ["dropped"]

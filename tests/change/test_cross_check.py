"""Agreement of two models' lakes, on boxes whose intersection over union is plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from outline_tables import Box, table

from cryosentinel_core.change.change_errors import ChangeErrors, ErrorSource
from cryosentinel_core.change.change_table import ChangeTables, compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.cross_check import CHECK_COLUMNS, describe_check
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import match_years
from cryosentinel_core.lakes.tables import GroundSeen
from cryosentinel_core.settings.change import ChangeSettings


def compare(
    ours: Mapping[int, Sequence[Box]], theirs: Mapping[int, Sequence[Box]], seen: GroundSeen | None = None
) -> ChangeTables:
    tables = {year: table(year, boxes) for year, boxes in ours.items()}
    matches = match_years(tables)
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=0.0)
    basis = ComparisonBasis(
        settings=ChangeSettings(),
        observe_ground=lambda ground, grow_px: dict.fromkeys(tables, seen or GroundSeen(land=100)),
        errors=ChangeErrors(source=ErrorSource.SIMULATED),
        checks={
            year: table(year, boxes).assign(is_lake=lambda one: one.area_m2 >= 5_000) for year, boxes in theirs.items()
        },
    )
    return compare_years(tables, matches, keys, basis)


LAKES = [(0.0, 0.0, 4.0, 2.0), (10.0, 0.0, 14.0, 2.0)]


def test_the_same_outlines_agree() -> None:
    found = compare({2017: LAKES, 2023: LAKES}, {2017: LAKES, 2023: LAKES})
    assert found.change["agreement"].tolist() == [1.0, 1.0]
    assert found.check.columns.tolist() == list(CHECK_COLUMNS)
    assert describe_check(found.check, "other") == {
        "model": "other", "n_checked": 4, "median_agreement": 1.0, "n_under_half": 0, "n_alone": 0,
    }  # fmt: skip


def test_without_a_check_there_is_no_column() -> None:
    found = compare({2017: LAKES, 2023: LAKES}, {})
    assert "agreement" not in found.change
    assert not len(found.check)


def test_the_worst_year_counts_and_disagreements_come_first() -> None:
    """Two thirds in one year; in the other two lakes of the other model, half of ours, and one that it alone has."""
    theirs = {2017: [(0, 0, 6, 2), LAKES[1]], 2023: [(0, 0, 1, 2), (3, 0, 4, 2), LAKES[1], (30, 0, 31, 1)]}
    found = compare({2017: LAKES, 2023: LAKES}, theirs)
    assert sorted(found.change["agreement"]) == pytest.approx([0.5, 1.0])
    assert found.check["agreement"].tolist() == pytest.approx([0.0, 0.5, 2 / 3, 1.0, 1.0])
    alone = found.check.iloc[0]
    assert (alone["lake_key"], alone["year"], alone["area_m2"]) == ("", 2023, 0.0)
    halves = found.check.iloc[1]
    assert halves["check_lake_ids"].count(";") == 1
    assert halves["check_area_m2"] == pytest.approx(0.5 * halves["area_m2"], rel=1e-6)
    assert describe_check(found.check, "other")["n_alone"] == 1


def test_small_outlines_of_the_other_model_agree_but_are_no_lakes_of_its_own() -> None:
    small = (20.0, 0.0, 20.4, 0.5)
    found = compare({2017: [*LAKES, small], 2023: LAKES}, {2017: [*LAKES, small, (40.0, 0.0, 40.4, 0.5)], 2023: LAKES})
    assert found.check["agreement"].tolist() == pytest.approx([1.0] * len(found.check))
    assert (found.check["lake_key"] != "").all()


def test_a_lake_that_is_new_is_checked_in_the_year_without_it() -> None:
    """The other model has three quarters of it already; unseen ground says nothing."""
    ours: dict[int, Sequence[Box]] = {2017: [LAKES[1]], 2023: LAKES}
    theirs = {2017: [(0, 0, 3, 2), LAKES[1]], 2023: LAKES}
    found = compare(ours, theirs)
    assert found.change.set_index("status")["agreement"].to_dict() == pytest.approx({"new": 0.25, "stable": 1.0})
    unseen = compare(ours, {2017: [LAKES[1]], 2023: LAKES}, GroundSeen(cloud=100))
    assert len(unseen.check) == 3
    assert unseen.change["agreement"].tolist() == [1.0, 1.0]


def test_a_year_that_was_not_checked_is_left_out() -> None:
    found = compare({2017: LAKES, 2021: LAKES, 2023: LAKES}, {2023: [LAKES[0]]})
    of_pair = found.change.groupby("pair")["agreement"].agg(list).to_dict()
    assert np.isnan(of_pair["2017-2021"]).all()
    assert sorted(of_pair["2021-2023"]) == [0.0, 1.0]

"""Totals add up, random errors average out and common ones stay; alerts name what has grown for sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from outline_tables import table

from cryosentinel_core.change.alerts import ALERT_COLUMNS
from cryosentinel_core.change.change_errors import ChangeErrors, ErrorSource
from cryosentinel_core.change.change_table import ChangeTables, compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import Key, assign_keys, empty_registry
from cryosentinel_core.change.matching import match_years
from cryosentinel_core.change.shore_noise import ShoreNoise
from cryosentinel_core.change.totals import TOTAL_COLUMNS, regions_of
from cryosentinel_core.lakes.tables import GroundSeen
from cryosentinel_core.settings.change import ChangeSettings

STATED = ShoreNoise(shore_m=2.0, lake_m=2.0, along_m=0.0, prior_m=2.0)


def compare(
    years: dict[int, list[tuple[float, float, float, float]]],
    *,
    stated: ShoreNoise | None = STATED,
    unseen_west_of: float = 0.0,
    common: float = 3.0,
) -> ChangeTables:
    tables = {year: table(year, boxes) for year, boxes in years.items()}
    for number, one in enumerate(tables.values()):
        one["elevation_m"] = 3000.0 + 400.0 * (np.arange(len(one)) % 4) + number
    matches = match_years(tables)
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=0.0)
    keys = [replace(key, aliases=("Imja",)) if number == 0 else key for number, key in enumerate(keys)]

    def see(ground: shapely.Geometry, grow_px: int) -> dict[int, GroundSeen]:
        blind = ground.centroid.x < 77 + unseen_west_of / 1000
        return {year: GroundSeen(cloud=100) if blind else GroundSeen(land=100) for year in years}

    basis = ComparisonBasis(
        settings=ChangeSettings(),
        observe_ground=see,
        errors=ChangeErrors(source=ErrorSource.FILE if stated else ErrorSource.SIMULATED, stated=stated),
        common_m=dict.fromkeys(years, common),
    )
    return compare_years(tables, matches, list[Key](keys), basis)


BOXES = [(4.0 * n, 0.0, 4.0 * n + 2, 2.0) for n in range(8)]
GROWN = [(4.0 * n, 0.0, 4.0 * n + 2, 2.0 + 0.1 * n) for n in range(8)]


def test_random_parts_in_quadrature_common_ones_linear() -> None:
    found = compare({2017: BOXES, 2023: GROWN})
    whole = found.totals[found.totals["group_by"] == "all"].iloc[0]
    rows = found.change
    assert whole["n_lakes"] == whole["n_compared"] == 8
    assert whole["change_m2"] == pytest.approx(rows["change_m2"].sum())
    assert whole["change_sigma_random_m2"] == pytest.approx(np.sqrt((rows["change_sigma_m2"] ** 2).sum()))
    first, second = table(2017, BOXES), table(2023, GROWN)
    shore = 0.5 * (first["perimeter_m"].sum() + second["perimeter_m"].sum())
    # Nothing was measured, so that all of the stated noise may be common.
    assert whole["change_sigma_common_m2"] == pytest.approx(2.0 * shore)
    assert whole["area_from_sigma_common_m2"] == pytest.approx(3.0 * first["perimeter_m"].sum())
    assert whole["change_sigma_m2"] == pytest.approx(
        np.hypot(whole["change_sigma_random_m2"], whole["change_sigma_common_m2"])
    )
    measured = replace(STATED, centre_m=-0.5, centre_sigma_m=0.2, n_lakes=50)
    told = compare({2017: BOXES, 2023: GROWN}, stated=measured).totals.iloc[0]
    assert told["change_sigma_common_m2"] == pytest.approx(0.5 * shore)


def test_what_a_lake_keeps_in_all_years_is_its_own() -> None:
    """The tables' systematic part is 0.8 m of shore: with 0.5 m common to all, the rest in quadrature adds as random parts do."""
    first = table(2017, BOXES)
    own = first["area_sigma_random_m2"] ** 2 + (0.8**2 - 0.5**2) * first["perimeter_m"] ** 2
    for common, wanted in (
        (0.5, own),
        (0.8, first["area_sigma_random_m2"] ** 2),
        (3.0, first["area_sigma_random_m2"] ** 2),
    ):
        whole = compare({2017: BOXES, 2023: GROWN}, common=common).totals.iloc[0]
        assert whole["area_from_sigma_random_m2"] == pytest.approx(np.sqrt(wanted.sum()), rel=1e-9)
        assert whole["area_from_sigma_common_m2"] == pytest.approx(common * first["perimeter_m"].sum())


def test_lakes_that_were_not_seen_stand_apart() -> None:
    found = compare({2017: BOXES, 2023: GROWN}, unseen_west_of=6.0)
    whole = found.totals.iloc[0]
    assert (whole["n_lakes"], whole["n_compared"]) == (8, 6)
    seen = found.change[found.change["status"] != "unobserved"]
    assert whole["area_from_m2"] == pytest.approx(seen["area_from_m2"].sum())
    assert whole["unobserved_from_m2"] == pytest.approx(table(2017, BOXES[:2])["area_m2"].sum())


@given(
    before=st.lists(st.sampled_from(range(8)), unique=True),
    after=st.lists(st.sampled_from(range(8)), unique=True),
    blind=st.sampled_from([0.0, 9.0, 40.0]),
    has_third=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_groups_add_up_to_the_whole(before: list[int], after: list[int], blind: float, has_third: bool) -> None:
    years = {2017: [BOXES[n] for n in before], 2023: [GROWN[n] for n in after]}
    found = compare({**years, 2025: BOXES} if has_third else years, unseen_west_of=blind)
    assert list(found.totals.columns) == list(TOTAL_COLUMNS)
    for _, rows in found.totals.groupby("pair"):
        whole = rows[rows["group_by"] == "all"]
        for name in ("region", "elevation", "size"):
            parts = rows[rows["group_by"] == name]
            assert parts["group"].is_unique
            for column in TOTAL_COLUMNS[3:]:
                if column == "change_percent" or column == "change_sigma_m2":
                    continue
                total = np.sqrt((parts[column] ** 2).sum()) if "random" in column else parts[column].sum()
                assert total == pytest.approx(whole[column].sum(), abs=1e-6), column
    for pair, rows in found.change.groupby("pair"):
        whole = found.totals[(found.totals["pair"] == pair) & (found.totals["group_by"] == "all")].iloc[0]
        assert whole["n_lakes"] == len(rows)
        assert whole["change_m2"] == pytest.approx(
            rows.loc[rows["status"] != "unobserved", "change_m2"].sum(), abs=1e-6
        )


def test_groups_are_named_and_ordered_for_a_reader() -> None:
    found = compare({2017: BOXES, 2023: [*GROWN[:7], (28, 0, 40, 12)]}).totals
    groups = {name: rows["group"].tolist() for name, rows in found.groupby("group_by", sort=False)}
    assert groups["all"] == ["all"]
    assert groups["region"] == ["ile_alatau"]
    assert groups["elevation"] == ["3000-3500 m", "3500-4000 m", "4000-4500 m"]
    assert groups["size"] == ["1-5 ha", "over 20 ha"]
    assert regions_of(np.array([0.0, 86.9, 76.9]), np.array([0.0, 27.9, 42.5])).tolist() == [
        "elsewhere",
        "central_himalaya",
        "kungey_alatau",
    ]


def test_alerts_are_growth_for_sure_and_new_lakes_largest_first() -> None:
    found = compare({2017: BOXES[:6], 2023: GROWN})
    alerts = found.alerts
    assert list(alerts.columns) == list(ALERT_COLUMNS)
    assert alerts["rank"].tolist() == list(range(1, len(alerts) + 1))
    assert (np.diff(alerts["change_m2"]) <= 0).all()
    assert alerts["kind"].tolist()[:2] == ["new", "new"]
    grown = alerts[alerts["kind"] == "grown"]
    assert 0 < len(grown) < 6
    assert (grown["q_value"] <= 0.05).all()
    assert set(grown["lake_key"]) <= set(found.change.loc[found.change["status"] == "grown", "lake_key"])
    assert alerts["sentence"].iloc[0].endswith("ha where bare ground was seen.")
    assert " grew by " in grown["sentence"].iloc[0]
    assert "(+25 %) between 2017 and 2023" in grown["sentence"].iloc[0]
    assert compare({2017: GROWN, 2023: BOXES}).alerts.empty


def test_a_named_lake_is_told_by_its_name() -> None:
    first = compare({2017: BOXES, 2023: [(0, 0, 2, 3), *BOXES[1:]]}).alerts
    assert first["sentence"].str.startswith("Imja (GL").tolist() == [True]


def test_alerts_of_several_pairs_begin_with_the_newest() -> None:
    wide = [(0, 0, 2, 4), *BOXES[1:]]
    found = compare({2017: BOXES, 2020: [(0, 0, 2, 3), *BOXES[1:]], 2023: wide})
    assert found.alerts["pair"].tolist() == ["2020-2023", "2017-2023", "2017-2020"]
    assert found.alerts["rank"].tolist() == [1, 1, 1]

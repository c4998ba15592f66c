"""Properties that every change table has, whatever the outlines: held against small random ones."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from outline_tables import MIRRORED, Box, box, boxes_of_a_year, table
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_errors import ChangeErrors, ErrorSource
from cryosentinel_core.change.change_table import ChangeTables, compare_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry
from cryosentinel_core.change.matching import match_years
from cryosentinel_core.ground.geodesic import measure_geodesic
from cryosentinel_core.lakes.inventory import clean_inventory
from cryosentinel_core.lakes.tables import GroundSeen, Inventory
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.change import ChangeSettings

MIN_OBSERVED = 0.95
NUMBERS = ("area_from_m2", "area_to_m2", "change_m2", "change_sigma_m2", "q_value", "observed_from", "observed_to")


def of_inventories(
    years: Mapping[int, Sequence[BaseGeometry]], complete: Sequence[int] = (), ids: Sequence[str] | None = None
) -> ChangeTables:
    """The table of inventories of 10 m, cleaned as files are."""
    cleaned = {}
    for year, outlines in years.items():
        names = [ids[number % len(ids)] if ids else "x" for number in range(len(outlines))]
        frame = gpd.GeoDataFrame(
            {"lake_id": names}, geometry=list(outlines), crs="EPSG:4326", index=range(len(outlines))
        )
        inventory = Inventory(year=year, path=f"{year}.gpkg", resolution_m=10)
        cleaned[year] = clean_inventory(frame, inventory, Silent()) if len(outlines) else table(year, [])
    matches = match_years(cleaned)
    keys, _ = assign_keys(matches, cleaned, empty_registry(), min_area_m2=0.0)
    basis = ComparisonBasis(
        settings=ChangeSettings(min_area_m2=1.0),
        errors=ChangeErrors(floor=None),
        drawn={year: year in complete for year in years},
    )
    return compare_years(cleaned, matches, keys, basis)


def outlines_of(boxes: list[Box]) -> NDArray[np.object_]:
    """Boxes with a corner every ten metres: a cut along a line then moves no shore by more than a micrometre."""
    return np.array([shapely.segmentize(box(*one), 1e-4) for one in boxes], dtype=object)


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Two tables with the same lakes, wherever their rows stand."""
    one, other = (
        frame.sort_values(["area_to_m2", "area_from_m2", "lat"]).round({"lat": 6}) for frame in (found, wanted)
    )
    one, other = one.reset_index(drop=True), other.reset_index(drop=True)
    assert len(one) == len(other)
    for name in ("status", "reason", "total_status", "significant"):
        assert one[name].tolist() == other[name].tolist(), name
    for name in NUMBERS:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-2, err_msg=name)


@given(before=boxes_of_a_year(), after=boxes_of_a_year(), source=st.sampled_from(list(ErrorSource)[:2]))
@settings(deadline=None, max_examples=15)
def test_years_swapped_mirror_every_change(before: list[Box], after: list[Box], source: ErrorSource) -> None:
    """With measured errors too, and with the ground that was gained and lost."""
    found = []
    for first, second in ((before, after), (after, before)):
        tables = {2017: table(2017, first), 2023: table(2023, second)}
        matches = match_years(tables)
        keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=0.0)
        basis = ComparisonBasis(
            settings=ChangeSettings(),
            observe_ground=lambda *_: {2017: GroundSeen(land=100), 2023: GroundSeen(land=100)},
            errors=ChangeErrors(source=source),
        )
        found.append(compare_years(tables, matches, keys, basis))
    there, back = found
    mirrored = back.change.rename(columns={"area_from_m2": "area_to_m2", "area_to_m2": "area_from_m2"})
    mirrored["change_m2"] = -mirrored["change_m2"]
    for name in ("status", "total_status"):
        mirrored[name] = mirrored[name].replace(MIRRORED)
    assert_same(there.change, mirrored)
    for gained, lost in ((there.gained, back.lost), (there.lost, back.gained)):
        assert gained["area_m2"].sum() == pytest.approx(lost["area_m2"].sum(), rel=1e-6, abs=1e-2)


@given(
    before=boxes_of_a_year(),
    after=boxes_of_a_year(),
    where=st.integers(1, 99),
    tilt=st.floats(-0.3, 0.3),
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=15)
def test_a_cut_other_ids_and_another_order_change_nothing(
    before: list[Box], after: list[Box], where: int, tilt: float, order: object
) -> None:
    from shapely.ops import split

    first, second = outlines_of(before), outlines_of(after)
    plain = of_inventories({2010: first, 2020: second}).change
    x = 77 + where / 10_000
    line = shapely.LineString([(x, 42.99), (x + 0.02 * tilt, 43.01)])
    cut = [part for one in first for part in split(one, line).geoms]
    order.shuffle(cut)  # type: ignore[attr-defined]
    pieces = [part for part in cut if part.area > 1e-12]
    seams = shapely.length(shapely.intersection(first, line)) if len(first) else np.zeros(0)
    if not ((seams > 0) & (seams < 2e-4)).any():  # a seam shorter than a pixel is no seam
        assert_same(of_inventories({2010: pieces, 2020: second}).change, plain)
    if len(first) and len(second):
        rows = list(range(len(first)))
        order.shuffle(rows)  # type: ignore[attr-defined]
        names = [f"lake {number}" for number in rows]
        assert_same(of_inventories({2010: first[rows], 2020: second[::-1]}, ids=names).change, plain)


@given(
    years=st.lists(boxes_of_a_year(), min_size=2, max_size=5),
    order=st.permutations(range(5)),
)
@settings(deadline=None, max_examples=15)
def test_adding_years_keeps_every_key(years: list[list[Box]], order: list[int]) -> None:
    """In any order; a key once given is a lake's key or alias ever after, and stays on the same ground."""
    tables = {2010 + number: table(2010 + number, boxes) for number, boxes in enumerate(years)}
    added = [2010 + number for number in order if number < len(years)]
    registry, known = empty_registry(), {}
    for n in range(1, len(added) + 1):
        chosen = {year: tables[year] for year in sorted(added[:n])}
        matches = match_years(chosen)
        keys, registry = assign_keys(matches, chosen, registry, min_area_m2=0.0)
        named: dict[str, BaseGeometry] = {}
        for match, key in zip(matches, keys, strict=True):
            rows = [chosen[year].geometry.iloc[row] for year, members in match.members.items() for row in members]
            for name in (key.lake_key, *key.aliases):
                assert name not in named
                named[name] = shapely.union_all(rows)
        for name, ground in known.items():
            assert name in named, name
            assert shapely.area(shapely.difference(ground, named[name])) < 1e-12
        known = named


@given(
    before=boxes_of_a_year(),
    after=boxes_of_a_year(),
    hidden=st.sets(st.integers(0, 9)),
    cause=st.sampled_from(["ice", "cloud", "shadow", "nodata"]),
)
@settings(deadline=None, max_examples=15)
def test_a_lake_that_a_year_did_not_see_has_neither_vanished_nor_changed(
    before: list[Box], after: list[Box], hidden: set[int], cause: str
) -> None:
    """Ground is hidden by a hash of its place, in one year or the other, wholly or in part."""
    tables = {2017: table(2017, before), 2023: table(2023, after)}

    def see(ground: BaseGeometry, grow_px: int) -> dict[int, GroundSeen]:
        number = zlib.crc32(shapely.to_wkb(shapely.centroid(ground))) % 10
        unseen = {"land": 0 if number % 2 else 60, cause: 100 if number % 2 else 40}
        bare = GroundSeen(land=100)
        blind = GroundSeen(**unseen) if number in hidden else bare
        return {2017: blind, 2023: bare} if number % 3 else {2017: bare, 2023: blind}

    matches = match_years(tables)
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=0.0)
    basis = ComparisonBasis(
        settings=ChangeSettings(min_observed=MIN_OBSERVED),
        observe_ground=see,
        errors=ChangeErrors(source=ErrorSource.SIMULATED),
    )
    found = compare_years(tables, matches, keys, basis)
    change = found.change
    short = (change["observed_from"] < MIN_OBSERVED) | (change["observed_to"] < MIN_OBSERVED)
    assert set(change.loc[short, "status"]) <= {"unobserved"}
    assert set(change.loc[short, "reason"]) <= {cause}
    assert change.loc[short, ["change_m2", "q_value"]].isna().all(axis=None)
    assert change.loc[short, "significant"].isna().all()
    assert not (change.loc[short, ["area_from_m2", "area_to_m2"]] == 0).any(axis=None)
    assert not set(found.gained["lake_key"]) & set(change.loc[short, "lake_key"])
    for status, seen in (("vanished", "observed_to"), ("new", "observed_from")):
        assert (change.loc[change["status"] == status, seen] == 1).all()


@given(
    before=boxes_of_a_year(), after=boxes_of_a_year(), complete=st.sampled_from([(), (2010,), (2020,), (2010, 2020)])
)
@settings(deadline=None, max_examples=15)
def test_totals_are_the_sums_of_the_parts(before: list[Box], after: list[Box], complete: tuple[int, ...]) -> None:
    """Of inventories: all that was drawn is in exactly one row; what is compared adds up to gained less lost ground."""
    first, second = outlines_of(before), outlines_of(after)
    found = of_inventories({2010: first, 2020: second}, complete=complete)
    change = found.change
    drawn = [measure_geodesic(outlines)[0].sum() for outlines in (first, second)]
    assert np.nansum(change["area_from_m2"]) == pytest.approx(drawn[0])
    assert np.nansum(change["area_to_m2"]) == pytest.approx(drawn[1])
    judged = change[change["status"] != "unobserved"]
    moved = judged["change_m2"].sum()
    assert moved == pytest.approx(judged["area_to_m2"].sum() - judged["area_from_m2"].sum(), abs=1e-6)
    assert found.gained["area_m2"].sum() - found.lost["area_m2"].sum() == pytest.approx(
        moved, abs=100.0 * len(judged) + 1
    )
    assert len(change) == len(judged) if len(complete) == 2 else True

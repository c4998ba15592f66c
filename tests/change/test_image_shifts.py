"""Shifts between years: told, warned of, and applied only beyond their error and what the error model allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from outline_tables import box, table

from cryosentinel_core.change.change_table import compare_years
from cryosentinel_core.change.comparability import describe_differences, pairs_of_years
from cryosentinel_core.change.comparison_basis import ComparisonBasis
from cryosentinel_core.change.image_shifts import ImageReaders, describe_shifts, measure_registration, shifts_to_apply
from cryosentinel_core.change.lake_keys import assign_keys, empty_registry, is_key
from cryosentinel_core.change.matching import match_years
from cryosentinel_core.ground.lattice import Cell, Grid
from cryosentinel_core.lakes.tables import GroundSeen
from cryosentinel_core.scenes.registration import UNKNOWN, Registration
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.stack.stack import Condition

PAIR = (2017, 2023)


def shift(dx_m: float, sigma_m: float) -> Registration:
    return Registration(dx_m=dx_m, dy_m=0.0, sigma_m=sigma_m, n_patches=20)


@pytest.mark.parametrize(
    ("measured", "applied"),
    [
        (shift(6.0, 0.2), {PAIR: (6.0, 0.0)}),
        (shift(6.0, 2.5), {}),
        (shift(0.4, 0.01), {}),
        (UNKNOWN, {}),
    ],
)
def test_a_shift_counts_beyond_its_error_and_the_models(
    measured: Registration, applied: dict[tuple[int, int], tuple[float, float]]
) -> None:
    assert shifts_to_apply({PAIR: measured}, registration_m=0.5) == applied


def test_only_more_than_half_a_pixel_is_warned_of() -> None:
    notes, warnings = describe_shifts({(2017, 2021): shift(6.0, 0.2), (2021, 2023): shift(4.0, 0.2), PAIR: UNKNOWN})
    assert len(notes) == 3
    assert notes[2] == "2017-2023: the shift between the images is unknown (0 patches of stable ground)"
    assert len(warnings) == 1
    assert warnings[0].startswith("2017-2021: the images of 2021 lie +6.0 m east and +0.0 m north of those of 2017")


def test_only_clear_land_that_was_never_water_is_looked_at() -> None:
    """A year of which every pixel is excluded for one reason has no patch; without it the same images have all."""
    cell = Cell(32643, -2130, 240)
    texture = np.random.default_rng(0).integers(1000, 3000, (224, 224)).astype(np.uint16)

    def part(patch: Grid) -> NDArray[np.uint16]:
        return texture[patch.slices_in(cell.grid)]

    def full(value: int) -> Callable[[Grid], NDArray[np.uint8]]:
        return lambda patch: np.full(patch.shape, value, dtype=np.uint8)

    def year(water: int = 0, condition: int = int(Condition.CLEAR), wet: int = 0) -> ImageReaders:
        return ImageReaders(
            cells=frozenset({cell}), image=part, water=full(water), condition=full(condition), wet_dates=full(wet)
        )

    good = measure_registration(year(), year())
    assert good.n_patches == 9
    assert good.length_m == pytest.approx(0.0, abs=1e-6)
    for other in (year(water=1), year(water=2), year(condition=int(Condition.CLOUD)), year(wet=1)):
        assert measure_registration(year(), other).n_patches == 0
    assert measure_registration(year(), None) == UNKNOWN


def test_gained_and_lost_ground_is_that_of_the_moved_outlines_though_ids_are_shared() -> None:
    """Two ponds within a hundred metres share an id; each has its own pieces, moved once."""
    first, second = (0.05, 0, 0.25, 0.2), (0.28, 0, 0.48, 0.2)
    tables = {2017: table(2017, [first, second]), 2023: table(2023, [first, second])}
    assert tables[2017]["lake_id"].nunique() == 1
    matches = match_years(tables)
    keys, _ = assign_keys(matches, tables, empty_registry(), min_area_m2=100.0)
    basis = ComparisonBasis(
        settings=ChangeSettings(min_area_m2=100.0),
        observe_ground=lambda ground, grow_px: dict.fromkeys(tables, GroundSeen(land=1)),
        shifts={PAIR: (8.0, 0.0)},
    )
    found = compare_years(tables, matches, keys, basis)
    tall = pytest.approx(8.0 * 22.2, rel=0.02)
    assert found.gained["area_m2"].tolist() == [tall, tall]
    assert found.lost["area_m2"].tolist() == [tall, tall]
    assert found.gained.geometry.bounds["maxx"].max() < box(*second).bounds[2]
    assert found.change["change_m2"].tolist() == [0.0, 0.0]


def test_pairs_and_differences_of_runs() -> None:
    assert pairs_of_years((2017, 2021, 2023)) == [(2017, 2021), (2021, 2023), (2017, 2023)]
    told = describe_differences(5_000.0, {2017: 5_000.0, 2023: 10_000.0}, {2017: True, 2023: False})
    assert [line.split(":")[0] for line in told] == ["2023", "radar was not used in 2023, but in the other years"]
    assert describe_differences(5_000.0, {2017: 0.0, 2023: 5_000.0}, {2017: False, 2023: False}) == []


@pytest.mark.parametrize(
    "text", ["GL077012E43056N", "GL077012W43056S_2", "GL077012E43056N-a", "GL077012E43056N_2-a-ab"]
)
def test_keys_are_told_from_names(text: str) -> None:
    assert is_key(text)
    assert not is_key(f"Lake {text}")

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.scenes.composite import (
    CLOUD_GROW_PX,
    EDGE_PX,
    HALO_PX,
    DateClass,
    DateClasses,
    Spectrum,
    classify_dates,
    flag_date,
    grow,
    is_snow_like,
    is_water_like,
    median_of_dates,
    plan_pixels,
    sort_planes,
)
from cryosentinel_core.stack.stack import COUNT_NAMES, Condition

SPECTRA = {
    "clear water": (470, 380, 80, 30),
    "milky water": (1_800, 2_150, 850, 100),
    "snow": (9_000, 9_000, 8_400, 1_100),
    "snow in shade": (2_500, 1_800, 670, 40),
    "lake ice": (4_400, 4_400, 3_200, 300),
    "glacier": (4_700, 4_600, 3_300, 350),
    "ice in shade": (1_022, 730, 208, 12),
    "half-lit rock on ice": (1_070, 1_098, 988, 595),
    "rock": (1_400, 1_650, 2_100, 2_600),
    "grass": (300, 600, 3_200, 2_000),
    "cloud": (5_500, 5_600, 6_200, 4_800),
}
"""(B02, B03, B08, B11), reflectance x 10,000."""

SIDE = 60

CLEAR, SNOW, SHADOW, CLOUD, NODATA = (
    DateClass.CLEAR,
    DateClass.SNOW,
    DateClass.SHADOW,
    DateClass.CLOUD,
    DateClass.NODATA,
)


def spectrum(name: str) -> Spectrum:
    blue, green, nir, swir = (np.full((1, 1), value, np.uint16) for value in SPECTRA[name])
    return Spectrum(blue=blue, green=green, nir=nir, swir=swir)


def scene(ground: np.ndarray, scl: np.ndarray) -> np.ndarray:
    """Flags of one date from the names of surfaces (H, W) and a classification."""
    bands = [np.vectorize(lambda name, i=i: SPECTRA[name][i])(ground).astype(np.uint16) for i in range(4)]
    return flag_date(scl.astype(np.uint8), Spectrum(blue=bands[0], green=bands[1], nir=bands[2], swir=bands[3]))


def lake_scene(scl_of_lake: int, *, surface: str = "milky water") -> tuple[np.ndarray, np.ndarray]:
    ground = np.full((SIDE, SIDE), "rock", dtype=object)
    scl = np.full((SIDE, SIDE), 5)
    ground[25:35, 25:35] = surface
    scl[24:36, 24:36] = scl_of_lake
    return ground, scl


def everything(flags: Sequence[np.ndarray]) -> DateClasses:
    return classify_dates(flags, (slice(0, flags[0].shape[0]), slice(0, flags[0].shape[1])))


@pytest.mark.parametrize("name", SPECTRA)
def test_spectra(name: str) -> None:
    looks_wet = ("clear water", "milky water", "ice in shade", "half-lit rock on ice")
    assert bool(is_water_like(spectrum(name)).item()) is (name in looks_wet)
    assert bool(is_snow_like(spectrum(name)).item()) is (name in ("snow", "snow in shade", "lake ice", "glacier"))


@pytest.mark.parametrize(("called", "surface"), [(9, "milky water"), (8, "milky water"), (3, "clear water")])
def test_lake_called_cloud_or_shadow_is_given_back_with_its_rim(called: int, surface: str) -> None:
    flags = [scene(*lake_scene(6, surface=surface)), scene(*lake_scene(called, surface=surface))]
    judged = everything(flags)
    assert (judged.seen == DateClass.CLEAR).all()
    assert judged.water[1, 25:35, 25:35].all()


def test_lake_called_cloud_on_every_date_is_given_back() -> None:
    assert (everything([scene(*lake_scene(9))] * 3).seen == DateClass.CLEAR).all()


def test_real_cloud_over_a_lake_stays_cloud() -> None:
    cloudy, scl = lake_scene(9)
    cloudy[20:40, 20:40] = "cloud"
    scl[20:40, 20:40] = 9
    judged = everything([scene(*lake_scene(6)), scene(cloudy, scl)])
    assert (judged.seen[1, 20:40, 20:40] == DateClass.CLOUD).all()
    assert (judged.seen[0] == DateClass.CLEAR).all()


def test_dark_ground_under_a_single_cloud_shadow_stays_shadow() -> None:
    land = np.full((SIDE, SIDE), "rock", dtype=object)
    clear = scene(land, np.full((SIDE, SIDE), 5))
    shaded, scl = lake_scene(3, surface="clear water")
    judged = everything([clear, clear, scene(shaded, scl)])
    assert (judged.seen[2, 24:36, 24:36] == DateClass.CLOUD).all()


def test_one_date_proves_no_lake() -> None:
    assert (everything([scene(*lake_scene(9))]).seen[0, 25:35, 25:35] == DateClass.CLOUD).all()


def test_clouds_and_edges_grow() -> None:
    ground = np.full((SIDE, SIDE), "rock", dtype=object)
    scl = np.full((SIDE, SIDE), 5)
    scl[30, 30] = 9
    scl[:, 0] = 0
    seen = everything([scene(ground, scl)]).seen[0]
    assert (seen == DateClass.CLOUD).sum() == (2 * CLOUD_GROW_PX + 1) ** 2
    assert (seen == DateClass.NODATA).sum() == SIDE * (EDGE_PX + 1)


def test_snow_called_clear_and_water_called_snow() -> None:
    ground, scl = lake_scene(11)
    ground[:10] = "snow"
    seen = everything([scene(ground, scl)]).seen[0]
    assert (seen[:10] == DateClass.SNOW).all()
    assert (seen[25:35, 25:35] == DateClass.CLEAR).all()
    assert (seen[24, 24:36] == DateClass.SNOW).all()


def lake_classes(*dates: tuple[str, int]) -> list[DateClass]:
    """What each date says of a lake's middle, given what lay there and what the classification called it."""
    seen = everything([scene(*lake_scene(scl, surface=surface)) for surface, scl in dates]).seen
    return [DateClass(one[30, 30]) for one in seen]


CALLED_SNOW, CALLED_WATER, CALLED_CLOUD = 11, 6, 9


@pytest.mark.parametrize("surface", ["ice in shade", "half-lit rock on ice"])
def test_ice_that_looks_like_water_once_stays_ice(surface: str) -> None:
    dates = [("glacier", CALLED_SNOW), (surface, CALLED_SNOW), ("glacier", CALLED_SNOW)]
    assert lake_classes(*dates) == [SNOW] * 3
    assert judge(*lake_classes(*dates))[1] is Condition.SNOW_ICE
    assert lake_classes((surface, CALLED_SNOW), ("cloud", CALLED_CLOUD)) == [SNOW, CLOUD]


def test_ice_that_looks_like_water_on_all_dates_stays_ice() -> None:
    """The sun stands in the same direction on all dates of a season, and so does a wall's shadow."""
    assert lake_classes(*[("ice in shade", CALLED_SNOW)] * 3) == [SNOW] * 3


def test_lake_called_snow_is_a_lake_where_other_dates_know_it() -> None:
    known, called_snow = ("clear water", CALLED_WATER), ("clear water", CALLED_SNOW)
    assert lake_classes(known, called_snow) == [CLEAR] * 2
    assert lake_classes(called_snow, ("cloud", CALLED_CLOUD), known) == [CLEAR, CLOUD, CLEAR]
    assert lake_classes(known, called_snow, called_snow) == [CLEAR, SNOW, SNOW]


def test_milky_lake_called_snow_on_its_only_date_is_a_lake_and_a_clear_one_is_not() -> None:
    assert lake_classes(("milky water", CALLED_SNOW)) == [CLEAR]
    assert lake_classes(("clear water", CALLED_SNOW)) == [SNOW]


@pytest.mark.parametrize(("surface", "called"), [("clear water", CALLED_WATER), ("milky water", CALLED_SNOW)])
def test_lake_frozen_on_three_dates_and_open_later_is_open(surface: str, called: int) -> None:
    seen = lake_classes(*[("lake ice", CALLED_SNOW)] * 3, (surface, called))
    assert seen == [SNOW, SNOW, SNOW, CLEAR]
    assert judge(*seen)[1] is Condition.CLEAR


def random_flags(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    """Flags with patches of all sizes, so that labels, growth and edges all matter."""
    found = []
    for _ in range(3):
        coarse = rng.random((height // 20 + 2, width // 20 + 2))
        field = np.kron(coarse, np.ones((20, 20)))[:height, :width] + 0.15 * rng.random((height, width))
        flags = np.full((height, width), 1, np.uint8)
        flags |= ((field > 0.7) * 8 + (field < 0.25) * 16).astype(np.uint8)
        flags |= ((np.abs(field - 0.75) < 0.1) * 2 + (rng.random((height, width)) < 0.3) * 2).astype(np.uint8)
        flags |= ((rng.random((height, width)) < 0.3) * 4 + (rng.random((height, width)) < 0.2) * 32).astype(np.uint8)
        flags[rng.random((height, width)) < 0.0005] = 0
        found.append(flags)
    return found


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(0, 120), st.integers(0, 120))
def test_classification_does_not_depend_on_the_cutting(seed: int, row: int, col: int) -> None:
    size = 2 * HALO_PX + 160
    flags = random_flags(np.random.default_rng(seed), size, size)
    inner = slice(HALO_PX, size - HALO_PX)
    whole = classify_dates(flags, (inner, inner))
    rows, cols = slice(row, row + 40 + 2 * HALO_PX), slice(col, col + 40 + 2 * HALO_PX)
    part = classify_dates([one[rows, cols] for one in flags], (slice(HALO_PX, HALO_PX + 40),) * 2)
    np.testing.assert_array_equal(part.seen, whole.seen[:, row : row + 40, col : col + 40])


def judge(
    *dates: DateClass, days: Sequence[int] | None = None, best_only: bool = False
) -> tuple[np.ndarray, Condition, np.ndarray, np.ndarray]:
    seen = np.array([[[date]] for date in dates], dtype=np.uint8)
    verdict = plan_pixels(
        DateClasses(seen=seen, water=np.ones(seen.shape, bool)), days or [100 + 10 * i for i in range(len(dates))],
        best_only=best_only,
    )  # fmt: skip
    return verdict.used[:, 0, 0], Condition(verdict.condition[0, 0]), verdict.counts[:, 0, 0], verdict.dates[:, 0, 0]


@pytest.mark.parametrize(
    ("dates", "used", "condition"),
    [
        ((CLEAR, CLOUD, CLEAR), [1, 0, 1], Condition.CLEAR),
        ((SNOW, SNOW, CLOUD), [1, 1, 0], Condition.SNOW_ICE),
        ((SNOW, SNOW, SNOW, CLEAR), [0, 0, 0, 1], Condition.CLEAR),
        ((SNOW, SNOW, SNOW, SNOW, CLEAR), [0, 0, 0, 0, 1], Condition.SNOW_ICE),
        ((SHADOW, CLOUD, NODATA), [1, 0, 0], Condition.TERRAIN_SHADOW),
        ((SHADOW, CLEAR), [0, 1], Condition.CLEAR),
        ((CLOUD, NODATA), [0, 0], Condition.CLOUD),
        ((NODATA, NODATA), [0, 0], Condition.NODATA),
    ],
)
def test_which_dates_count(dates: tuple[DateClass, ...], used: list[int], condition: Condition) -> None:
    got_used, got_condition, counts, _ = judge(*dates)
    assert got_used.tolist() == [bool(one) for one in used]
    assert got_condition is condition
    by_name = dict(zip(COUNT_NAMES, counts.tolist(), strict=True))
    assert by_name == {
        "clear": dates.count(CLEAR), "water": dates.count(CLEAR), "snow": dates.count(SNOW),
        "shadow": dates.count(SHADOW), "cloud": dates.count(CLOUD),
    }  # fmt: skip


def test_dates_of_a_pixel() -> None:
    assert judge(CLEAR, CLOUD, CLEAR, CLEAR, SNOW)[3].tolist() == [100, 120, 130]
    assert judge(CLEAR, CLEAR)[3].tolist() == [100, 100, 110]
    assert judge(CLOUD)[3].tolist() == [0, 0, 0]


def test_best_date_is_the_middle_one_of_the_best_kind() -> None:
    used, condition, counts, dates = judge(CLEAR, SNOW, CLEAR, CLEAR, CLOUD, best_only=True)
    assert used.tolist() == [False, False, True, False, False]
    assert condition is Condition.CLEAR
    assert counts[0] == 1
    assert dates.tolist() == [120, 120, 120]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_median_agrees_with_numpy(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 50, (n, 6, 7)).astype(np.uint16)
    used = rng.random(numbers.shape) < 0.6
    expected = np.ma.median(np.ma.array(numbers.astype(float), mask=~(used & (numbers > 0))), axis=0).filled(0)
    np.testing.assert_array_equal(median_of_dates(list(numbers), used), np.floor(expected + 0.5))


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_planes_are_sorted(n: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 9, (n, 30)).astype(np.uint16)
    planes = [one.copy() for one in numbers]
    sort_planes(planes)
    np.testing.assert_array_equal(np.stack(planes), np.sort(numbers, axis=0))


def test_grow_is_a_square() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    grown = grow(mask, 2)
    assert grown.sum() == 25
    assert grown[2:7, 2:7].all()

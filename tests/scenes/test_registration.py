"""Shifts between images: known ones, made with the Fourier transform, come back; where nothing can be told, nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryosentinel_core.errors import GridMismatch, InputError
from cryosentinel_core.ground.lattice import Cell
from cryosentinel_core.ground.projection import transformer
from cryosentinel_core.scenes.registration import (
    MIN_PATCHES,
    PATCH_PX,
    PatchShift,
    Registration,
    combine_patches,
    has_enough_ground,
    measure_patch,
    move_outline,
    patches_of_cells,
)

WHOLE = np.ones((PATCH_PX, PATCH_PX), dtype=bool)
Image = NDArray[np.float64]


def pair_of_images(
    seed: int, d_row: float, d_col: float, *, noise: float = 0.0, contrast: float = 1.0, gain: float = 1.0
) -> tuple[Image, Image]:
    """Reflectance of a band-limited random ground, and of the same one moved; noise in standard deviations of the ground."""
    rng = np.random.default_rng(seed)
    side = 2 * PATCH_PX
    row, col = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]
    frequency = np.hypot(row, col)
    spectrum = np.fft.fft2(rng.standard_normal((side, side))) * (frequency < 0.35) / np.maximum(frequency, 1 / side)
    still = np.fft.ifft2(spectrum).real
    moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (row * d_row + col * d_col))).real
    inside = slice(PATCH_PX // 2, PATCH_PX // 2 + PATCH_PX)
    first, second = ((image / still.std())[inside, inside] for image in (still, moved))
    first = first + noise * rng.standard_normal(first.shape)
    second = second + noise * rng.standard_normal(first.shape)
    return 1500 * np.exp(0.15 * first), 1500 * gain * np.exp(0.15 * contrast * second)


@pytest.mark.parametrize(
    ("d_row", "d_col"), [(0.0, 0.0), (0.3, -0.7), (-1.2, 0.1), (2.6, 2.1), (-0.05, 0.05), (0.5, -3.2)]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_shift_comes_back(seed: int, d_row: float, d_col: float) -> None:
    found = measure_patch(*pair_of_images(seed, d_row, d_col), WHOLE)
    assert found is not None
    assert (found.d_row, found.d_col) == pytest.approx((d_row, d_col), abs=0.01)


def test_another_gain_and_contrast_are_no_shift() -> None:
    found = measure_patch(*pair_of_images(5, 0.4, -0.3, gain=1.4, contrast=0.7), WHOLE)
    assert found is not None
    assert (found.d_row, found.d_col) == pytest.approx((0.4, -0.3), abs=0.02)


def test_noise_widens_the_error_and_draws_nothing_to_zero() -> None:
    patches = []
    for seed in range(40):
        found = measure_patch(*pair_of_images(seed, 0.8, -0.6, noise=0.3), WHOLE)
        if found is not None:
            patches.append(found)
    assert len(patches) >= 36
    errors = np.array([(patch.d_row - 0.8, patch.d_col + 0.6) for patch in patches])
    assert np.abs(errors.mean(axis=0)).max() < 0.02
    z = errors / np.array([patch.sigma_px for patch in patches])[:, None]
    assert 0.4 < z.std() < 1.4
    whole = combine_patches(patches)
    assert (whole.dx_m, whole.dy_m) == pytest.approx((-6.0, -8.0), abs=0.5)
    assert whole.sigma_m is not None
    assert whole.sigma_m < 0.3


def test_masked_pixels_take_no_part() -> None:
    first, second = pair_of_images(7, -0.6, 0.9)
    stable = WHOLE.copy()
    stable[20:34, 12:30] = False
    stable[50:, 50:] = False
    clean = measure_patch(first, second, stable)
    second[~stable] = 9000.0
    first[~stable] = 0.0
    assert measure_patch(first, second, stable) == clean
    assert clean is not None
    assert (clean.d_row, clean.d_col) == pytest.approx((-0.6, 0.9), abs=0.05)


def test_nodata_inside_the_mask_is_left_out() -> None:
    first, second = pair_of_images(8, 0.2, 0.5)
    first[5:15, 5:15] = 0
    found = measure_patch(first, second, WHOLE)
    assert found is not None
    assert (found.d_row, found.d_col) == pytest.approx((0.2, 0.5), abs=0.05)


def test_what_cannot_be_told_is_unknown_and_not_zero() -> None:
    plain = np.full((PATCH_PX, PATCH_PX), 1800, dtype=np.uint16)
    assert measure_patch(plain, plain, WHOLE) is None
    stripes = np.broadcast_to(1800 + 300 * np.sin(np.arange(PATCH_PX)), plain.shape)
    assert measure_patch(stripes, stripes, WHOLE) is None
    assert measure_patch(pair_of_images(1, 0, 0)[0], pair_of_images(2, 0, 0)[0], WHOLE) is None
    assert measure_patch(*pair_of_images(3, 7.0, 0.0), WHOLE) is None
    little = np.zeros_like(WHOLE)
    little[:25, :25] = True
    assert not has_enough_ground(little)
    assert measure_patch(*pair_of_images(3, 0.0, 0.0), little) is None
    unknown = combine_patches([PatchShift(d_col=1.0, d_row=0.0, sigma_px=0.1)] * (MIN_PATCHES - 1))
    assert unknown.dx_m is None
    assert unknown.length_m is None
    assert not unknown.is_significant
    assert unknown.as_dict() == {"dx_m": None, "dy_m": None, "sigma_m": None, "n_patches": MIN_PATCHES - 1}


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    d_row=st.floats(-3, 3),
    d_col=st.floats(-3, 3),
    noise=st.sampled_from([0.0, 0.1, 0.3]),
    contrast=st.floats(0.7, 1.3),
)
def test_swapping_the_images_turns_the_sign(
    seed: int, d_row: float, d_col: float, noise: float, contrast: float
) -> None:
    first, second = pair_of_images(seed, d_row, d_col, noise=noise, contrast=contrast)
    there, back = measure_patch(first, second, WHOLE), measure_patch(second, first, WHOLE)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (there.d_row, there.d_col) == pytest.approx((-back.d_row, -back.d_col), abs=1e-9)
        assert there.sigma_px == pytest.approx(back.sigma_px, rel=1e-6)


def test_a_few_wrong_patches_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    good = [PatchShift(d_col=0.5 + e, d_row=-0.2 + f, sigma_px=0.02) for e, f in rng.normal(0, 0.05, (30, 2))]
    wrong = [PatchShift(d_col=3.5, d_row=3.0, sigma_px=0.02)] * 6
    found = combine_patches(good + wrong)
    assert (found.dx_m, found.dy_m) == pytest.approx((5.0, 2.0), abs=0.4)
    assert found.is_significant
    assert combine_patches((good + wrong)[::-1]) == found


def test_patches_stay_inside_their_cells_and_in_order() -> None:
    cells = [Cell(32643, -2134 + row, 291 + col) for row in range(6) for col in range(6)]
    patches = patches_of_cells(cells)
    assert len(set(patches)) == len(patches) == 9 * len(cells)
    for patch in patches:
        assert (patch.row // 224, patch.col // 224) == ((patch.row + 63) // 224, (patch.col + 63) // 224)
    assert patches_of_cells(cells[::-1]) == patches
    fewer = patches_of_cells(cells[:10])
    assert fewer == [patch for patch in patches if patch in set(fewer)]
    first = patches[:60]
    assert np.ptp([patch.row for patch in first]) > 900
    assert np.ptp([patch.col for patch in first]) > 900


def test_an_outline_moves_by_metres_and_keeps_its_area() -> None:
    there = transformer(4326, 32643)
    outline = shapely.Point(77.0, 43.05).buffer(0.002)
    moved = move_outline(outline, 8.0, -5.0)

    def metres(shape: shapely.Geometry) -> shapely.Geometry:
        return shapely.transform(shape, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))

    before, after = metres(outline), metres(moved)
    assert after.centroid.x - before.centroid.x == pytest.approx(8.0, abs=1e-3)
    assert after.centroid.y - before.centroid.y == pytest.approx(-5.0, abs=1e-3)
    assert after.area == pytest.approx(before.area, rel=1e-9)
    assert move_outline(shapely.Polygon(), 8.0, -5.0).is_empty


def test_wrong_shapes_and_half_known_shifts_are_refused() -> None:
    with pytest.raises(GridMismatch, match="wanted one"):
        measure_patch(np.ones((64, 64)), np.ones((64, 63)), WHOLE)
    with pytest.raises(InputError, match="whole or not at all"):
        Registration(dx_m=1.0, dy_m=None, sigma_m=0.1, n_patches=9)
    with pytest.raises(InputError, match="finite"):
        Registration(dx_m=float("nan"), dy_m=0.0, sigma_m=0.1, n_patches=9)

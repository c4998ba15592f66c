"""Random fields and resampling that terrain, clouds and textures share: plain arithmetic on arrays `(H, W)`."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, special

Array = npt.NDArray[np.float32]
Response = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def make_generator(seed: int, *names: object) -> np.random.Generator:
    """A random generator that depends on the seed and a name only, never on what was drawn before."""
    words = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def band_field(rng: np.random.Generator, shape: tuple[int, int], pixel_m: float, wavelength_m: float) -> Array:
    """A random field `(H, W)` of mean 0 and variance 1 whose features are about `wavelength_m` across."""
    return _filtered(rng, shape, pixel_m, lambda f: np.exp(-(np.log2(f * wavelength_m) ** 2) / 0.5))


def power_field(
    rng: np.random.Generator, shape: tuple[int, int], pixel_m: float, longest_m: float, slope: float
) -> Array:
    """A random field `(H, W)` of mean 0 and variance 1 with amplitude falling as frequency to the power `-slope`."""
    return _filtered(rng, shape, pixel_m, lambda f: (f**2 + longest_m**-2) ** (-slope / 2))


def _filtered(rng: np.random.Generator, shape: tuple[int, int], pixel_m: float, response: Response) -> Array:
    height, width = (int(fft.next_fast_len(n, real=True)) for n in shape)
    spectrum = fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    fy = fft.fftfreq(height, pixel_m)[:, None]
    fx = fft.rfftfreq(width, pixel_m)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = frequency[0, 1]
    gain = response(frequency)
    gain[0, 0] = 0.0
    field = fft.irfft2(spectrum * gain.astype(np.float32), s=(height, width))
    field /= field.std()
    return np.ascontiguousarray(field[: shape[0], : shape[1]], dtype=np.float32)


def enlarge(array: Array, factor: int) -> Array:
    """An array `(H, W)` resampled bilinearly to `(factor x H, factor x W)`, pixel edges kept in place."""
    rows = _interpolate(array, factor, 0)
    return _interpolate(rows, factor, 1)


def _interpolate(array: Array, factor: int, axis: int) -> Array:
    n = array.shape[axis]
    at = np.clip((np.arange(n * factor) + 0.5) / factor - 0.5, 0, n - 1)
    low = np.minimum(at.astype(np.intp), n - 2)
    weight = (at - low).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight[None, :]
    first = np.take(array, low, axis)
    second = np.take(array, low + 1, axis)
    second -= first
    second *= weight
    second += first
    return np.asarray(second, np.float32)


def block_mean(array: Array, factor: int) -> Array:
    """An array `(H, W)` averaged over blocks of `factor` x `factor`; H and W are multiples of it."""
    if factor == 1:
        return array
    total = np.zeros((array.shape[0] // factor, array.shape[1]), np.float32)
    for i in range(factor):
        total += array[i::factor]
    result = np.zeros((total.shape[0], array.shape[1] // factor), np.float32)
    for i in range(factor):
        result += total[:, i::factor]
    result /= factor * factor
    return result


def blur_and_shift(array: Array, sigma: float, shift: tuple[float, float]) -> Array:
    """An array `(H, W)` seen through a Gaussian of `sigma` pixels, its content moved by `shift` (rows, columns).

    One separable convolution with a Gaussian centred off the pixel, integrated over each pixel, does both; that
    integral adds a twelfth of a pixel to its variance. Shifts stay under two pixels or so.
    """
    for axis in (0, 1):
        reach = int(np.ceil(3 * sigma + abs(shift[axis])))
        at = np.arange(-reach, reach + 1)
        edges = (np.append(at, reach + 1) - 0.5 - shift[axis]) / (max(sigma, 1e-3) * np.sqrt(2))
        kernel = np.diff(special.erf(edges))
        kernel /= kernel.sum()
        array = ndimage.convolve1d(array, kernel.astype(np.float32), axis=axis, output=np.float32, mode="nearest")
    return array


def smoothstep(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, and a smooth rise between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)

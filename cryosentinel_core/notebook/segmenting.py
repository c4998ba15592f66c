"""Logits of a Dataset, whoever made it: the segmenters and windows of `predict`, without a workspace."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import rioxarray  # noqa: F401 the `rio` accessor
import xarray as xr

from cryosentinel_core.engine.array_stream import segment_grid
from cryosentinel_core.engine.model_loading import build_segmenter, decide_threshold
from cryosentinel_core.notebook.user_stacks import UserStack, user_stack
from cryosentinel_core.reporter import Reporter, Silent
from cryosentinel_core.segment.segmenter import Segmenter, has_spread
from cryosentinel_core.segment.windows import decode_logits, encode_logits
from cryosentinel_core.settings.predict import WATER_INDEX, PredictSettings

_KEPT: Final = ("aoi", "year", "recipe", "provenance")
"""Attributes of a Dataset that its logits keep."""


def segment_dataset(
    dataset: xr.Dataset,
    model: str | Segmenter = WATER_INDEX,
    *,
    reflectance: float | None = None,
    resample: bool = False,
    settings: PredictSettings | None = None,
    reporter: Reporter | None = None,
) -> xr.DataArray:
    """Logits of lake water for each pixel of a Dataset.

    Args:
        dataset: On (y, x), 10 m UTM with any origin, CRS as `rio` reads it; dask arrays are computed strip by strip. `B01` .. `B12`
            without B10 (or `coastal`, `blue`, `green` ..): Sentinel-2 L2A reflectance without the +1000 of newer baselines, NaN
            or, of integers, 0 = nodata. As far as there are: `VV`, `VH` in dB; `dem` in metres; `valid`, True where pixels are
            good; `n_clear` and its kin, as `read_stack` has them. Without `dem` the ground counts as flat, and a network does
            without heights; without radar it does without radar.
        model: As `--model` of `cryosentinel predict`, or a segmenter of your own.
        reflectance: Number that a reflectance of 1 is stored as: 10_000 or 1. It is never guessed; None where the dataset's
            attribute `reflectance_of_one` says it, as `read_stack`'s does.
        resample: True to have other resolutions and reference systems resampled to the lattice; else they are refused.
        settings: Overlap, flips, device and the like; `model` wins over theirs. None for the command's defaults.
        reporter: Hears progress and warnings; None for nobody.

    Returns:
        (y, x) float32 in steps of 0.001, -16..16, NaN where a pixel was not observed: what `logit_<epsg>.tif` holds, bit by bit,
        where the dataset is `read_stack`'s and the pixel at least a window inside. Attributes say model and error.

    Raises:
        BandError: If bands are missing or in another unit than was said.
        GridMismatch: If it lies on no 10 m UTM grid and is not to be resampled.
        InputError: If dimensions, dates or units are unclear.
        ModelError: If the weights cannot be had, read or run.
    """
    stack = user_stack(dataset, reflectance, resample=resample)
    asked = settings or PredictSettings(model=WATER_INDEX)
    segmenter = _segmenter(model, asked, stack, reporter) if isinstance(model, str) else model
    answer = segment_grid(segmenter, stack.place.address, stack.read, asked, reporter or Silent())
    mean = answer.logits[0] if has_spread(segmenter) else answer.logits
    values = decode_logits(encode_logits(mean, answer.valid))
    logits = xr.DataArray(
        stack.original.north_up(values),
        dims=("y", "x"),
        coords={
            "y": stack.original.north_up_axis(stack.data["y"].values, "y"),
            "x": stack.original.north_up_axis(stack.data["x"].values, "x"),
        },
        name="logit",
        attrs={
            **{key: dataset.attrs[key] for key in _KEPT if key in dataset.attrs},
            "model": segmenter.name,
            "threshold": decide_threshold(asked, segmenter, reporter or Silent()).threshold,
            "radar_used": int(_is_radar_used(dataset, stack)),
            "is_network": int(segmenter.is_network),
            "error_model": json.dumps(segmenter.error_model.as_dict(), sort_keys=True),
        },
    )
    placed: xr.DataArray = logits.rio.write_crs(stack.place.epsg).rio.write_transform()
    return placed


def _segmenter(model: str, settings: PredictSettings, stack: UserStack, reporter: Reporter | None) -> Segmenter:
    """The segmenter of a name; a network without heights does not look at them."""
    changes: dict[str, object] = {"model": model, "more_models": ()}
    if not stack.has_terrain and model != WATER_INDEX and settings.modalities is None:
        changes["modalities"] = ("S2L2A", "S1GRD") if stack.has_radar else ("S2L2A",)
    return build_segmenter(PredictSettings(**{**settings.model_dump(), **changes}), reporter)


def _is_radar_used(dataset: xr.Dataset, stack: UserStack) -> bool:
    """Whether radar took part: as the Dataset says, else if it is there."""
    return stack.has_radar and bool(np.all(dataset.attrs.get("radar_used", True)))

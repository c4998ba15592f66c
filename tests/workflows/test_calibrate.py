"""Calibration: thresholds and errors that were put in come back, lie beside the weights, and are used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from made_chips import lake_chip, make_dataset
from pyproj import Transformer

from cryosentinel_core.chips.place import place_of_centre
from cryosentinel_core.chips.shard_chip import ShardChip
from cryosentinel_core.engine.model_loading import build_segmenter, decide_threshold
from cryosentinel_core.errors import CheckpointError
from cryosentinel_core.io.weights.calibration_files import calibration_path, digest_of_weights
from cryosentinel_core.io.weights.model_files import load_segmenter, write_random_checkpoint
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.learn.calibration import (
    CALIBRATION_THRESHOLDS,
    Calibration,
    LakePairs,
    fit_errors,
    fit_logits,
    fit_threshold,
    judge_held_out,
    sigma_of,
)
from cryosentinel_core.reporter import Silent
from cryosentinel_core.segment.error_model import NETWORK_ERRORS, UncertaintyModel
from cryosentinel_core.segment.segmenter import ChipBatch
from cryosentinel_core.settings.evaluate import EvaluateSettings
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows import calibrate as workflow

BIAS_PX, STEEPNESS = 0.6, 2.0
"""Shores lie this far outside, and the logit rises by so much a pixel."""


@dataclass(frozen=True)
class Swollen:
    """A network's stand-in that draws every lake too large: the near infrared holds the distance from the shore."""

    name: str = "swollen"
    digest: str = "0" * 64
    window_px: int = 224
    halo_px: int = 0
    blended: bool = True
    batch_size: int = 4
    recipe: None = None
    is_network: bool = True
    error_model: UncertaintyModel = NETWORK_ERRORS

    def segment(self, batch: ChipBatch) -> np.ndarray:
        distance = (batch.s2[:, 7].astype(np.float32) - 4000.0) / 20.0
        return np.asarray(STEEPNESS * (BIAS_PX - distance), dtype=np.float32)


def chip_with_lakes(number: int) -> tuple[ShardChip, list[shapely.Geometry]]:
    """Four round lakes in a chip of a block of its own, and their polygons in degrees; shores of a chip are off together."""
    rng = np.random.default_rng(number)
    lat, lon = 40.075 + 0.15 * number, 75.075
    place = place_of_centre(lat, lon)
    assert place is not None
    away, polygons = np.full((224, 224), np.inf), []
    row, col = np.mgrid[:224, :224] + 0.5
    to_lonlat = Transformer.from_crs(place.crs, 4326, always_xy=True)
    for y, x in ((56, 56), (56, 168), (168, 56), (168, 168)):
        radius = rng.uniform(6, 40)
        shift = rng.normal(0, 0.1)
        away = np.minimum(away, np.hypot(row - y, col - x) - radius + shift)
        circle = shapely.Point(x, y).buffer(radius, 64)
        a, _, c, _, e, f = place.transform[:6]
        xy = shapely.get_coordinates(circle) * [a, e] + [c, f]
        polygons.append(shapely.Polygon(np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1]))))
    s2 = np.full((12, 224, 224), 1500, dtype=np.uint16)
    s2[7] = np.clip(4000 + 20 * away, 1, 9000)
    mask = (away < 0).astype(np.uint8)
    chip = lake_chip(0, chip_id=f"c{number}", lat=lat, lon=lon, s2=s2, mask=mask, water_frac=float(mask.mean()))
    return chip, polygons


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Inventory]:
    root = tmp_path_factory.mktemp("calibration")
    made = [chip_with_lakes(number) for number in range(12)]
    make_dataset(root / "data", [chip for chip, _ in made])
    outlines = [polygon for _, polygons in made for polygon in polygons]
    gpd.GeoDataFrame(geometry=outlines, crs=4326).to_file(root / "lakes.gpkg")
    return root / "data", Inventory(year=2022, path=str(root / "lakes.gpkg"), resolution_m=10.0)


def test_a_bias_put_in_is_found_and_kept_beside_the_weights(
    ground: tuple[Path, Inventory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, inventory = ground
    monkeypatch.setattr(workflow, "build_segmenter", lambda settings: Swollen())
    weights = write_random_checkpoint(tmp_path / "tiny.ckpt", seed=3, decoder_channels=8)
    asked = PredictSettings(model=str(weights))
    summary = workflow.calibrate(data, [inventory], asked, EvaluateSettings(split="all"), reporter=Silent())
    found, held = summary.calibration, summary.calibration.evidence["held_out"]
    assert found.threshold == pytest.approx(1 / (1 + np.exp(-STEEPNESS * BIAS_PX)), abs=0.02)
    assert held["n_lakes"] == 48
    assert held["n_blocks"] == 12
    assert abs(held["bias_percent"]) < 0.5
    assert found.error_model.lake_displacement_m + found.error_model.displacement_m < 2.0, (
        "a tenth of a pixel was put in"
    )
    assert summary.path == tmp_path / "tiny.ckpt.calibration.json"
    assert Calibration.from_dict(json.loads(summary.path.read_text())) == found
    assert found.tensors_sha256 == digest_of_weights(weights, "model")

    # Predict takes it unless a threshold is given; other weights do not.
    monkeypatch.undo()
    plain = {"device": "cpu", "precision": "float32", "tta": False}
    segmenter = build_segmenter(PredictSettings(model=str(weights), **plain))
    assert segmenter.error_model == found.error_model
    notes: list[str] = []
    reporter = type("Notes", (Silent,), {"note": lambda self, message: notes.append(message)})()
    decided = decide_threshold(PredictSettings(model=str(weights), **plain), segmenter, reporter)
    assert decided.threshold == found.threshold
    assert "calibration" in notes[0]
    given = PredictSettings(model=str(weights), threshold=0.5, **plain)
    assert build_segmenter(given).error_model == NETWORK_ERRORS
    assert decide_threshold(given, segmenter, reporter).threshold == 0.5
    other = write_random_checkpoint(tmp_path / "other.ckpt", seed=4, decoder_channels=8)
    calibration_path(other).write_text(summary.path.read_text())
    assert load_segmenter(other, calibrated=True, device="cpu").calibrated_threshold is None
    calibration_path(other).write_text('{"slope": 1}')
    with pytest.raises(CheckpointError, match=r"other\.ckpt\.calibration\.json is no calibration"):
        load_segmenter(other, calibrated=True, device="cpu")


def simulated_pairs(seed: int, n_blocks: int = 60, n_lakes: int = 15, **off: Any) -> LakePairs:
    """Lakes of all sizes whose shores are displaced by pieces, lakes and blocks, and lie farther out the lower the threshold."""
    rng = np.random.default_rng(seed)
    n = n_blocks * n_lakes
    thresholds = np.array(CALIBRATION_THRESHOLDS)
    true = rng.lognormal(np.log(20_000), 1.2, n)
    perimeter = 2.6 * np.sqrt(np.pi * true)
    shore = 0.7 * np.sqrt(40.0 * perimeter)
    shift = (
        off["bias_m"] + np.repeat(rng.normal(0, off["block_m"], n_blocks), n_lakes) + rng.normal(0, off["lake_m"], n)
    )
    error = shift * perimeter + off["factor"] * shore * rng.normal(0, 1, n)
    area = true[:, None] + error[:, None] - 2.0 * perimeter[:, None] * np.log(thresholds / (1 - thresholds))
    wide = (n, len(thresholds))
    return LakePairs(
        block=np.repeat([f"b{index}" for index in range(n_blocks)], n_lakes),
        true_m2=true,
        area_m2=area,
        perimeter_m=np.broadcast_to(perimeter[:, None], wide).copy(),
        shore_m2=np.broadcast_to(shore[:, None], wide).copy(),
        thresholds=thresholds,
    )


def test_intervals_of_areas_hold_the_truth_in_blocks_held_out() -> None:
    """In each size class the coverage's own interval holds 0.95, and intervals are no wider than they must be."""
    pairs = simulated_pairs(7, bias_m=2.0, block_m=0.5, lake_m=1.0, factor=1.5)
    held = judge_held_out(pairs)
    assert abs(held["bias_percent"]) < 1.0
    assert [row["n_lakes"] >= 250 for row in held["classes"]] == [True, True, False]
    for row in held["classes"]:
        assert row["coverage_low"] <= 0.95 <= row["coverage_high"], row
        assert row["width_ratio"] < 1.3


def test_constants_come_back() -> None:
    """The threshold, what blocks have in common, and sigmas of small and of large lakes, to about a tenth."""
    pairs = simulated_pairs(3, n_blocks=200, bias_m=3.0, block_m=0.8, lake_m=0.5, factor=2.0)
    threshold = fit_threshold(pairs)
    assert threshold == pytest.approx(1 / (1 + np.exp(-1.5)), abs=0.02)
    model = fit_errors(pairs, threshold)
    assert model.systematic_displacement_m == pytest.approx(0.8, rel=0.25)
    perimeter = np.array([200.0, 700.0, 3000.0])
    shore = 0.7 * np.sqrt(40.0 * perimeter)
    true = np.sqrt((2.0 * shore) ** 2 + (0.5**2 + 0.8**2) * perimeter**2)
    np.testing.assert_allclose(sigma_of(model, perimeter, shore), true, rtol=0.12)


def test_slope_and_intercept_come_back() -> None:
    from cryosentinel_core.chips.metrics import bin_logits

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (600, 600)).astype(np.float32)
    label = rng.random(logits.shape) < 1 / (1 + np.exp(-(0.7 * logits - 0.4)))
    slope, intercept = fit_logits(bin_logits(logits, label, np.ones_like(label)))
    assert slope == pytest.approx(0.7, abs=0.01)
    assert intercept == pytest.approx(-0.4, abs=0.02)

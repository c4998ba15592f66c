"""The block split: the released one bit for bit, and no two kept chips of different splits on common ground."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.chips.chip_footprints import footprints
from cryosentinel_core.chips.chip_index import ChipIndex, assign_splits, find_duplicates
from cryosentinel_core.chips.overlaps import find_overlaps
from cryosentinel_core.chips.split import BUFFER, KEPT, PRETRAINING_SIZE_DEG, BlockSplit
from cryosentinel_core.errors import ConfigError
from cryosentinel_core.ground.geodesic import geodesic_area_m2


@pytest.fixture(scope="module")
def published(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "published-fixtures" / "block_split.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_published_split_of_every_centre(published: list[dict[str, str]]) -> None:
    lat, lon = (np.array([float(row[name]) for row in published]) for name in ("lat", "lon"))
    finetune = BlockSplit()
    assert finetune.assign(lat, lon).tolist() == [row["split_015"] for row in published]
    assert BlockSplit(size_deg=PRETRAINING_SIZE_DEG).assign(lat, lon).tolist() == [
        row["split_025"] for row in published
    ]
    blocks = finetune.blocks_of(lat, lon).tolist()
    assert blocks == [[int(row["lat_idx_015"]), int(row["lon_idx_015"])] for row in published]
    assert [finetune.bucket_of(*block) for block in blocks] == [int(row["bucket_015"]) for row in published]
    for row in published[::997]:  # one by one as all together
        assert finetune.assign(float(row["lat"]), float(row["lon"]))[0] == row["split_015"]


def test_known_blocks_without_the_fixture() -> None:
    lat, lon = [42.997668432354324, 44.292802095550364], [90.53835657894709, 71.11835724627511]
    assert BlockSplit().assign(lat, lon).tolist() == ["val", BUFFER]
    assert BlockSplit(size_deg=0.25).assign(lat, lon).tolist() == [BUFFER, "train"]


def test_100000_centres_share_no_ground() -> None:
    rng = np.random.default_rng(5)
    lat, lon = rng.uniform(27.0, 45.6, 100_000), rng.uniform(67.0, 104.0, 100_000)
    published = BlockSplit().assign(lat, lon)
    kept = Counter(published.tolist())
    assert all(kept[name] > 4_000 for name in KEPT)
    assert len(find_overlaps(lat, lon, published)) == 0
    # As far north as the published regions reach, the published buffer is wide enough: the stricter rule drops no more.
    assert (BlockSplit(rule="extents").assign(lat, lon) == published).all()


def test_dense_chips_in_small_blocks_need_the_stricter_rule() -> None:
    rng = np.random.default_rng(6)
    lat, lon = rng.uniform(43.0, 43.2, 6_000), rng.uniform(77.9, 78.1, 6_000)
    small: dict[str, Any] = {"size_deg": 0.06, "buffer_deg": 0.002, "train_below": 60, "val_below": 80}
    loose = BlockSplit(**small).assign(lat, lon)
    pairs = find_overlaps(lat, lon, loose)
    assert len(pairs) > 1_000
    assert (loose[pairs[:, 0]] != loose[pairs[:, 1]]).all()
    strict = BlockSplit(**small, rule="extents").assign(lat, lon)
    assert {"train", "val", "test"} <= set(strict.tolist())
    assert len(find_overlaps(lat, lon, strict)) == 0
    assert ((strict == loose) | (strict == BUFFER)).all()


def test_far_north_the_published_buffer_is_too_narrow() -> None:
    rng = np.random.default_rng(7)
    lat, lon = rng.uniform(62.0, 63.0, 20_000), rng.uniform(10.0, 13.0, 20_000)
    assert len(find_overlaps(lat, lon, BlockSplit().assign(lat, lon))) > 0
    assert len(find_overlaps(lat, lon, BlockSplit(rule="extents").assign(lat, lon))) == 0


@settings(max_examples=60)
@given(
    size=st.floats(0.02, 0.3),
    share=st.floats(0.0, 0.45),
    south=st.floats(-79.0, 82.0),
    west=st.floats(-179.9, 179.0),
    seed=st.integers(0, 2**31),
)
def test_the_stricter_rule_never_shares_ground(size: float, share: float, south: float, west: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lat, lon = south + rng.uniform(0, 0.5, 150), west + rng.uniform(0, 0.9, 150)
    blocks = BlockSplit(size_deg=size, buffer_deg=share * size, rule="extents", train_below=40, val_below=70)
    assert len(find_overlaps(lat, lon, blocks.assign(lat, lon))) == 0


def test_a_year_changes_nothing_and_the_same_place_is_met() -> None:
    lat, lon = np.array([38.5, 38.5, 38.501]), np.array([73.25, 73.25, 73.251])
    assert len(find_overlaps(lat, lon, np.array(["val", "val", "val"]))) == 0
    assert find_overlaps(lat, lon, np.array(["val", "test", BUFFER])).tolist() == [[0, 1]]
    assert find_overlaps(lat, lon, np.array(["val", "val", "train"])).tolist() == [[0, 2]]


def test_chips_cut_edge_to_edge_only_touch() -> None:
    """Neighbours of the lattice of zone 43, their centres rounded to a millionth of a degree as a data set may have them."""
    from cryosentinel_core.ground.projection import transformer

    x = 500_000.0 + 2_240.0 * np.arange(6)
    lon, lat = transformer(32643, 4326).transform(x, np.full(6, 4_770_080.0))
    split = np.array(["train", "val"] * 3)
    assert len(find_overlaps(np.round(lat, 6), np.round(lon, 6), split)) == 0
    lon, lat = transformer(32643, 4326).transform(x - 5.0 * np.arange(6), np.full(6, 4_770_080.0))
    assert find_overlaps(lat, lon, split).tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]


def test_a_footprint_has_the_area_of_a_chip() -> None:
    import shapely

    outline = footprints(np.array([43.05]), np.array([77.0]))[0]
    assert geodesic_area_m2(shapely.Polygon(outline)) == pytest.approx(2_240.0**2, rel=1e-3)
    np.testing.assert_allclose(outline.mean(axis=0), [77.0, 43.05], atol=1e-4)


def make_index(**changes: Any) -> ChipIndex:
    n = 4
    values: dict[str, Any] = {
        "region": np.full(n, "pamir"),
        "year": np.array([2017, 2017, 2023, 2023]),
        "shard": np.full(n, "shard_0.parquet"),
        "row": np.arange(n),
        "chip_id": np.array(["a", "b", "a", "c"]),
        "stored_split": np.array(["test", "val", "UNKNOWN", "train"]),
        "lat": np.array([42.997668432354324, np.nan, np.nan, 44.292802095550364]),
        "lon": np.array([90.53835657894709, 70.0, np.nan, 71.11835724627511]),
        "water_frac": np.full(n, np.nan),
    }
    return ChipIndex(**{**values, **changes})


def test_the_column_speaks_only_where_the_centre_is_missing() -> None:
    index = make_index()
    assert assign_splits(index, BlockSplit()).tolist() == ["val", "val", "train", BUFFER]
    assert assign_splits(index, BlockSplit(), unknown_trains=False).tolist() == ["val", "val", "UNKNOWN", BUFFER]
    assert assign_splits(index, None).tolist() == ["test", "val", "train", "train"]


def test_duplicates_are_of_one_year_and_place() -> None:
    assert find_duplicates(make_index()).tolist() == []
    twice = make_index(year=np.full(4, 2023), lat=np.full(4, 43.0), lon=np.full(4, 77.0))
    assert find_duplicates(twice).tolist() == [2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size_deg": 0.0}, "blocks of 0 degrees"),
        ({"buffer_deg": 0.075}, "a buffer of 0.075 degrees in blocks of 0.15"),
        ({"train_below": 95}, "buckets 95 and 90"),
        ({"rule": "loose"}, "split rule 'loose'"),
        ({"size_deg": float("nan")}, "blocks of nan"),
    ],
)
def test_what_is_no_split(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BlockSplit(**changes)

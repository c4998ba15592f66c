"""Shards of chips: what is written is read, what is damaged is named, and nothing in a file is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.chips.shard_chip import ShardChip, find_observed
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.shards import ShardDataset, find_shards, write_shard


def make_chip(number: int = 0, **changes: Any) -> ShardChip:
    """A chip of seeded noise, or with some fields changed."""
    rng = np.random.default_rng(number)
    mask = np.zeros((224, 224), dtype=np.uint8)
    mask[50:100, 60:120] = 1
    chip = ShardChip(
        chip_id=f"chip {number}",
        split=("train", "val", "test")[number % 3],
        region="pamir",
        year=2022,
        lat=38.5,
        lon=73.25,
        water_frac=float(mask.mean()),
        s2=rng.integers(1, 12_000, (12, 224, 224)).astype(np.uint16),
        s1=rng.normal(-15, 4, (2, 224, 224)).astype(np.float32),
        dem=rng.integers(3_000, 5_000, (1, 224, 224)).astype(np.int16),
        mask=mask,
    )
    return replace(chip, **changes)


def shard_path(root: Path, region: str = "pamir", year: int = 2022, number: int = 0) -> Path:
    return root / region / str(year) / f"shard_{number:04d}.parquet"


def assert_same(one: ShardChip, other: ShardChip) -> None:
    for name in ("chip_id", "split", "region", "year", "lat", "lon", "water_frac", "n_clear"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("s2", "s1", "dem", "mask"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_clear_dates_are_kept_where_a_chip_says_them(tmp_path: Path) -> None:
    """The published layout has no such column, and a shard of published chips is written without."""
    told, silent = make_chip(1, n_clear=3.5), make_chip(2)
    write_shard(shard_path(tmp_path), [told, silent])
    for found, wanted in zip(ShardDataset(tmp_path).read_chips(), (told, silent), strict=True):
        assert_same(found, wanted)
    write_shard(shard_path(tmp_path, year=2023), [make_chip(3, year=2023)])
    assert "n_clear" not in pq.read_schema(shard_path(tmp_path, year=2023)).names
    assert pq.read_schema(shard_path(tmp_path)).names[-1] == "n_clear"


def test_round_trip_over_row_groups(tmp_path: Path) -> None:
    chips = [make_chip(number) for number in range(5)]
    assert write_shard(shard_path(tmp_path), chips, rows_per_group=2) == 5
    assert pq.ParquetFile(shard_path(tmp_path)).num_row_groups == 3
    found = list(ShardDataset(tmp_path).read_chips())
    for one, other in zip(chips, found, strict=True):
        assert_same(one, other)


def test_same_chips_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_shard(shard_path(tmp_path / folder), [make_chip(0), make_chip(1)])
    assert shard_path(tmp_path / "a").read_bytes() == shard_path(tmp_path / "b").read_bytes()


def test_a_file_written_by_another_hand(tmp_path: Path) -> None:
    """The published layout, written with other types of text, bytes and lists, and without the newer columns."""
    chip = make_chip(3)
    columns: dict[str, Any] = {
        "chip_id": pa.array([chip.chip_id], pa.large_string()),
        "split": pa.array([None], pa.string()).dictionary_encode(),
        "note": pa.array([object.__name__]),
    }
    for name in ("s2", "s1", "dem", "mask"):
        array = getattr(chip, name)
        columns[f"{name}_bytes"] = pa.array([array.tobytes(order="C")], pa.large_binary())
        columns[f"{name}_shape"] = pa.array([array.shape], pa.list_(pa.int32()))
    path = shard_path(tmp_path)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path, compression="snappy")
    (found,) = ShardDataset(tmp_path).read_chips()
    assert_same(found, replace(chip, split="UNKNOWN", lat=None, lon=None, water_frac=None))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    root = tmp_path_factory.mktemp("dataset")
    number = 0
    for region, year, shard in [("pamir", 2022, 1), ("pamir", 2022, 0), ("pamir", 2016, 0), ("altai", 2022, 0)]:
        chips = [make_chip(number + i, region=region, year=year) for i in range(3)]
        write_shard(shard_path(root, region, year, shard), chips, rows_per_group=2)
        number += 3
    (root / "pamir" / "notes").mkdir()
    (root / "pamir" / "notes" / "shard_0.parquet").write_bytes(b"of no year")
    (root / "pamir" / "2022" / ".tmp-1-shard_0002.parquet").write_bytes(b"half")
    return ShardDataset(root)


def numbers(dataset: ShardDataset, *args: Any, **kwargs: Any) -> list[int]:
    return [int(chip.chip_id.split()[1]) for chip in dataset.read_chips(*args, **kwargs)]


def test_order_and_filters(dataset: ShardDataset) -> None:
    assert (dataset.regions, dataset.years) == (("altai", "pamir"), (2016, 2022))
    assert numbers(dataset) == [9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2]
    assert numbers(dataset, ["pamir"], [2022]) == [3, 4, 5, 0, 1, 2]
    assert numbers(dataset, years=[2016]) == [6, 7, 8]
    assert numbers(dataset, split="val") == [10, 7, 4, 1]
    assert numbers(dataset, split="val", n_chips=3) == [10, 7, 4]
    assert numbers(dataset, n_chips=4) == [9, 10, 11, 6]
    assert dataset.count_rows(["pamir"]) == 9


def test_what_is_not_there(dataset: ShardDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no region alps") as caught:
        list(dataset.read_chips(["alps"]))
    assert "altai, pamir" in caught.value.hint
    with pytest.raises(InputError, match="no year 2019"):
        dataset.select(years=[2019])
    with pytest.raises(InputError, match="no shard of these regions"):
        dataset.select(["altai"], [2016])
    with pytest.raises(InputError, match="no split 'dev'"):
        list(dataset.read_chips(split="dev"))
    with pytest.raises(InputError, match="no shard in"):
        ShardDataset(tmp_path)
    assert find_shards(tmp_path / "nowhere") == ()


def damage(path: Path, change: Callable[[dict[str, list[Any]]], None], schema: pa.Schema | None = None) -> None:
    """Write a shard of three chips with something changed in its columns."""
    write_shard(path, [make_chip(number, n_clear=4.0) for number in range(3)])
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    fields = [(name, table.schema.field(name).type) for name in columns if name in table.schema.names]
    pq.write_table(pa.table(columns, schema=schema or pa.schema(fields)), path)


def put(name: str, value: Any) -> Callable[[dict[str, list[Any]]], None]:
    def change(columns: dict[str, list[Any]]) -> None:
        columns[name][1] = value

    return change


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("s2_bytes", b"\0" * 10, "s2_bytes holds 10 bytes, wanted 1204224"),
        ("s2_bytes", None, "s2_bytes holds 0 bytes"),
        ("s1_bytes", b"\0" * (2 * 224 * 224 * 8), "802816 bytes, wanted 401408 .float32"),
        ("dem_shape", [224, 224, 1], r"dem_shape is \[224, 224, 1\], wanted \[1, 224, 224\]"),
        ("mask_shape", None, "mask_shape is missing"),
        ("mask_shape", [1] * 40, "mask_shape is 40 long"),
        ("s2_shape", [12, -224, -224], "s2_shape is"),
        ("mask_bytes", b"\xff" * (224 * 224), "mask holds 255"),
        ("split", "dev", "split is 'dev'"),
        ("lat", 91.0, "lat is 91"),
        ("lon", -200.0, "lon is -200"),
        ("water_frac", 17.0, "water_frac is 17"),
        ("n_clear", -1.0, "n_clear is -1"),
        ("chip_id", "", "chip_id has 0 characters"),
        ("chip_id", None, "chip_id has 0 characters"),
        ("chip_id", "x" * 600, "chip_id has 600 characters"),
    ],
)
def test_a_damaged_chip_is_named_and_passed_over(tmp_path: Path, name: str, value: Any, words: str) -> None:
    path = shard_path(tmp_path)
    damage(path, put(name, value))
    dataset = ShardDataset(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        list(dataset.read_chips())
    assert "pamir/2022/shard_0000.parquet, chip " in caught.value.message
    if name != "chip_id":
        assert "'chip 1'" in caught.value.message
    told: list[str] = []
    found = list(dataset.read_chips(on_error=lambda where, error: told.append(where)))
    assert [chip.chip_id for chip in found] == ["chip 0", "chip 2"]
    assert len(told) == 1
    assert len(list(dataset.read_chips(n_chips=2, on_error=lambda where, error: None))) == 1


def test_not_finite_numbers_are_unknown(tmp_path: Path) -> None:
    damage(shard_path(tmp_path), put("lat", float("nan")))
    assert [chip.lat for chip in ShardDataset(tmp_path).read_chips()] == [38.5, None, 38.5]


@pytest.mark.parametrize(
    ("drop", "words"),
    [("s1_bytes", "no column s1_bytes"), ("chip_id", "no column chip_id"), ("split", "no column split")],
)
def test_a_missing_column_condemns_the_shard_alone(tmp_path: Path, drop: str, words: str) -> None:
    damage(shard_path(tmp_path), lambda columns: columns.pop(drop) and None)
    write_shard(shard_path(tmp_path, number=1), [make_chip(7)])
    told: dict[str, str] = {}
    found = ShardDataset(tmp_path).read_chips(
        n_chips=1, on_error=lambda where, error: told.update({where: error.message})
    )
    assert [chip.chip_id for chip in found] == ["chip 7"]
    assert list(told) == ["pamir/2022/shard_0000.parquet"]
    assert words in told["pamir/2022/shard_0000.parquet"]


@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.uint8())])
def test_a_column_of_another_kind(tmp_path: Path, kind: pa.DataType) -> None:
    path = shard_path(tmp_path)
    write_shard(path, [make_chip()])
    table = pq.read_table(path)
    other = pa.array([None], kind)
    pq.write_table(table.set_column(table.schema.names.index("dem_bytes"), "dem_bytes", other), path)
    with pytest.raises(DataError, match=r"column dem_bytes is .*, wanted bytes"):
        list(ShardDataset(tmp_path).read_chips())


def test_what_is_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = shard_path(tmp_path)
    write_shard(path, [make_chip()])
    table = pq.read_table(path)
    huge = pa.array([b"\0" * (1 << 23)])
    pq.write_table(table.set_column(table.schema.names.index("dem_bytes"), "dem_bytes", huge), path)
    with pytest.raises(DataError, match=r"\d+ bytes for 1 chips, wanted at most"):
        list(ShardDataset(tmp_path).read_chips())
    endless = pa.array([[7] * 1_000_000], pa.list_(pa.int64()))
    pq.write_table(table.set_column(table.schema.names.index("s2_shape"), "s2_shape", endless), path)
    with pytest.raises(DataError, match="chip 'chip 0': s2_shape is 1000000 long"):
        list(ShardDataset(tmp_path).read_chips())


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_damaged_files_give_errors_of_ours(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut short or with bytes changed anywhere: chips, or an error that names the shard; never another exception."""
    whole = shard_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    spoilt = bytearray(whole[:cut] if data.draw(st.booleans()) else whole)
    for _ in range(data.draw(st.integers(0, 5))):
        if spoilt:
            near_end = data.draw(st.booleans())
            low = max(0, len(spoilt) - 3_000) if near_end else 0
            spoilt[data.draw(st.integers(low, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    path = shard_path(tmp_path_factory.mktemp("spoilt"))
    path.parent.mkdir(parents=True)
    path.write_bytes(spoilt)
    told: list[DataError] = []
    found = list(ShardDataset(path.parents[2]).read_chips(on_error=lambda where, error: told.append(error)))
    assert len(found) <= 2
    assert all("pamir/2022/shard_0000.parquet" in error.message for error in told)


_BYTES: list[bytes] = []


def shard_bytes() -> bytes:
    """A small shard of two flat chips."""
    if not _BYTES:
        import tempfile

        flat = {name: np.ones_like(getattr(make_chip(), name)) for name in ("s2", "s1", "dem", "mask")}
        with tempfile.TemporaryDirectory() as folder:
            path = shard_path(Path(folder))
            write_shard(path, [make_chip(0, **flat), make_chip(1, **flat)], rows_per_group=1)
            _BYTES.append(path.read_bytes())
    return _BYTES[0]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """A pickle in a buffer or in the schema's metadata stays bytes."""
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'boom')!r}, 'w')",))

    bomb = pickle.dumps(Bomb())
    path = shard_path(tmp_path)
    damage(path, put("s2_bytes", bomb))
    table = pq.read_table(path)
    field = table.schema.field("split").with_metadata(
        {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": bomb}
    )
    index = table.schema.names.index("split")
    pq.write_table(table.cast(table.schema.set(index, field)), path)
    told: list[str] = []
    found = list(ShardDataset(tmp_path).read_chips(on_error=lambda where, error: told.append(where)))
    assert [chip.chip_id for chip in found] == ["chip 0", "chip 2"]
    assert told == ["pamir/2022/shard_0000.parquet#chip 1"]
    assert not (tmp_path / "boom").exists()


def test_valid_pixels() -> None:
    s2, s1, dem = make_chip().s2.copy(), make_chip().s1.copy(), make_chip().dem.copy()
    s2[:, 0, 0] = 0
    s2[:11, 0, 1] = 0
    s2[:, 0, 2] = 16_000
    s2[:, 0, 3] = 65_535
    s2[:11, 0, 4] = 16_000
    s1[0, 0, 5], s1[1, 0, 6] = np.nan, np.inf
    dem[0, 0, 7], dem[0, 0, 8], dem[0, 0, 9], dem[0, 0, 10] = -32_768, 32_000, -32_000, 31_999
    chip = make_chip(s2=s2, s1=s1, dem=dem)
    bad = [0, 2, 3, 5, 6, 7, 8, 9]
    assert np.flatnonzero(~chip.valid[0]).tolist() == bad
    assert chip.valid[1:].all()
    optical_and_terrain = find_observed(s2, dem[0])
    assert np.flatnonzero(~optical_and_terrain[0]).tolist() == [0, 2, 3, 7, 8, 9]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s2": np.zeros((12, 224, 224), dtype=np.int16)}, "s2 is int16"),
        ({"s1": np.zeros((2, 224, 223), dtype=np.float32)}, r"s1 is float32 of \[2, 224, 223\]"),
        ({"mask": np.full((224, 224), 2, dtype=np.uint8)}, "mask holds 2"),
        ({"split": "dev"}, "split is 'dev'"),
    ],
)
def test_a_chip_cannot_be_wrong(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_chip(**changes)


def test_a_shard_has_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no place for a shard"):
        write_shard(tmp_path / "pamir" / "2022" / "chips.parquet", [])
    with pytest.raises(InputError, match="no place for a shard"):
        write_shard(tmp_path / "pamir" / "late" / "shard_0.parquet", [])
    with pytest.raises(InputError, match="chip 'chip 0' is of pamir/2022, the shard of pamir/2016"):
        write_shard(shard_path(tmp_path, year=2016), [make_chip()])
    assert not list(tmp_path.rglob("*.parquet"))


def test_reading_holds_a_few_chips_at_a_time(tmp_path: Path) -> None:
    """One row group of 80 chips, 140 MB decoded: Arrow's memory stays far below it."""
    path = shard_path(tmp_path)
    write_shard(path, (make_chip(number % 4) for number in range(80)), rows_per_group=80)
    pool = pa.default_memory_pool()
    before, most, total = pool.bytes_allocated(), 0, 0
    for chip in ShardDataset(tmp_path).read_chips():
        total += chip.s2.nbytes + chip.s1.nbytes + chip.dem.nbytes + chip.mask.nbytes
        most = max(most, pool.bytes_allocated() - before)
    assert total > 130e6
    assert most < total / 2


def test_the_index_is_the_chips_without_their_pixels(dataset: ShardDataset) -> None:
    index, chips = dataset.read_index(), list(dataset.read_chips())
    assert index.chip_id.tolist() == [chip.chip_id for chip in chips]
    assert index.year.tolist() == [chip.year for chip in chips]
    assert index.region.tolist() == [chip.region for chip in chips]
    assert index.stored_split.tolist() == [chip.split for chip in chips]
    assert index.lat.tolist() == [chip.lat for chip in chips]
    assert index.water_frac.tolist() == [chip.water_frac for chip in chips]
    assert index.row.tolist() == [0, 1, 2] * 4
    assert len(dataset.read_index(["pam*"], [2022])) == 6
    assert numbers(dataset, ["*ir"], [2016]) == [6, 7, 8]
    with pytest.raises(InputError, match=r"no region al\?s"):
        dataset.read_index(["al?s"])


def test_the_index_of_an_old_and_of_a_damaged_shard(tmp_path: Path) -> None:
    damage(shard_path(tmp_path), lambda columns: [columns.pop(name) for name in ("lat", "lon", "water_frac")] and None)
    shard_path(tmp_path, number=1).write_bytes(shard_path(tmp_path).read_bytes()[:-100])
    told: list[str] = []
    index = ShardDataset(tmp_path).read_index(on_error=lambda where, error: told.append(error.message))
    assert len(index) == 3
    assert np.isnan(index.lat).all()
    assert np.isnan(index.water_frac).all()
    assert not index.has_centre.any()
    assert len(told) == 1
    assert told[0].startswith("pamir/2022/shard_0001.parquet cannot be read")
    with pytest.raises(DataError, match=r"shard_0001\.parquet cannot be read"):
        ShardDataset(tmp_path).read_index()

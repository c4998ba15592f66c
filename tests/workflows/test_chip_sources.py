"""Where chips are looked for, what their results are called, and where those go."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import geopandas
import pytest
import rasterio
from made_chips import NUMBERS, Counting, lake_chip, make_dataset, map_chips, results, run, write_numbers

from cryosentinel_core.errors import InputError
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.chips import ChipSelection
from cryosentinel_core.settings.predict import PredictSettings
from cryosentinel_core.workflows.chips import predict_chips


def test_endings_folders_and_names(tmp_path: Path) -> None:
    """Every file is found and told apart; what each result is of stands in the summary, the record, the tags and the table."""
    source = tmp_path / "in"
    names = ["a.TIF", "b.Tiff", "north/a.tif", "north/far away/a.tiff"]
    for name in names:
        write_numbers(source / name, NUMBERS)
    write_numbers(source / ".hidden" / "a.tif", NUMBERS)
    (source / "notes.txt").write_text("none")
    code, summary, said = map_chips(tmp_path / "w", source)
    assert code == 0, said
    wanted = {"a": "a.TIF", "b": "b.Tiff", "north/a": "north/a.tif", "north/far_away/a": "north/far away/a.tiff"}
    assert summary["sources"] == wanted
    assert list(summary["water_share"]) == list(wanted)
    folder = results(tmp_path / "w")
    assert json.loads((folder / "run.json").read_text())["sources"] == wanted
    assert sorted(geopandas.read_parquet(folder / "lakes.parquet").aoi) == sorted(wanted)
    with rasterio.open(folder / "north" / "far_away" / "a_water.tif") as raster:
        assert json.loads(raster.tags()["CRYOSENTINEL_INPUTS"])["source"] == "north/far away/a.tiff"


def test_a_file_in_no_place_brings_our_words_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where every warning of a library is an error, as in these tests."""
    source = tmp_path / "in"
    write_numbers(source / "good.tif", NUMBERS)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_numbers(source / "nowhere.tif", NUMBERS, crs=None, transform=None)
    (source / "half.tif").write_bytes((source / "good.tif").read_bytes()[:200_000])
    summary = run(tmp_path / "w", source)
    assert sorted(summary.failed) == ["half.tif", "nowhere.tif"]
    assert "no coordinate reference system" in summary.failed["nowhere.tif"]
    assert "See previous exception" not in summary.failed["half.tif"]
    assert capfd.readouterr() == ("", "")


def test_results_never_lie_among_the_chips_and_are_never_read_as_chips(tmp_path: Path) -> None:
    """The folder is called `chips` and lies in the workspace: it stays as it was, and so does the second run."""
    write_numbers(tmp_path / "chips" / "a.tif", NUMBERS)
    for n_reused in (0, 1):
        code, summary, said = map_chips(tmp_path, tmp_path / "chips")
        assert (code, list(summary["water_share"]), summary["n_reused"]) == (0, ["a"], n_reused), said
    assert summary["folder"] == str(tmp_path / "chip-results" / "chips" / "water-index")
    assert [path.name for path in (tmp_path / "chips").iterdir()] == ["a.tif"]
    code, summary, said = map_chips(tmp_path, tmp_path)
    assert (code, list(summary["water_share"])) == (0, ["chips/a"]), said
    with pytest.raises(InputError, match="are results of cryosentinel"):
        run(tmp_path, tmp_path / "chip-results")
    write_numbers(results(tmp_path) / "b.tif", NUMBERS)
    with pytest.raises(InputError, match="among the chips"):
        run(
            tmp_path / "w",
            write_numbers(tmp_path / "w" / "chip-results" / "water-index" / "water-index" / "c.tif", NUMBERS).parent,
        )


def test_sources_of_one_name_keep_their_lakes(tmp_path: Path) -> None:
    write_numbers(tmp_path / "x" / "chips" / "a.tif", NUMBERS)
    write_numbers(tmp_path / "y" / "chips" / "b.tif", NUMBERS)
    folders = [map_chips(tmp_path / "w", tmp_path / name / "chips")[1]["folder"] for name in ("x", "y", "x", "y")]
    assert folders[:2] == folders[2:]
    assert folders[0] != folders[1]
    for folder, name in zip(folders[:2], ("a", "b"), strict=True):
        assert geopandas.read_parquet(Path(folder) / "lakes.parquet").aoi.tolist() == [name]


def test_files_that_are_no_chips_are_skipped_and_named(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_numbers(source / "good.tif", NUMBERS)
    write_numbers(source / "bands.tif", NUMBERS[:10])
    write_numbers(source / "size.tif", NUMBERS[:, :100, :100])
    (source / "broken.tif").write_bytes(b"II*\0nonsense")
    summary = run(tmp_path, source, settings=PredictSettings(model="water-index"))
    assert summary.is_partial
    assert sorted(summary.failed) == ["bands.tif", "broken.tif", "size.tif"]
    assert list(summary.water_share) == ["good"]
    assert "10 bands, wanted 12, 14 or 15" in summary.failed["bands.tif"]


def test_chips_are_looked_for_before_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no GeoTIFF"):
        run(tmp_path, tmp_path, settings=PredictSettings(model="no/such.ckpt"))


def test_no_chip_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no GeoTIFF"):
        run(tmp_path, tmp_path, settings=PredictSettings(model="water-index"))
    write_numbers(tmp_path / "bands.tif", NUMBERS[:10])
    with pytest.raises(InputError, match="none of the 1 file in"):
        run(tmp_path, tmp_path, settings=PredictSettings(model="water-index"))


def test_names_are_safe_and_never_shared(tmp_path: Path, counting: Counting) -> None:
    names = ["../../etc/passwd", "a b", "a_b", "A_B", "a_b-2", "..."]
    make_dataset(tmp_path / "data", [lake_chip(number, chip_id=name) for number, name in enumerate(names)])
    make_dataset(tmp_path / "data", [lake_chip(6, chip_id="a b", year=2016)])
    summary = run(tmp_path / "w", tmp_path / "data")
    assert list(summary.water_share) == ["a_b", "etc_passwd", "a_b-2", "a_b-3", "A_B-4", "a_b-2-2", "chip"]
    assert len(set(summary.water_share.values())) == 7
    assert len(list(results(tmp_path / "w").glob("*_logit.tif"))) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "w"]


def test_a_part_of_a_dataset(tmp_path: Path, counting: Counting) -> None:
    data = tmp_path / "data"
    make_dataset(data, [lake_chip(number) for number in range(3)])
    make_dataset(data, [lake_chip(3, region="altai")])
    make_dataset(data, [lake_chip(4, year=2016)])
    assert list(run(tmp_path / "w", data, regions=("pamir",), years=(2022,), n_chips=2).water_share) == ["c0", "c1"]
    assert list(run(tmp_path / "w", data, years=(2016,)).water_share) == ["c4"]
    assert list(run(tmp_path / "w", data).water_share) == ["c3", "c4", "c0", "c1", "c2"]
    with pytest.raises(InputError, match="no region alps"):
        run(tmp_path / "w", data, regions=("alps",))


def test_a_damaged_shard_and_a_damaged_chip_are_skipped(tmp_path: Path, counting: Counting) -> None:
    data = make_dataset(tmp_path / "data", [lake_chip(0)])
    (data / "pamir" / "2022" / "shard_009.parquet").write_bytes(b"PAR1 and no more")
    summary = run(tmp_path / "w", data)
    assert summary.is_partial
    assert list(summary.failed) == ["pamir/2022/shard_009.parquet"]
    assert list(summary.water_share) == ["c0"]
    (data / "pamir" / "2022" / "shard_000.parquet").unlink()
    with pytest.raises(InputError, match="none of the 0 chips"):
        run(tmp_path / "w", data)


def test_both_kinds_in_one_folder(tmp_path: Path, counting: Counting) -> None:
    data = make_dataset(tmp_path / "data", [lake_chip(0)])
    write_numbers(data / "good.tif", NUMBERS)
    with pytest.raises(InputError, match="both GeoTIFFs and shards"):
        run(tmp_path / "w", data)


def test_two_runs_never_write_the_same_results_at_once(tmp_path: Path, counting: Counting) -> None:
    source = make_dataset(tmp_path / "data", [lake_chip(0)])
    notes: list[str] = []

    class Listening(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    held, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_part(tmp_path / "w" / "chip-results" / "data" / "counting", "another run", Silent()):
            held.set()
            ended.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
    threading.Timer(1.0, ended.set).start()
    settings, selection = PredictSettings(model="water-index"), ChipSelection(path=source)
    assert not predict_chips(Workspace(tmp_path / "w"), selection, settings, reporter=Listening()).is_partial
    other.join(60)
    assert ended.is_set()
    assert "another run" in notes[0]

"""Inventories compared by the command: what is not drawn, keys that stay, files of every kind, real ones of two regions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from click.testing import CliRunner
from outline_tables import box
from shapely.geometry.base import BaseGeometry

from cryosentinel_cli.main import cli
from cryosentinel_core.ground.geodesic import geodesic_area_m2
from cryosentinel_core.io.workspace import Workspace
from cryosentinel_core.lakes.tables import Inventory
from cryosentinel_core.reporter import Silent
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.workflows.change import change_inventories

BOXES = [box(6 * n, 0, 6 * n + 2 + 0.1 * n, 2) for n in range(12)]


def save(path: Path, outlines: list[BaseGeometry], crs: str = "EPSG:4326") -> str:
    gpd.GeoDataFrame(geometry=outlines, crs="EPSG:4326").to_crs(crs).to_file(path)
    return str(path)


def compare(workspace: Path, files: dict[int, str], *flags: str) -> tuple[dict[str, object], pd.DataFrame]:
    """The summary and the table of the command."""
    given = [part for year, path in files.items() for part in ("--lakes", f"{year}={path}")]
    result = CliRunner().invoke(cli, ["change", *given, *flags, "-w", str(workspace), "--json", "-q"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    return summary, pd.read_csv(Path(summary["folder"]) / "change.csv", keep_default_na=False)


def test_a_lake_that_one_inventory_lacks_is_not_dry_ground(tmp_path: Path) -> None:
    files = {2010: save(tmp_path / "a.gpkg", BOXES[:11]) + "@30m", 2020: save(tmp_path / "b.gpkg", BOXES[1:]) + "@30m"}
    _, table = compare(tmp_path / "w", files)
    lonely = table[table["reason"] == "not drawn"]
    assert lonely["status"].tolist() == ["unobserved"] * 2
    assert sorted(lonely["area_from_m2"].eq("").tolist()) == [False, True]
    _, table = compare(tmp_path / "w", files, "--complete", "2010")
    assert sorted(table.loc[table["status"] != "stable", "status"]) == ["new", "unobserved"]
    _, table = compare(tmp_path / "w", files, "--complete", "2010", "--complete", "2020")
    assert sorted(table.loc[table["status"] != "stable", "status"]) == ["new", "vanished"]
    result = CliRunner().invoke(cli, ["change", "--lakes", f"2010={files[2010]}", "--lakes", f"2020={files[2020]}",
                                      "--complete", "2015", "-w", str(tmp_path / "w")])  # fmt: skip
    assert "no inventory of that year" in str(getattr(result.exception, "message", ""))


def test_news_since_an_earlier_comparison(tmp_path: Path) -> None:
    grown = [*BOXES[:3], box(18, 0, 20.3, 6), *BOXES[4:]]
    files = {
        2010: save(tmp_path / "a.gpkg", BOXES[:10]) + "@30m",
        2020: save(tmp_path / "b.gpkg", BOXES[1:10]) + "@30m",
        2024: save(tmp_path / "c.gpkg", grown[1:11]) + "@30m",
    }
    work, flags = tmp_path / "w", ("--complete", "2010", "--complete", "2020", "--complete", "2024", "--aoi", "alps")
    first, _ = compare(work, {year: files[year] for year in (2010, 2020)}, *flags[:4], *flags[6:])
    given = {year: files[year] for year in (2010, 2024)}
    second, table = compare(work, given, *flags[:2], *flags[4:], "--since", str(first["folder"]))
    assert second["since"]["counts"] == {"new": 1, "grown": 1}  # type: ignore[index]
    news = pd.read_csv(Path(str(second["folder"])) / "since.csv", keep_default_na=False)
    assert news["news"].tolist() == ["listed", "status"]
    assert news["status_before"].tolist() == ["", "stable"]
    assert "was not in the earlier table" in news["sentence"][0]
    lake = table[table["status"] == "grown"].iloc[0]
    assert news["lake_key"][1] == lake["lake_key"]
    assert float(news["area_now_m2"][1]) == lake["area_to_m2"]
    again, _ = compare(work, given, *flags[:2], *flags[4:], "--since", str(first["folder"]))
    assert again["is_reused"]
    for folder, told in (
        (tmp_path, "holds no finished comparison"),
        (Path(str(second["folder"])), "is this comparison itself"),
    ):
        given_again = [part for year, path in given.items() for part in ("--lakes", f"{year}={path}")]
        failed = CliRunner().invoke(
            cli, ["change", *given_again, *flags[:2], *flags[4:], "-w", str(work), "--since", str(folder)]
        )
        assert told in str(getattr(failed.exception, "message", "")), failed.output


def test_a_series_never_takes_a_missing_outline_for_nothing(tmp_path: Path) -> None:
    years = [2000, 2005, 2010, 2015]
    files = {year: save(tmp_path / f"{year}.gpkg", BOXES if year != 2005 else BOXES[1:]) + "@30m" for year in years}
    summary, table = compare(tmp_path / "w", files)
    series = pd.read_csv(Path(str(summary["folder"])) / "series.csv")
    assert series["area_m2"].isna().sum() == 1
    assert (series["area_m2"].dropna() > 0).all()
    assert np.abs(table["trend_m2_per_year"].astype(float)).max() < 1e-6


def test_keys_stay_with_the_ground_and_two_areas_never_share_any(tmp_path: Path) -> None:
    years = [1990, 2000, 2010, 2020]
    files = {year: save(tmp_path / f"{year}.gpkg", BOXES) + "@30m" for year in years}
    far = {
        year: save(tmp_path / f"far{year}.gpkg", [shapely.affinity.translate(one, 5, 0) for one in BOXES]) + "@30m"
        for year in years
    }
    keys: list[set[str]] = []
    for n in (2, 3, 4):
        keys.append(set(compare(tmp_path / "w", dict(list(files.items())[:n]))[1]["lake_key"]))
        compare(tmp_path / "w", dict(list(far.items())[:n]))
    assert keys[0] == keys[1] == keys[2]
    assert len(list((tmp_path / "w" / "registries").glob("*.gpkg"))) == 2
    summary, table = compare(tmp_path / "w", files, "--aoi", "here")
    assert Path(str(summary["folder"])).parent.name == "here"
    assert (tmp_path / "w" / "here" / "registry.gpkg").exists()
    assert set(table["lake_key"]) == keys[0]


def test_keys_of_an_older_workspace_are_taken_over(tmp_path: Path) -> None:
    inventories = [
        Inventory(year=year, path=save(tmp_path / f"{year}.gpkg", BOXES), resolution_m=30) for year in (2000, 2010)
    ]
    older = change_inventories(
        inventories, tmp_path / "w" / "change_2000_2010_inventories", ChangeSettings(), reporter=Silent()
    )
    moved = [shapely.affinity.translate(one, 0.0004, 0.0004) for one in BOXES]
    files = {2000: inventories[0].path + "@30m", 2020: save(tmp_path / "2020.gpkg", moved) + "@30m"}
    assert set(compare(tmp_path / "w", files)[1]["lake_key"]) == set(older.table["lake_key"])


def test_folder_names_stay_short_and_long_ones_are_taken_over(tmp_path: Path) -> None:
    home, years = Workspace(tmp_path), tuple(range(1960, 2020))
    assert len(home.inventories(years).name) < 100
    assert len(home.change("area", years, "water-index").name) < 100
    assert home.inventories(years) != home.inventories((*years[:-1], 2024))
    assert home.change("area", (2017, 2023), "water-index").name == "change_2017_2023_water-index"
    older = tmp_path / f"change_{'_'.join(map(str, years[:30]))}_inventories"
    older.mkdir()
    (older / "change.csv").touch()
    assert (home.inventories(years[:30]) / "change.csv").exists()


@pytest.mark.parametrize("kind", ["zip", "gz", "wkt", "points", "crs", "layer"])
def test_files_of_every_kind(tmp_path: Path, kind: str) -> None:
    flags: tuple[str, ...] = ()
    frame = gpd.GeoDataFrame({"n": range(12)}, geometry=BOXES, crs="EPSG:4326")
    if kind == "zip":
        frame.to_file(tmp_path / "a.shz")
        path = str((tmp_path / "a.shz").rename(tmp_path / "a.zip"))
    elif kind == "gz":
        path = str(tmp_path / "a.geojson.gz")
        Path(path).write_bytes(gzip.compress(frame.to_json().encode()))
    elif kind == "wkt":
        path = str(tmp_path / "a.csv")
        pd.DataFrame({"id": range(12), "WKT": frame.geometry.to_wkt()}).to_csv(path, index=False)
    elif kind == "points":
        path = str(tmp_path / "a.csv")
        points = frame.geometry.representative_point()
        area = [geodesic_area_m2(one) / 1e6 for one in BOXES]
        pd.DataFrame({"lon": points.x, "lat": points.y, "area_km2": area}).to_csv(path, index=False)
    elif kind == "crs":
        path, flags = str(tmp_path / "a.shp"), ("--crs", "EPSG:32643")
        frame.to_crs(32643).to_file(path)
        (tmp_path / "a.prj").unlink()
    else:
        path, flags = str(tmp_path / "a.gpkg"), ("--layer", "second")
        frame[:3].to_file(path, layer="first")
        frame.to_file(path, layer="second")
    files = {2010: path + "@30m±0.3px", 2020: save(tmp_path / "b.gpkg", BOXES) + "@30m"}
    _, table = compare(tmp_path / "w", files, *flags)
    assert table["status"].tolist() == ["stable"] * 12
    assert table["area_from_m2"].astype(float).sum() == pytest.approx(table["area_to_m2"].astype(float).sum(), rel=1e-4)


def test_several_layers_are_listed(tmp_path: Path) -> None:
    for name in ("first", "second"):
        gpd.GeoDataFrame(geometry=BOXES, crs="EPSG:4326").to_file(tmp_path / "a.gpkg", layer=name)
    path = f"{tmp_path / 'a.gpkg'}@30m"
    error = CliRunner().invoke(cli, ["change", "--lakes", f"2010={path}", "--lakes", f"2020={path}"]).exception
    assert "2 layers: first, second" in str(getattr(error, "message", ""))


@pytest.mark.parametrize(
    ("moved", "cause"),
    [
        (lambda xy: xy[:, ::-1], "swapped"),
        (lambda xy: np.add(xy, (6.0, 0.0)), "1 UTM zones"),
        (lambda xy: np.add(xy, (0.0, 9.0)), "wrong file"),
    ],
)
def test_files_that_lie_apart_say_why(tmp_path: Path, moved: object, cause: str) -> None:
    other = [shapely.transform(one, moved) for one in BOXES]  # type: ignore[arg-type]
    files = {2010: save(tmp_path / "a.gpkg", BOXES) + "@30m", 2020: save(tmp_path / "b.gpkg", other) + "@30m"}
    summary, _ = compare(tmp_path / "w", files)
    assert any(cause in warning for warning in summary["warnings"])  # type: ignore[attr-defined]


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryosentinel_core.workflows import comparing

    def fails(*args: object, **kwargs: object) -> None:
        raise ValueError("two continents")

    monkeypatch.setattr(comparing, "draw_change", fails)
    files = {year: save(tmp_path / f"{year}.gpkg", BOXES) + "@30m" for year in (2010, 2020)}
    summary, table = compare(tmp_path / "w", files)
    assert any("two continents" in warning for warning in summary["warnings"])  # type: ignore[attr-defined]
    assert len(table) == 12
    assert compare(tmp_path / "w", files)[0]["is_reused"]


def test_what_cuts_shuffles_or_repeats_outlines_changes_nothing(tmp_path: Path) -> None:
    """A lake cut along a line, rows in another order, all in one row, a copy shifted by a pixel: the same lakes and areas."""
    from shapely.ops import split

    # Over ten pixels apart: parts of one row that lie nearer are one lake.
    apart = [box(8 * n, 0, 8 * n + 2 + 0.1 * n, 2) for n in range(12)]
    ragged = [shapely.segmentize(one.buffer(0.0003), 0.0001) for one in apart]
    after = save(tmp_path / "b.gpkg", [shapely.affinity.scale(one, 1.1, 1.1) for one in ragged]) + "@30m"
    _, plain = compare(tmp_path / "w0", {2010: save(tmp_path / "a.gpkg", ragged) + "@30m", 2020: after})
    line = shapely.LineString([(76.9, 42.9991), (77.3, 43.0040)])
    cut = [part for one in ragged for part in split(one, line).geoms]
    assert len(cut) > len(ragged)
    variants = {
        "cut": cut,
        "shuffled": ragged[::-1],
        "dissolved": [shapely.union_all(ragged)],
        "copied": [*ragged, shapely.affinity.translate(ragged[3], 0.0003, 0)],
    }
    for name, outlines in variants.items():
        summary, table = compare(
            tmp_path / name, {2010: save(tmp_path / f"{name}.gpkg", outlines) + "@30m", 2020: after}
        )
        assert table["status"].tolist() == plain["status"].tolist(), name
        for column in ("area_from_m2", "change_m2", "change_sigma_m2"):
            np.testing.assert_allclose(
                table[column].astype(float), plain[column].astype(float), rtol=1e-6, err_msg=name
            )
        told = [warning for warning in summary["warnings"] if "inventory of 2010" in warning]  # type: ignore[attr-defined]
        assert len(told) == (name != "shuffled"), name


def test_keys_of_iceland_stay_from_the_first_date_to_the_last(shared_data: Path, tmp_path: Path) -> None:
    """Dates are added one by one; a key once given is a lake's key or alias ever after."""
    files = sorted((shared_data / "iceland-lakes").glob("*.gpkg"))
    dates = {int(path.stem[6:10]): path for path in files}
    years = sorted(dates)[:2] + sorted(dates)[8::6]
    known: set[str] = set()
    for n in range(2, len(years) + 1):
        _, table = compare(tmp_path, {year: f"{dates[year]}@10m" for year in years[:n]})
        names = set(table["lake_key"]) | {one for text in table["aliases"] for one in text.split(";")}
        assert known <= names
        known |= set(table["lake_key"])
    assert "vanished" not in set(table["status"])


def test_named_lakes_of_the_himalaya_have_grown(shared_data: Path, tmp_path: Path) -> None:
    """Also with correlated noise on every vertex, 10 m over 100 m of shore."""
    folder = shared_data / "lakes"
    places = {
        "Imja": (86.922, 27.899),
        "Lower Barun": (87.097, 27.798),
        "Lumding": (86.613, 27.779),
        "South Lhonak": (88.195, 27.913),
    }
    files = {year: f"{folder / f'HKH_{year}.shp'}@30m" for year in (2010, 2020)}
    noisy = gpd.read_file(folder / "HKH_2020.shp")
    rng = np.random.default_rng(4)
    waves = rng.normal(0, 2 * np.pi / 600.0, (40, 2))
    phase = rng.uniform(0, 2 * np.pi, (2, 40))

    def shake(xy: np.ndarray) -> np.ndarray:
        field = np.cos((xy @ waves.T)[None] + phase[:, None]).sum(axis=2) * np.sqrt(2 / 40)
        return np.asarray(xy + 10.0 * field.T)

    noisy.geometry = shapely.make_valid(shapely.transform(shapely.force_2d(noisy.geometry.to_numpy()), shake))
    noisy.to_file(tmp_path / "noisy.gpkg")
    for name, second in (("plain", files[2020]), ("noisy", f"{tmp_path / 'noisy.gpkg'}@30m")):
        _, table = compare(tmp_path / name, {2010: files[2010], 2020: second})
        for lake, (lon, lat) in places.items():
            near = table[np.hypot(table["lon"] - lon, table["lat"] - lat) < 0.02]
            row = near.sort_values("area_to_m2", key=lambda text: pd.to_numeric(text, errors="coerce")).iloc[-1]
            assert (row["status"], str(row["significant"])) == ("grown", "True"), (name, lake)


def test_areas_of_the_himalaya_are_those_that_its_inventory_states(shared_data: Path, tmp_path: Path) -> None:
    """Named lakes and the total within 1 %; rows in another order give the same lakes, the same file twice no change at all."""
    folder = shared_data / "lakes"
    whole = {year: gpd.read_file(folder / f"HKH_{year}.shp") for year in (2010, 2020)}
    files = {}
    for year, frame in whole.items():
        mixed = frame.sample(frac=1.0, random_state=3)
        mixed["GLIMS_ID"] = mixed["GLIMS_ID"].to_numpy()[np.random.default_rng(5).permutation(len(mixed))]
        mixed.to_file(tmp_path / f"{year}.gpkg")
        files[year] = f"{folder / f'HKH_{year}.shp'}@30m"
    summary, table = compare(tmp_path / "w", files)
    areas = summary["lake_area_m2"]
    assert isinstance(areas, dict)
    for year, frame in whole.items():
        assert areas[str(year)] == pytest.approx(1e6 * frame["Area"].sum(), rel=0.01)
    named = pd.read_csv(folder / "named_lakes.csv")
    ends = (("area_from_m2", 2010), ("area_to_m2", 2020))
    for lake in ("Imja", "Lower_Barun", "Lumding", "South_Lhonak"):
        for area, year in ends:
            row = named[(named["lake"] == lake) & (named["year"] == year)].iloc[0]
            lon, lat = (float(text[:-1]) / 1000 for text in (row["GLIMS_ID"][2:9], row["GLIMS_ID"][9:15]))
            near = table[np.hypot(table["lon"] - lon, table["lat"] - lat) < 0.02]
            found = pd.to_numeric(near[area], errors="coerce").max()
            assert found == pytest.approx(1e6 * row["area_km2"], rel=0.01), (lake, year)
    _, mixed_table = compare(tmp_path / "mixed", {year: f"{tmp_path / f'{year}.gpkg'}@30m" for year in whole})
    columns = ["lake_key", "status", "area_from_m2", "area_to_m2", "change_sigma_m2"]
    assert mixed_table[columns].to_numpy().tolist() == table[columns].to_numpy().tolist()
    _, same = compare(tmp_path / "same", {2010: files[2010], 2020: files[2010]})
    assert set(same["status"]) == {"stable"}
    assert set(same["change_m2"].astype(float)) == {0.0}

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from loopback import Loopback, loopback
from made_items import optical_item, write_static
from made_rasters import grid_at, write_tif

from cryosentinel_core.errors import CatalogError, ConfigError, DataError, RasterError
from cryosentinel_core.io.catalogs.http import RetryPolicy
from cryosentinel_core.io.catalogs.search import Catalogues, resolve_reference
from cryosentinel_core.io.catalogs.signing import TokenSigner
from cryosentinel_core.io.catalogs.static_catalog import CatalogItem
from cryosentinel_core.io.rasters.access import Access
from cryosentinel_core.io.rasters.source import read_on_grid
from cryosentinel_core.scenes.items import absolute_href, scene_of_item, with_absolute_hrefs
from cryosentinel_core.scenes.providers import EARTH_SEARCH, PLANETARY_COMPUTER, product_of, public_address

WORLD = shapely.box(-180, -90, 180, 90)
QUICK = RetryPolicy(attempts=3, wait_s=0.01)
ACCESS = Access(attempts=3, wait_s=0.01)


def search_items(
    reference: str, collections: list[str], area: Any, interval: str | None, policy: RetryPolicy = QUICK
) -> tuple[CatalogItem, ...]:
    return Catalogues(policy).search(reference, collections, area, interval).items


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    with loopback(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _quick_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL's own retries wait half a second each; ours are under test."""
    from cryosentinel_core.io.rasters import access as raster

    monkeypatch.setattr(raster, "GDAL_OPTIONS", {**raster.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY": "0"})


def pc_items(shared_data: Path, name: str) -> list[dict[str, Any]]:
    data = json.loads((shared_data / "stac" / "pc" / name).read_text())
    return data if isinstance(data, list) else data.get("features", [data])


# ---- what an item says


@pytest.mark.parametrize(
    ("name", "offset", "baseline"),
    [("search-page-1.json", 1000, (4, 0)), ("sentinel-2-l2a-pc.json", 1000, (5, 10)),
     ("S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531_raster_ext.json", 0, (2, 12))],
)  # fmt: skip
def test_recorded_optical_items(shared_data: Path, name: str, offset: int, baseline: tuple[int, int]) -> None:
    scene = scene_of_item(pc_items(shared_data, name)[0], "optical", "https://example.org/x.json")
    assert (scene.offset, scene.baseline) == (offset, baseline)
    assert scene.product == "planetary-computer/sentinel-2-l2a"
    assert 0 < scene.sun_elevation_deg < 90
    assert len(scene.hrefs) == 13
    assert scene.orbit is not None


def test_recorded_radar_and_terrain_items(shared_data: Path) -> None:
    radar = scene_of_item(pc_items(shared_data, "sentinel-1-rtc-pc.json")[0], "radar", "https://example.org/x.json")
    assert (radar.orbit_name, radar.epsg, set(radar.hrefs)) == ("descending-51", 32633, {"VV", "VH"})
    terrain = scene_of_item(pc_items(shared_data, "cop-dem-glo-30-pc.json")[0], "terrain", "https://example.org/x.json")
    assert terrain.hrefs["DEM"].startswith("https://elevationeuwest.blob.core.windows.net/")


def test_ground_range_radar_is_no_product(shared_data: Path) -> None:
    item = pc_items(shared_data, "S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C.json")[0]
    with pytest.raises(DataError, match="no known product"):
        scene_of_item(item, "radar", "https://example.org/x.json")


def earth_search_item(collection: str, **properties: Any) -> dict[str, Any]:
    product = next(one for one in EARTH_SEARCH.products if one.collection == collection)
    item = optical_item(**properties)
    return {
        **item,
        "collection": collection,
        "assets": {
            key: {"href": f"https://example.org/{key}.tif", "raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
            for key in product.assets.values()
        },
    }


@pytest.mark.parametrize(
    ("collection", "baseline", "flag", "offset"),
    [
        ("sentinel-2-l2a", "05.11", True, 0),
        ("sentinel-2-l2a", "05.11", False, 1000),
        ("sentinel-2-l2a", "05.11", None, 1000),
        ("sentinel-2-l2a", "02.14", False, 0),
        ("sentinel-2-c1-l2a", "05.00", None, 1000),
        ("sentinel-2-c1-l2a", "05.00", True, 1000),
    ],
)
def test_offset_of_earth_search(collection: str, baseline: str, flag: bool | None, offset: int) -> None:
    more = {"s2:processing_baseline": baseline} | ({} if flag is None else {"earthsearch:boa_offset_applied": flag})
    scene = scene_of_item(earth_search_item(collection, **more), "optical", "https://example.org/x.json")
    assert scene.offset == offset
    assert scene.product == f"earth-search/{collection}"


def test_reprocessed_scene_of_2020_carries_the_offset() -> None:
    item = optical_item(when="2020-04-08T14:00:00Z", **{"s2:processing_baseline": "05.00"})
    assert scene_of_item(item, "optical", "/x.json").offset == 1000


def test_baseline_from_the_name() -> None:
    item = optical_item(**{"s2:product_uri": "S2A_MSIL2A_20170801T055641_N0205_R091_T43TFJ_20170801T060149.SAFE"})
    del item["properties"]["s2:processing_baseline"]
    assert scene_of_item(item, "optical", "/x.json").baseline == (2, 5)
    del item["properties"]["s2:product_uri"]
    with pytest.raises(DataError, match="baseline"):
        scene_of_item(item, "optical", "/x.json")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda item: item["assets"].pop("SCL"), "SCL"),
        (lambda item: item["properties"].pop("s2:mean_solar_zenith"), "sun"),
        (lambda item: item.update(geometry=None), "geometry"),
        (lambda item: item["properties"].update(datetime=None), "datetime"),
    ],
)
def test_item_that_cannot_be_used_says_why(spoil: Any, why: str) -> None:
    item = optical_item()
    spoil(item)
    with pytest.raises(DataError, match=why):
        scene_of_item(item, "optical", "/x.json")


def test_lock_entry_round_trips() -> None:
    item = optical_item()
    scene = scene_of_item(item, "optical", "/data/cat/item.json")
    entry = with_absolute_hrefs(item, scene, "optical")
    again = scene_of_item(entry, "optical", "/somewhere/else.json")
    assert dict(again.hrefs) == dict(scene.hrefs)
    assert again.hrefs["B02"] == "/data/cat/B02.tif"
    assert again.moment == dt.datetime(2023, 8, 1, 5, tzinfo=dt.UTC)


# ---- what an href may be


@pytest.mark.parametrize(
    "href", ["file:///etc/passwd", "/etc/passwd", "/vsicurl/http://10.0.0.1/a.tif", "/vsizip/a.zip", "s3://secret/a.tif", "ftp://a/b",
             "gs://bucket/a.tif", "C:/a.tif", "\x00"],
)  # fmt: skip
def test_remote_documents_never_name_local_files(href: str) -> None:
    with pytest.raises(CatalogError):
        absolute_href(href, "https://example.org/catalog.json")


@pytest.mark.parametrize(
    "href", ["/vsicurl/http://a/b.tif", "s3://secret/a.tif", "/./vsimem/a.tif", "../../../../../vsimem/a", "gs://b/a"]
)
def test_local_documents_may_not_name_virtual_files(href: str) -> None:
    with pytest.raises(CatalogError):
        absolute_href(href, "/data/catalog.json")


def test_hrefs_are_resolved() -> None:
    assert absolute_href("./a/b.tif", "https://example.org/x/item.json") == "https://example.org/x/a/b.tif"
    assert absolute_href("../b.tif", "/data/x/item.json") == "/data/b.tif"
    assert absolute_href("file:///data/a%20b.tif", "/data/item.json") == "/data/a b.tif"
    assert absolute_href("https://example.org/b.tif", "/data/item.json") == "https://example.org/b.tif"
    dem = "s3://copernicus-dem-30m/Copernicus_DSM_COG_10_N42_00_E077_00_DEM/a.tif"
    assert absolute_href(dem, "https://example.org/") == public_address(dem)
    assert str(public_address(dem)).startswith("https://copernicus-dem-30m.s3")


def test_item_of_a_remote_catalogue_with_local_assets_is_refused() -> None:
    item = optical_item()
    item["assets"]["B02"]["href"] = "/etc/passwd"
    with pytest.raises(DataError, match="came over the network"):
        scene_of_item(item, "optical", "https://example.org/item.json")


# ---- finding items


def test_api_is_searched_page_by_page(server: Loopback) -> None:
    server.items = [optical_item(f"i{n}", when=f"2023-08-{n + 1:02d}T05:00:00Z") for n in range(5)]
    server.items.append(optical_item("other", when="2021-08-01T05:00:00Z"))
    found = search_items(
        f"{server.address}/api",
        ["sentinel-2-l2a"],
        shapely.box(76, 42, 77, 43),
        "2023-07-01T00:00:00Z/2023-10-31T23:59:59Z",
        QUICK,
    )
    assert [one.item["id"] for one in found] == [f"i{n}" for n in range(5)]
    assert server.asked["/api/search"] == 3
    assert server.searches[0]["intersects"]["type"] == "Polygon"
    assert server.searches[0]["limit"] == 100


def test_api_that_is_busy_is_asked_again(server: Loopback) -> None:
    server.items = [optical_item()]
    server.faults = {"/api/search": [503, 429], "/api": [502]}
    assert len(search_items(f"{server.address}/api", ["sentinel-2-l2a"], WORLD, None, QUICK)) == 1


@pytest.mark.parametrize("path", ["/api", "/api/search"])
def test_api_that_stays_away_is_a_catalogue_error(server: Loopback, path: str) -> None:
    server.faults = {path: [500] * 50}
    with pytest.raises(CatalogError, match="does not answer"):
        search_items(f"{server.address}/api", ["sentinel-2-l2a"], WORLD, None, QUICK)


def test_nobody_there_is_a_catalogue_error() -> None:
    with pytest.raises(CatalogError, match="does not answer"):
        search_items("http://127.0.0.1:9/api", ["sentinel-2-l2a"], WORLD, None, QUICK)


def test_static_catalogue_over_http(server: Loopback) -> None:
    write_static(server.files, [optical_item("a"), optical_item("b")])
    found = search_items(f"{server.address}/files/catalog.json", ["sentinel-2-l2a"], WORLD, None, QUICK)
    assert [one.item["id"] for one in found] == ["a", "b"]
    scene = scene_of_item(found[0].item, "optical", found[0].base)
    assert scene.hrefs["SCL"] == f"{server.address}/files/SCL.tif"


def test_static_catalogue_over_http_cannot_link_to_a_file(server: Loopback, tmp_path: Path) -> None:
    write_static(tmp_path / "private", [optical_item("secret")])
    server.answers["/trap"] = {
        "type": "Catalog", "id": "trap", "links": [{"rel": "child", "href": f"file://{tmp_path}/private/catalog.json"}]
    }  # fmt: skip
    with pytest.raises(CatalogError, match="came over the network"):
        search_items(f"{server.address}/trap", ["sentinel-2-l2a"], WORLD, None, QUICK)


def test_local_catalogue_with_a_loop_ends(tmp_path: Path) -> None:
    path = write_static(tmp_path, [optical_item("a")])
    data = json.loads(path.read_text())
    data["links"].append({"rel": "child", "href": "./catalog.json"})
    path.write_text(json.dumps(data))
    assert len(search_items(str(path), ["sentinel-2-l2a"], WORLD, None)) == 1


def test_item_collection_and_area_and_interval(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    items = [optical_item("a"), optical_item("late", when="2023-11-01T05:00:00Z")]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    interval = "2023-07-01T00:00:00Z/2023-10-31T23:59:59Z"
    assert [one.item["id"] for one in search_items(str(path), ["sentinel-2-l2a"], WORLD, interval)] == ["a"]
    assert not search_items(str(path), ["sentinel-2-l2a"], shapely.box(10, 10, 11, 11), interval)
    assert not search_items(str(path), ["sentinel-1-rtc"], WORLD, interval)


def test_geoparquet(tmp_path: Path) -> None:
    pytest.importorskip("stac_geoparquet")
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    path = tmp_path / "items.parquet"
    items = [optical_item("a"), optical_item("b", when="2023-08-06T05:00:00Z")]
    to_parquet(parse_stac_items_to_arrow(items), path)
    found = search_items(str(path), ["sentinel-2-l2a"], WORLD, "2023-08-05T00:00:00Z/2023-08-07T00:00:00Z")
    assert [one.item["id"] for one in found] == ["b"]
    assert scene_of_item(found[0].item, "optical", found[0].base).baseline == (5, 9)


@pytest.mark.parametrize("text", ["nobody", "/no/such/path"])
def test_unknown_catalogue_names_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve_reference(text)
    assert "planetary-computer" in error.value.hint


def test_damaged_catalogue(tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text("{")
    with pytest.raises(CatalogError):
        search_items(resolve_reference(str(tmp_path)), ["sentinel-2-l2a"], WORLD, None)
    (tmp_path / "catalog.json").write_text('{"type": "Topology"}')
    with pytest.raises(CatalogError, match="no STAC document"):
        search_items(resolve_reference(str(tmp_path)), ["sentinel-2-l2a"], WORLD, None)


def test_products_are_told_apart_by_their_assets() -> None:
    assert product_of(optical_item(), "optical") is PLANETARY_COMPUTER.products[0]
    assert product_of(earth_search_item("sentinel-2-l2a"), "optical") is EARTH_SEARCH.products[1]
    assert product_of(optical_item(), "radar") is None


# ---- reading over HTTP


@pytest.fixture
def remote(server: Loopback) -> tuple[str, np.ndarray]:
    numbers = np.random.default_rng(0).integers(1, 60_000, (700, 700), dtype=np.uint16)
    write_tif(server.files / "a.tif", numbers, 10)
    return f"{server.address}/files/a.tif", numbers


def test_windows_are_read_over_ranges(remote: tuple[str, np.ndarray]) -> None:
    loaded = read_on_grid(remote[0], grid_at(100, 90, 300, 310), access=ACCESS)
    np.testing.assert_array_equal(loaded.values, remote[1][100:400, 90:400])


@pytest.mark.parametrize("faults", [[503, 503], [500] * 3, [403, 403], ["truncated"], ["truncated", "truncated"]])
def test_passing_faults_are_overcome(server: Loopback, remote: tuple[str, np.ndarray], faults: list[int | str]) -> None:
    server.faults = {"a.tif": faults}
    loaded = read_on_grid(remote[0], grid_at(0, 0, 400, 400), access=Access(attempts=5, wait_s=0.01))
    np.testing.assert_array_equal(loaded.values, remote[1][:400, :400])


@pytest.mark.parametrize("status", [403, 503])
def test_lasting_faults_are_errors(server: Loopback, remote: tuple[str, np.ndarray], status: int) -> None:
    server.faults = {"a.tif": [status] * 100}
    with pytest.raises(RasterError, match=r"a\.tif"):
        read_on_grid(remote[0], grid_at(0, 0, 40, 40), access=ACCESS)


def test_gone_is_not_asked_for_again(server: Loopback) -> None:
    with pytest.raises(RasterError, match="cannot read"):
        read_on_grid(f"{server.address}/files/none.tif", grid_at(0, 0, 40, 40), access=ACCESS)
    assert server.asked["/files/none.tif"] <= 2


def test_failure_is_not_remembered(server: Loopback, remote: tuple[str, np.ndarray]) -> None:
    server.faults = {"a.tif": [404, 404]}
    with pytest.raises(RasterError):
        read_on_grid(remote[0], grid_at(0, 0, 40, 40), access=ACCESS)
    server.faults = {}
    assert read_on_grid(remote[0], grid_at(0, 0, 40, 40), access=ACCESS).valid.all()


def test_refused_read_is_signed_anew(server: Loopback, remote: tuple[str, np.ndarray]) -> None:
    signed: list[str] = []

    class Counting:
        def __init__(self) -> None:
            self.number = 0

        def sign(self, href: str) -> str:
            signed.append(f"{href}?sig={self.number}")
            return signed[-1]

        def renew(self, href: str) -> None:
            self.number += 1

    server.faults = {"a.tif": [403, 403]}
    read_on_grid(remote[0], grid_at(0, 0, 40, 40), access=Access(signer=Counting(), attempts=3, wait_s=0.01))
    assert signed[0] != signed[1]


def test_tokens_are_kept_until_they_run_out_and_renewed_when_refused(server: Loopback) -> None:
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=40)).isoformat()
    server.answers["/token/account/container"] = {"token": "sig=1", "msft:expiry": soon}
    signer = TokenSigner(f"{server.address}/token", attempts=2, wait_s=0.01)
    href = "https://account.blob.core.windows.net/container/a/b.tif"
    assert signer.sign(href) == f"{href}?sig=1"
    signer.sign(href.replace("b.tif", "c.tif"))
    assert server.asked["/token/account/container"] == 1
    signer.renew(href)
    server.answers["/token/account/container"] = {"token": "sig=2", "msft:expiry": dt.datetime.now(dt.UTC).isoformat()}
    assert signer.sign(href) == f"{href}?sig=2"
    signer.sign(href)
    assert server.asked["/token/account/container"] == 3
    assert signer.sign("https://example.org/a.tif") == "https://example.org/a.tif"


@pytest.mark.parametrize("answer", [[], {"token": "a"}, {"token": "a", "msft:expiry": 7}, "busy"])
def test_answer_that_is_no_token_is_a_raster_error(server: Loopback, answer: Any) -> None:
    server.answers["/token/a/c"] = answer
    with pytest.raises(RasterError, match="token"):
        TokenSigner(f"{server.address}/token", attempts=2, wait_s=0.01).sign("https://a.blob.core.windows.net/c/b.tif")
    assert server.asked["/token/a/c"] == 2


def test_parquet_that_is_no_catalogue_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("stac_geoparquet")
    pd.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name in ("other.parquet", "broken.parquet"):
        with pytest.raises(CatalogError, match="parquet"):
            search_items(str(tmp_path / name), ["sentinel-2-l2a"], WORLD, None)


def test_no_token_is_a_raster_error(server: Loopback) -> None:
    with pytest.raises(RasterError, match="token"):
        TokenSigner(f"{server.address}/token", attempts=2, wait_s=0.01).sign("https://a.blob.core.windows.net/c/b.tif")

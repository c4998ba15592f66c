"""Catalogues that break off, repeat themselves, hold nonsense or stay away: told, asked again or left out, never an answer."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely
from loopback import Loopback, loopback
from made_items import nested, optical_item, write_static

from cryosentinel_core.errors import CatalogError, DataError
from cryosentinel_core.io.catalogs.http import RetryPolicy, parse_json
from cryosentinel_core.io.catalogs.search import Catalogues, SearchResult
from cryosentinel_core.io.workspace import write_json
from cryosentinel_core.scenes.items import scene_of_item, with_absolute_hrefs

AREA = shapely.box(76, 42, 77, 43)
QUICK = RetryPolicy(attempts=3, wait_s=0.01)
S2 = ["sentinel-2-l2a"]
SUMMER = "2023-07-01T00:00:00Z/2023-10-31T23:59:59Z"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    with loopback(tmp_path) as running:
        yield running


def search(reference: str, interval: str | None = SUMMER) -> SearchResult:
    return Catalogues(QUICK).search(reference, S2, AREA, interval)


def ids(found: SearchResult) -> list[str]:
    return [one.item["id"] for one in found.items]


def page(features: Any, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": features, "links": [], **more}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"message": "upstream is busy"}, "no FeatureCollection"),
        ([], "no FeatureCollection"),
        (page(None), "no list of features"),
        (page({"a": 1}), "no list of features"),
        ("<html>busy</html>", "no JSON"),
        ('{"type": "FeatureCollection", "features": [', "no JSON"),
        (page([optical_item()], numberMatched=7), "announces 7 items and gives 1"),
        (page([], numberMatched=7), "announces 7 items and gives 0"),
        (page([optical_item()], links=[{"rel": "next"}]), "next page cannot be understood"),
        (page([optical_item()], links="next"), "no list of links"),
    ],
)
def test_page_that_is_no_answer_is_told(server: Loopback, answer: Any, words: str) -> None:
    server.search_with = lambda body: answer
    with pytest.raises(CatalogError, match=words):
        search(f"{server.address}/api")
    assert server.asked["/api/search"] >= 3 or "next" in words


def test_page_that_is_no_answer_once_is_asked_for_again(server: Loopback) -> None:
    answers = iter(["<html>busy</html>", page([optical_item()], numberMatched=2)])
    whole = page([optical_item("a"), optical_item("b")], numberMatched=2)
    server.search_with = lambda body: next(answers, whole)
    assert ids(search(f"{server.address}/api")) == ["a", "b"]


@pytest.mark.parametrize("path", ["/api", "/api/search"])
def test_body_cut_midway_is_asked_for_again(server: Loopback, path: str) -> None:
    server.items = [optical_item("a"), optical_item("b"), optical_item("c")]
    server.faults = {path: ["truncated", "truncated"]}
    assert ids(search(f"{server.address}/api")) == ["a", "b", "c"]
    server.faults = {path: ["truncated"] * 99}
    with pytest.raises(CatalogError, match="broke off"):
        search(f"{server.address}/api")


def test_static_catalogue_cut_midway_is_asked_for_again(server: Loopback) -> None:
    write_static(server.files, [optical_item("a")])
    server.faults = {"catalog.json": ["truncated"], "a.json": ["truncated", 503]}
    assert ids(search(f"{server.address}/files/catalog.json")) == ["a"]
    server.faults = {"a.json": [503] * 99}
    with pytest.raises(CatalogError, match="does not answer: HTTP 503"):
        search(f"{server.address}/files/catalog.json")


def next_link(server: Loopback, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"rel": "next", "method": "POST", "href": f"{server.address}/api/search", "body": body}]


@pytest.mark.parametrize("is_new", [False, True])
def test_endless_pages_are_told(server: Loopback, is_new: bool) -> None:
    number = itertools.count()
    server.search_with = lambda body: page(
        [optical_item(f"i{next(number) if is_new else 0}")], links=next_link(server, body)
    )
    began = time.monotonic()
    with pytest.raises(CatalogError, match="no end"):
        search(f"{server.address}/api")
    assert time.monotonic() - began < 30


def test_collections_that_an_api_does_not_have_are_no_outage(server: Loopback) -> None:
    server.faults = {"/api/search": [400] * 99}
    with pytest.raises(CatalogError, match="HTTP 400"):
        search(f"{server.address}/api")
    server.answers["/api/collections"] = {"collections": [{"id": "landsat", "item_assets": {"red": {}, "nir": {}}}]}
    found = search(f"{server.address}/api")
    assert not found.items
    assert found.other_collections == {"landsat": ("red", "nir")}


def test_static_catalogue_is_walked_once(server: Loopback) -> None:
    write_static(server.files, [optical_item("a"), optical_item("b", when="2017-08-01T05:00:00Z")])
    catalogues = Catalogues(QUICK)
    address = f"{server.address}/files/catalog.json"
    for year in (2017, 2023):
        interval = f"{year}-07-01T00:00:00Z/{year}-09-30T23:59:59Z"
        assert len(catalogues.search(address, S2, AREA, interval).items) == 1
    assert catalogues.search(address, ["sentinel-1-rtc"], AREA, None).other_collections.keys() == {"sentinel-2-l2a"}
    assert server.asked["/files/catalog.json"] == server.asked["/files/a.json"] == 1


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "null": lambda item: None,
    "text": lambda item: "an item",
    "list": lambda item: [item],
    "no id": lambda item: {key: value for key, value in item.items() if key != "id"},
    "id is a list": lambda item: item | {"id": ["a"]},
    "collection is a list": lambda item: item | {"collection": ["sentinel-2-l2a"]},
    "properties are a list": lambda item: item | {"properties": [1, 2]},
    "assets are a list": lambda item: item | {"assets": ["B02"]},
    "asset is a text": lambda item: item | {"assets": item["assets"] | {"B02": "B02.tif"}},
    "href is a number": lambda item: item | {"assets": item["assets"] | {"B02": {"href": 7}}},
    "geometry is a text": lambda item: item | {"geometry": "POLYGON EMPTY"},
    "geometry of texts": lambda item: item | {"geometry": {"type": "Polygon", "coordinates": [[["a", "b"]] * 4]}},
    "geometry of NaN": lambda item: item | {"geometry": {"type": "Polygon", "coordinates": [[[float("nan"), 1]] * 4]}},
    "geometry without end": lambda item: item | {"geometry": {"type": "Polygon", "coordinates": nested(300)}},
    "geometry of itself": lambda item: item | {"geometry": collections_in_collections(300)},
    "a point": lambda item: item | {"geometry": {"type": "Point", "coordinates": [76.5, 42.5]}},
    "datetime is a number": lambda item: item | {"properties": item["properties"] | {"datetime": 20230801}},
    "datetime of nowhere": lambda item: (
        item | {"properties": item["properties"] | {"datetime": "0001-01-01T00:00:00+14:00"}}
    ),
    "baseline is an object": lambda item: item | {"properties": item["properties"] | {"s2:processing_baseline": {}}},
    "sun is endless": lambda item: item | {"properties": item["properties"] | {"s2:mean_solar_zenith": float("-inf")}},
}


def collections_in_collections(depth: int) -> dict[str, Any]:
    geometry: dict[str, Any] = {"type": "Point", "coordinates": [76.5, 42.5]}
    for _ in range(depth):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    return geometry


def usable_and_reasons(found: SearchResult, folder: Path) -> tuple[list[str], list[str]]:
    """Ids of the items that scenes can be made of and that can be written down, and why the others are none."""
    usable, reasons = [], [*found.left_out.values()]
    for one in found.items:
        try:
            scene = scene_of_item(one.item, "optical", one.base)
        except DataError as error:
            reasons.append(error.message)
            continue
        write_json(folder / "item.json", with_absolute_hrefs(one.item, scene, "optical"))
        again = json.loads((folder / "item.json").read_text())
        assert scene_of_item(again, "optical", "/").key == scene.key
        usable.append(scene.id)
    return usable, reasons


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("kind", ["api", "collection", "static"])
def test_one_bad_item_is_left_out_with_its_reason(server: Loopback, tmp_path: Path, name: str, kind: str) -> None:
    bad = SPOILT[name](optical_item("bad"))
    items = [optical_item("a"), bad, optical_item("b")]
    if kind == "api":
        server.search_with = lambda body: page(items)
        found = search(f"{server.address}/api")
    elif kind == "collection":
        (tmp_path / "items.json").write_text(json.dumps(page(items)))
        found = search(str(tmp_path / "items.json"))
    else:
        found = search(str(write_static(tmp_path / "static", items)))
    usable, reasons = usable_and_reasons(found, tmp_path / "out")
    assert usable == ["a", "b"]
    assert len(reasons) == 1
    assert reasons[0]


def test_item_file_that_is_gone_or_no_json_is_left_out(tmp_path: Path) -> None:
    path = write_static(tmp_path, [optical_item("a"), optical_item("b"), optical_item("c")])
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.json").unlink()
    found = search(str(path))
    assert ids(found) == ["a"]
    assert len(found.left_out) == 2


def test_child_catalogue_that_is_gone_is_an_error(tmp_path: Path) -> None:
    path = write_static(tmp_path, [optical_item("a")])
    data = json.loads(path.read_text())
    data["links"].append({"rel": "child", "href": "./gone/catalog.json"})
    path.write_text(json.dumps(data))
    with pytest.raises(CatalogError, match="gone"):
        search(str(path))


@pytest.mark.parametrize("depth", [50, 500, 100_000])
def test_deep_nesting_ends_no_run(tmp_path: Path, depth: int) -> None:
    item = json.dumps(optical_item("deep")).replace('"properties": {', f'"properties": {{"deep": {deep_text(depth)}, ')
    (tmp_path / "items.json").write_text(
        f'{{"type": "FeatureCollection", "features": [{json.dumps(optical_item("a"))}, {item}]}}'
    )
    found = search(str(tmp_path / "items.json"))
    assert usable_and_reasons(found, tmp_path / "out")[0] == ["a", "deep"]


def deep_text(depth: int) -> str:
    return "[" * depth + '"]"' + "]" * depth


def test_text_with_brackets_survives_the_cutting_of_depths() -> None:
    data = parse_json(f'{{"a": "[{{\\"", "deep": {deep_text(5_000)}, "b": [1, {{"c": "}}"}}]}}')
    assert data["a"] == '[{"'
    assert data["b"] == [1, {"c": "}"}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 101, True, "3", None, 10**400])
def test_cloud_cover_that_is_none_passes_no_limit(value: Any) -> None:
    scene = scene_of_item(optical_item(**{"eo:cloud_cover": value}), "optical", "/x.json")
    assert scene.cloud_percent is None


def test_start_and_end_stand_in_for_the_datetime(tmp_path: Path) -> None:
    inside = {"datetime": None, "start_datetime": "2023-08-01T05:00:00Z", "end_datetime": "2023-08-01T05:10:00Z"}
    across = {"datetime": None, "start_datetime": "2023-06-30T23:59:00Z", "end_datetime": "2023-07-01T00:01:00Z"}
    outside = {"datetime": None, "start_datetime": "2023-06-01T00:00:00Z", "end_datetime": "2023-06-02T00:00:00Z"}
    items = [optical_item(name, **more) for name, more in (("in", inside), ("across", across), ("out", outside))]
    path = write_static(tmp_path, items)
    found = search(str(path))
    assert ids(found) == ["across", "in"]
    assert scene_of_item(found.items[1].item, "optical", "/x.json").moment.isoformat() == "2023-08-01T05:00:00+00:00"


def test_refused_item_names_its_assets(tmp_path: Path) -> None:
    item = optical_item("a")
    item["assets"] = {"blue_10m": {"href": "a.tif"}, "green_10m": {"href": "b.tif"}}
    with pytest.raises(DataError, match="'sentinel-2-l2a' with assets blue_10m, green_10m"):
        scene_of_item(item, "optical", "/x.json")


def test_offline_is_one_plain_sentence() -> None:
    with pytest.raises(CatalogError) as error:
        search("http://127.0.0.1:9/api")
    assert error.value.message == "the catalogue http://127.0.0.1:9/api does not answer: the connection is refused"

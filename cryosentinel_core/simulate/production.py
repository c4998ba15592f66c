"""From the plan to the files: each pass is rendered, written and described, several at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon, box, mapping

from cryosentinel_core.errors import OutputWrite
from cryosentinel_core.ground.projection import project_geometry
from cryosentinel_core.lakes.glacier_ice import LEVEL_M
from cryosentinel_core.simulate.catalogue import write_catalogue
from cryosentinel_core.simulate.classification import CLOUD_CLASSES
from cryosentinel_core.simulate.cogs import write_cog
from cryosentinel_core.simulate.elevation import draw_elevation
from cryosentinel_core.simulate.grids import Granule, Grid
from cryosentinel_core.simulate.items import (
    LAYOUTS,
    RADAR_COLLECTION,
    TERRAIN_COLLECTION,
    Item,
    asset_name,
    optical_id,
    optical_item,
    radar_id,
    radar_item,
    terrain_item,
)
from cryosentinel_core.simulate.optical import SCL, render_optical
from cryosentinel_core.simulate.optical_view import OpticalView, view_of
from cryosentinel_core.simulate.projection import Projector
from cryosentinel_core.simulate.radar import NODATA as RADAR_NODATA
from cryosentinel_core.simulate.radar import render_radar
from cryosentinel_core.simulate.schedule import Edge, OpticalPass, RadarPass, plan_optical, plan_radar
from cryosentinel_core.simulate.settings import SimulateSettings, SimulationSummary
from cryosentinel_core.simulate.spectra import RESOLUTION_M
from cryosentinel_core.simulate.truth import (
    CLEAR,
    CLOUD,
    ICE,
    NODATA,
    SHADOW,
    LakeGround,
    Sight,
    lake_ground,
    tabulate_events,
    tabulate_lakes,
    write_text,
    write_truth,
)
from cryosentinel_core.simulate.world import World, build_world

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many are done and how many there are."""

MAX_CLOUD_PERCENT = 30.0
"""Cloud cover from which the truth counts a scene as unusable, as a fetch does by default."""


@dataclass(frozen=True)
class _Made:
    """What a pass left: its items, what it could see of the lakes (optical only), and its entry in scenes.json."""

    items: tuple[Item, ...]
    sight: Sight | None
    record: dict[str, Any]


def simulate(directory: Path, settings: SimulateSettings, *, progress: Progress | None = None) -> SimulationSummary:
    """Write a static STAC catalogue of simulated scenes, its area of interest and the truth about its lakes.

    Args:
        directory: A folder without a `catalog.json`; made if it does not exist.
        settings: What to simulate.
        progress: Told of each scene that is finished, from the calling thread.

    Returns:
        What was written. The same settings give the same bytes, whatever `settings.workers` is.

    Raises:
        OutputWrite: The folder holds a catalogue already, or the disk refused.
    """
    directory = Path(directory)
    _prepare(directory)
    try:
        return _simulate(directory, settings, progress)
    except OSError as error:
        raise OutputWrite(f"could not write to {directory}: {error}", "Free space or choose another folder.") from error


def _simulate(directory: Path, settings: SimulateSettings, progress: Progress | None) -> SimulationSummary:
    world = build_world(settings)
    ground = lake_ground(world.ground.grid, world.lakes)
    optical, radar = plan_optical(settings, world.ground), plan_radar(settings, world.ground)
    jobs: list[Callable[[], _Made]] = []
    jobs += [_job(_make_optical, directory, world, scene, ground) for scene in optical]
    jobs += [_job(_make_radar, directory, world, scene, ground) for scene in radar]
    made: list[_Made] = []
    with ThreadPoolExecutor(settings.workers) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in futures:
                made.append(future.result())
                if progress is not None:
                    progress("scenes", len(made), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    terrain = _make_terrain(directory, world)
    return _finish(directory, world, ground, made, terrain)


def _prepare(directory: Path) -> None:
    if (directory / "catalog.json").exists():
        raise OutputWrite(f"{directory} holds a catalogue already", "Give a new folder, or remove that one first.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWrite(
            f"could not make {directory}: {error.strerror or error}", "choose a folder that you may write to"
        ) from error


def _job(make: Callable[..., _Made], *arguments: object) -> Callable[[], _Made]:
    return lambda: make(*arguments)


def _make_optical(directory: Path, world: World, scene: OpticalPass, ground: LakeGround) -> _Made:
    view = view_of(world, scene)
    items, covers = [], []
    for granule in world.ground.granules:
        item = _write_optical(directory, world, view, granule)
        items.append(item)
        covers.append(float(item.record["properties"]["eo:cloud_cover"]))
    usable = scene.in_season and min(covers) < MAX_CLOUD_PERCENT and not scene.copy_of_newer
    sight = Sight(scene.when.year, usable, _blocked(world, view, ground))
    record = {
        "ids": [item.name for item in items],
        "datetime": f"{scene.when:%Y-%m-%dT%H:%M:%SZ}",
        "cloud": round(scene.cloud, 5),
        "shift_m": [round(v, 4) for v in scene.shift_m],
        "gain": round(scene.gain, 6),
        "snow_line_m": round(scene.snow_line_m, 1),
        "haze": scene.haze,
        "usable": usable,
    }
    return _Made(tuple(items), sight, record)


def _write_optical(directory: Path, world: World, view: OpticalView, granule: Granule) -> Item:
    scene, settings = view.scene, world.settings
    layout = LAYOUTS[settings.like]
    folder = directory / layout.collection / optical_id(scene, granule, settings.like)
    folder.mkdir(parents=True, exist_ok=True)
    projector = Projector(world.ground.grid, granule.grid)
    shares: dict[str, float] = {}
    for band, array in render_optical(world, view, projector):
        grid = granule.grid.coarser(RESOLUTION_M.get(band, 20) // 10)
        write_cog(folder / asset_name(scene, granule, band), array, grid.affine, grid.epsg, nodata=layout.nodata_tag)
        if band == SCL:
            shares = _class_shares(array)
    footprint = _footprint(world, granule.grid, scene.edge)
    return optical_item(settings, world.ground, scene, granule, footprint, shares)


def _class_shares(labels: npt.NDArray[np.generic]) -> dict[str, float]:
    """Per cent of a granule's pixels by class, as items carry them (cloud and others of the pixels with data)."""
    counts = np.bincount(labels.ravel().astype(np.int64), minlength=12)
    valid = max(int(counts[1:].sum()), 1)

    def percent(*classes: int) -> float:
        return round(100 * float(counts[list(classes)].sum()) / valid, 6)

    return {
        "eo:cloud_cover": percent(*CLOUD_CLASSES),
        "s2:nodata_pixel_percentage": round(100 * float(counts[0]) / labels.size, 6),
        "s2:dark_features_percentage": percent(2),
        "s2:cloud_shadow_percentage": percent(3),
        "s2:vegetation_percentage": percent(4),
        "s2:not_vegetated_percentage": percent(5),
        "s2:water_percentage": percent(6),
        "s2:unclassified_percentage": percent(7),
        "s2:medium_proba_clouds_percentage": percent(8),
        "s2:high_proba_clouds_percentage": percent(9),
        "s2:thin_cirrus_percentage": percent(10),
        "s2:snow_ice_percentage": percent(11),
    }


def _footprint(world: World, grid: Grid, edge: Edge | None) -> Polygon:
    """Outline of a grid's ground with data, in degrees."""
    outline = box(*grid.bounds)
    if grid.epsg != world.ground.grid.epsg:
        outline = project_geometry(outline.segmentize(5_000), grid.epsg, world.ground.grid.epsg)
    if edge is not None:
        a, b, c = edge
        x, y = a * c, b * c  # the point of the edge nearest to the origin; (a, b) has length 1
        far = 1e7
        half_plane = Polygon(
            [
                (x - b * far, y + a * far),
                (x + b * far, y - a * far),
                (x + b * far - a * far, y - a * far - b * far),
                (x - b * far - a * far, y + a * far - b * far),
            ]
        )
        outline = Polygon(shapely.get_exterior_ring(outline.intersection(half_plane)))
    return world.ground.geometry_to_lonlat(outline)


def _blocked(world: World, view: OpticalView, ground: LakeGround) -> npt.NDArray[np.uint8]:
    """Why a date could not see each pixel of the lakes' ground, `CLEAR` where it could.

    A pixel mostly under lake ice is `ICE`, and so is one mostly under snow or glacier ice that stands no higher than `LEVEL_M` over
    the lake: whether there is water under it nobody can see. Higher ice is ground, and so is a tongue that ends in a lake; the
    icebergs and melange before it are lake.
    """
    index = ground.index
    codes = np.full(index.shape, CLEAR, np.uint8)
    wet, icy = np.zeros(index.shape, np.float32), np.zeros(index.shape, np.float32)
    if view.water.index.size:
        order = np.minimum(np.searchsorted(view.water.index, index), len(view.water.index) - 1)
        here = view.water.index[order] == index
        wet[here], icy[here] = view.water.fraction[order[here]], view.ice[order[here]]
    snow, glacier = view.snow.reshape(-1)[index], world.cover.glacier.reshape(-1)[index]
    white = snow + (1 - snow) * glacier  # of the part that is no water
    level = np.array([lake.level_m for lake in world.lakes], np.float32)[ground.lake]
    low = world.relief.heights.reshape(-1)[index] <= level + LEVEL_M
    overlay = world.ice.get(view.scene.when.year)
    if overlay is not None:
        tongue = np.zeros(world.ground.grid.shape, np.float32)
        tongue.reshape(-1)[overlay.index] = overlay.share
        low &= tongue.reshape(-1)[index] <= 0.5
    calving = np.array([lake.front is not None for lake in world.lakes], bool)[ground.lake]
    codes[wet * icy * ~calving + (1 - wet) * white * low > 0.5] = ICE
    codes[view.light.lit.reshape(-1)[index] < 0.5] = SHADOW
    covered = (view.sky.cloud.reshape(-1)[index] > 0.1) | (view.sky.shadow.reshape(-1)[index] > 0.3)
    codes[covered] = CLOUD
    if view.scene.edge is not None:
        a, b, c = view.scene.edge
        rows, columns = np.divmod(index, world.ground.grid.width)
        x, y = world.ground.grid.centres()
        codes[a * x[columns] + b * y[rows] > c] = NODATA
    return codes


def _make_radar(directory: Path, world: World, scene: RadarPass, ground: LakeGround) -> _Made:
    folder = directory / RADAR_COLLECTION / radar_id(scene)
    folder.mkdir(parents=True, exist_ok=True)
    core = world.ground.core
    for key, array in render_radar(world, scene):
        write_cog(folder / f"iw-{key}.rtc.tiff", array, core.affine, core.epsg, nodata=RADAR_NODATA)
    item = radar_item(world.ground, scene, _footprint(world, core, scene.edge))
    record = {"ids": [item.name], "datetime": f"{scene.when:%Y-%m-%dT%H:%M:%SZ}", "wind": round(scene.wind, 4)}
    return _Made((item,), None, record | {"shift_m": [round(v, 4) for v in scene.shift_m]})


def _make_terrain(directory: Path, world: World) -> list[Item]:
    items = []
    for tile in draw_elevation(world):
        folder = directory / TERRAIN_COLLECTION / tile.name
        folder.mkdir(parents=True, exist_ok=True)
        write_cog(folder / f"{tile.name}.tif", tile.heights, tile.affine, 4326, pixel_is_point=True)
        items.append(terrain_item(tile, world.settings.like))
    return items


def _finish(
    directory: Path, world: World, ground: LakeGround, made: Sequence[_Made], terrain: Sequence[Item]
) -> SimulationSummary:
    """Write what needs all scenes: truth, area of interest and, last, the catalogue."""
    settings = world.settings
    lakes = tabulate_lakes(world.ground, world.lakes)
    sights = [one.sight for one in made if one.sight is not None]
    events = tabulate_events(lakes, world.lakes, settings.years, ground, sights)
    write_truth(directory, settings, lakes, events, [one.record for one in made])
    aoi = directory / "aoi.geojson"
    outline = mapping(world.ground.geometry_to_lonlat(world.ground.aoi))
    feature = {"type": "Feature", "properties": {"name": "simulated"}, "geometry": outline}
    write_text(aoi, json.dumps({"type": "FeatureCollection", "features": [feature]}, indent=1) + "\n")
    items = [item for one in made for item in one.items]
    catalog = write_catalogue(directory, [*items, *terrain])
    radar = sum(item.collection == RADAR_COLLECTION for item in items)
    return SimulationSummary(
        directory=directory,
        catalog=catalog,
        aoi=aoi,
        n_optical_items=len(items) - radar,
        n_radar_items=radar,
        n_terrain_items=len(terrain),
        n_lakes=len(lakes),
        n_events=len(events),
        statuses={str(k): int(v) for k, v in events["status"].value_counts().sort_index().items()},
        bytes_written=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
    )

"""The corridor from lakes of several years to a change table: match, name, look at the ground, compare, draw, save.

How far the years' images lie apart is measured on their stacks, reported, and taken out of gained and lost ground; areas, their
uncertainty, statuses and lakes never depend on it.

Writes `<aoi>/change_<years>_<model>/`: `change.csv`, `change.parquet`, `change.gpkg` (layers `change`, `gained`, `lost`),
with three or more years `series.csv`, `change.png`, and last `change.json`, the record. `<aoi>/registry.gpkg` keeps the keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.bands import index_of_band
from cryosentinel_core.change_frames import add_pieces, as_piece_frame
from cryosentinel_core.change_table import ChangeTables, Comparison, SeenBy, compare_years
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.ground import look_at_ground
from cryosentinel_core.io.inventories import read_inventory
from cryosentinel_core.io.registry import read_registry, write_registry
from cryosentinel_core.io.results import TrueColour, YearOfLakes
from cryosentinel_core.io.stack import RECORD as TILE_RECORD
from cryosentinel_core.io.stack import read_layer as read_stack_layer
from cryosentinel_core.io.vector import newest_date, read_layer, write_csv, write_geopackage, write_parquet
from cryosentinel_core.io.workspace import (
    Workspace,
    is_current,
    read_json,
    remove_leftovers,
    translate_os_error,
    write_json,
)
from cryosentinel_core.lake import GroundSeen, Inventory, Status
from cryosentinel_core.lake_keys import Key, assign_keys
from cryosentinel_core.lattice import Cell
from cryosentinel_core.matching import add_watched, match_years
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.registration import (
    MAX_PATCHES,
    MAX_TRIES,
    UNKNOWN,
    WARN_M,
    Registration,
    combine_patches,
    has_enough_ground,
    measure_patch,
    move_outline,
    patches_of_cells,
    registration_constants,
)
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scene import COUNT_NAMES, Condition
from cryosentinel_core.settings import ChangeSettings
from cryosentinel_core.uncertainty import DEFAULT_MODEL, UncertaintyModel
from cryosentinel_core.workflows.change_summary import RECORD, ChangeSummary, read_summary, result_of
from cryosentinel_core.workflows.picture import draw_change

REGISTRATION_BAND: Final = "B08"
"""Near infrared: 10 m, and textured on bare ground and vegetation alike."""

_NAME_COLUMNS: Final = ("name", "lake", "lake_name", "lake_key")
_WATER_COUNT: Final = COUNT_NAMES.index("water")
INVENTORY_MODEL: Final = replace(DEFAULT_MODEL, registration_m=0.0, systematic_change_share=0.0)
"""For outlines that others drew: half a pixel along the perimeter is the whole error of a year."""


def change(
    workspace: Workspace,
    area_name: str,
    years: Sequence[int],
    model_name: str,
    settings: ChangeSettings,
    *,
    reporter: Reporter,
    uncertainty: UncertaintyModel = DEFAULT_MODEL,
) -> ChangeSummary:
    """Compare the lakes of some years that `predict` has found; kept if nothing changed since.

    Args:
        workspace: Where everything lies.
        area_name: Of the area of interest.
        years: Ascending and distinct, two or more.
        model_name: Of the results' folder: `water-index` or the weights' name and digest.
        settings: Of the comparison.
        reporter: Hears progress, notes and warnings.
        uncertainty: Constants of the error model.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a year's lakes are missing or damaged.
        OutputWrite: If the disk refuses.
    """
    comparison = _comparison(years, settings, uncertainty)
    opened = {year: YearOfLakes.open(workspace.model(area_name, year, model_name), year) for year in comparison.years}
    folder = workspace.change(area_name, comparison.years, model_name)
    warnings = _warnings_of(opened, settings.min_area_m2)
    provenance = Provenance(
        kind="change",
        settings={
            **_plain(comparison, settings),
            "aoi": area_name,
            "model": model_name,
            "registration": {"band": REGISTRATION_BAND, **registration_constants()},
        },
        inputs={
            "years": {str(year): results.digest for year, results in opened.items()},
            "watch": _digest_of_file(settings.watch),
        },
        warnings=tuple(warnings),
    )
    if _is_done(folder, provenance, comparison):
        reporter.note(f"the change table is there already, in {folder}")
        return read_summary(folder, comparison, model_name, is_reused=True)
    registrations = {pair: measure_registration(opened[pair[0]], opened[pair[1]]) for pair in comparison.pairs}
    warnings += _tell_registrations(registrations, reporter)
    provenance = replace(provenance, warnings=tuple(warnings))
    for warning in warnings:
        reporter.warn(warning)
    tables, in_table = {}, {}
    for year, results in opened.items():
        tables[year], is_lake = results.read_outlines()
        in_table[year] = is_lake & (tables[year]["area_m2"].to_numpy() >= settings.min_area_m2)
    zones = {year: results.zone_classes() for year, results in opened.items()}

    def seen_by(ground: BaseGeometry, grow_px: int) -> dict[int, GroundSeen]:
        return look_at_ground(zones, ground, grow_px)

    colours = {year: results.true_colour() for year, results in opened.items()}
    _compare_and_write(
        folder,
        workspace.registry(area_name),
        tables,
        in_table,
        seen_by,
        comparison,
        settings,
        provenance,
        {year: colour for year, colour in colours.items() if colour is not None},
        reporter,
        registrations=registrations,
    )
    return read_summary(folder, comparison, model_name, is_reused=False)


def change_inventories(
    inventories: Sequence[Inventory], out_dir: Path, settings: ChangeSettings, *, reporter: Reporter
) -> ChangeSummary:
    """Compare inventories that others drew, with no imagery at all; all ground counts as observed.

    Args:
        inventories: Two or more, in ascending order of their years.
        out_dir: Where the results go.
        settings: Of the comparison.
        reporter: Hears progress, notes and warnings.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a file cannot be used.
        OutputWrite: If the disk refuses.
    """
    comparison = _comparison([inventory.year for inventory in inventories], settings, INVENTORY_MODEL)
    told = _Listening(reporter)
    tables = {inventory.year: read_inventory(inventory, told) for inventory in inventories}
    in_table = {year: table["area_m2"].to_numpy() >= settings.min_area_m2 for year, table in tables.items()}
    provenance = Provenance(
        kind="change of inventories",
        settings=_plain(comparison, settings),
        inputs={
            "inventories": {
                str(item.year): {
                    "file": Path(item.path).name,
                    "resolution_m": item.resolution_m,
                    "select": list(item.select or ()),
                    "outlines": hashlib.sha256(
                        b"".join(shapely.to_wkb(tables[item.year].geometry.to_numpy()))
                    ).hexdigest(),
                }
                for item in inventories
            },
            "watch": _digest_of_file(settings.watch),
        },
        warnings=tuple(told.warnings),
    )
    if _is_done(out_dir, provenance, comparison):
        reporter.note(f"the change table is there already, in {out_dir}")
        return read_summary(out_dir, comparison, "inventories", is_reused=True)
    pixel_m = max(inventory.resolution_m for inventory in inventories)
    _compare_and_write(
        out_dir,
        out_dir / "registry.gpkg",
        tables,
        in_table,
        lambda ground, grow_px: dict.fromkeys(comparison.years, GroundSeen(land=1)),
        comparison,
        settings,
        provenance,
        {},
        reporter,
        pixel_m=pixel_m,
    )
    return read_summary(out_dir, comparison, "inventories", is_reused=False)


def _compare_and_write(
    folder: Path,
    registry_path: Path,
    tables: Mapping[int, gpd.GeoDataFrame],
    in_table: Mapping[int, NDArray[np.bool_]],
    seen_by: SeenBy,
    comparison: Comparison,
    settings: ChangeSettings,
    provenance: Provenance,
    sources: Mapping[int, TrueColour],
    reporter: Reporter,
    *,
    pixel_m: float = 10.0,
    registrations: Mapping[tuple[int, int], Registration] | None = None,
) -> None:
    """Match, name, compare and write; the record comes last."""
    remove_leftovers(folder)
    try:
        (folder / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise translate_os_error(error, folder / RECORD) from error
    reporter.progress("compare lakes", 0, 4)
    matches = match_years(tables, pixel_m=pixel_m)
    kept = [match for match in matches if any(in_table[year][list(rows)].any() for year, rows in match.members.items())]
    watched = _read_watched(settings.watch) if settings.watch is not None else []
    kept, names = add_watched(kept, matches, tables, watched)
    registry = read_registry(registry_path)
    keys, extended = assign_keys(kept, tables, registry, min_area_m2=settings.min_area_m2, pixel_m=pixel_m)
    if not registry_path.exists() or not _is_same_registry(extended, registry):
        write_registry(registry_path, extended)
    keys = [Key(key.lake_key, (*key.aliases, *names.get(index, ()))) for index, key in enumerate(keys)]
    reporter.progress("compare lakes", 1, 4)
    found = compare_years(tables, kept, keys, seen_by, comparison)
    measured = registrations or {}
    moves = {pair: shift for pair, shift in measured.items() if _is_worth_moving(shift, comparison.model)}
    found = _take_out_shifts(found, tables, moves)
    reporter.progress("compare lakes", 2, 4)
    stamp = newest_date(tables.values())
    write_csv(folder / "change.csv", found.change)
    write_parquet(folder / "change.parquet", found.change, provenance=provenance)
    layers = {"change": found.change, "gained": found.gained, "lost": found.lost}
    write_geopackage(folder / "change.gpkg", layers, provenance=provenance, stamp=stamp)
    if len(comparison.years) > 2:
        write_csv(folder / "series.csv", found.series)
    reporter.progress("compare lakes", 3, 4)
    draw_change(folder / "change.png", found, tables, comparison, sources, title=provenance.settings.get("aoi", ""))
    told = {f"{a}-{b}": {**shift.as_dict(), "is_applied": (a, b) in moves} for (a, b), shift in measured.items()}
    record = {**provenance.as_dict(), "registration": told, "result": result_of(found, tables, in_table)}
    write_json(folder / RECORD, record)
    reporter.progress("compare lakes", 4, 4)


def measure_registration(first: YearOfLakes, second: YearOfLakes) -> Registration:
    """Shift of the second year's images against the first's, over ground that both saw clear, with neither water nor snow.

    Patches lie fixed on the lattice and are tried in an order that their addresses alone decide, so neither tiles nor workers
    matter; which patches there are depends on the area of interest. At most `MAX_TRIES` patches are read, one at a time.

    Args:
        first: The earlier year.
        second: The later year.

    Returns:
        The shift; unknown where a stack is gone or there is too little ground.

    Raises:
        RasterError: If a stack is damaged.
    """
    years = (first, second)
    stacks = [results.stack for results in years if results.stack is not None]
    if len(stacks) < 2:
        return UNKNOWN
    classes = [results.zone_classes() for results in years]
    band = index_of_band(REGISTRATION_BAND)
    cells = {cell for cell in _cells_of(stacks[0]) & _cells_of(stacks[1]) if all(cell.epsg in each for each in classes)}
    measured = []
    for patch in patches_of_cells(cells)[:MAX_TRIES]:
        stable = np.ones(patch.shape, dtype=bool)
        for results, stack, zones in zip(years, stacks, classes, strict=True):
            condition = read_stack_layer(stack, "class", patch, tile_cells=results.tile_cells)[0]
            wet_dates = read_stack_layer(stack, "clear", patch, tile_cells=results.tile_cells)[_WATER_COUNT]
            stable &= (zones[patch.epsg].water(patch) == 0) & (condition == int(Condition.CLEAR)) & (wet_dates == 0)
        if not has_enough_ground(stable):
            continue
        images = [
            read_stack_layer(stack, "s2", patch, tile_cells=results.tile_cells)[band]
            for results, stack in zip(years, stacks, strict=True)
        ]
        shift = measure_patch(images[0], images[1], stable)
        if shift is not None:
            measured.append(shift)
        if len(measured) == MAX_PATCHES:
            break
    return combine_patches(measured)


def _cells_of(stack: Path) -> set[Cell]:
    """The cells that a stack holds, from the records of its tiles."""
    cells: set[Cell] = set()
    for path in stack.glob(f"*/*/{TILE_RECORD}"):
        record = read_json(path)
        if isinstance(record, dict):
            cells.update(Cell(int(record["epsg"]), *place) for place in record["inputs"].get("cells", []))
    return cells


def _tell_registrations(registrations: Mapping[tuple[int, int], Registration], reporter: Reporter) -> list[str]:
    """Note what was measured; returns what to warn of."""
    warnings = []
    for (year_from, year_to), shift in registrations.items():
        pair = f"{year_from}-{year_to}"
        if shift.length_m is None:
            reporter.note(
                f"{pair}: the shift between the images is unknown ({shift.n_patches} patches of stable ground)"
            )
            continue
        told = (
            f"{pair}: the images of {year_to} lie {shift.dx_m:+.1f} m east and {shift.dy_m:+.1f} m north of those of "
            f"{year_from} (+- {shift.sigma_m:.1f} m, {shift.n_patches} patches)"
        )
        reporter.note(told)
        if shift.length_m > WARN_M:
            warnings.append(f"{told}, more than half a pixel: look at gained and lost ground with care")
    return warnings


def _is_worth_moving(shift: Registration, model: UncertaintyModel) -> bool:
    """True if a shift is beyond its own error and beyond what the error model allows for anyway."""
    return shift.is_significant and shift.length_m is not None and shift.length_m > model.registration_m


def _take_out_shifts(
    found: ChangeTables, tables: Mapping[int, gpd.GeoDataFrame], moves: Mapping[tuple[int, int], Registration]
) -> ChangeTables:
    """Gained and lost ground anew for some pairs, with the later year's outlines moved onto the earlier year's images.

    Nothing else changes: a shift leaves the area of a whole outline as it is.
    """
    if not moves:
        return found
    pieces: dict[str, list[dict[str, Any]]] = {"gained": [], "lost": []}
    for row in found.change[found.change["status"] != str(Status.UNOBSERVED)].to_dict("records"):
        shift = moves.get((row["year_from"], row["year_to"]))
        if shift is None or shift.dx_m is None or shift.dy_m is None:
            continue
        before = _outlines_of(tables[row["year_from"]], row["lake_ids_from"], row["geometry"])
        after = _outlines_of(tables[row["year_to"]], row["lake_ids_to"], row["geometry"])
        add_pieces(pieces, row, before, move_outline(after, -shift.dx_m, -shift.dy_m))
    moved = {f"{a}-{b}" for a, b in moves}
    frames = {}
    for name, old in (("gained", found.gained), ("lost", found.lost)):
        kept = old[~old["pair"].isin(moved)].to_dict("records")
        frames[name] = as_piece_frame([*kept, *pieces[name]])
    return replace(found, gained=frames["gained"], lost=frames["lost"])


def _outlines_of(table: gpd.GeoDataFrame, ids: str, whole: BaseGeometry) -> BaseGeometry:
    """The outlines of a lake in one year as one geometry (EPSG:4326), empty without any.

    Args:
        table: Of the year.
        ids: Of its outlines, `;` between.
        whole: All outlines of the lake; tells outlines apart that share an id.
    """
    mine = table.geometry.to_numpy()[table["lake_id"].astype(str).isin(ids.split(";")).to_numpy()]
    return shapely.union_all(mine[shapely.intersects(mine, whole)])


class _Listening:
    """Hands everything on and remembers the warnings."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.warnings: list[str] = []

    def progress(self, task: str, done: int, total: int) -> None:
        self._reporter.progress(task, done, total)

    def note(self, message: str) -> None:
        self._reporter.note(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._reporter.warn(message)


def _comparison(years: Sequence[int], settings: ChangeSettings, model: UncertaintyModel) -> Comparison:
    return Comparison(
        years=tuple(years),
        confidence=settings.confidence,
        min_observed=settings.min_observed,
        max_day_difference=settings.max_day_difference,
        min_area_m2=settings.min_area_m2,
        model=model,
    )


def _plain(comparison: Comparison, settings: ChangeSettings) -> dict[str, Any]:
    """Plain data of all that changes a result; the watched file counts by its content."""
    plain = {name: value for name, value in settings.as_plain().items() if name != "watch"}
    return {**plain, "years": list(comparison.years), "uncertainty": comparison.model.as_dict()}


def _digest_of_file(path: Path | None) -> str | None:
    """SHA-256 of a file's bytes; None without a file."""
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path of the watched lakes") from error


def _warnings_of(opened: Mapping[int, YearOfLakes], min_area_m2: float) -> list[str]:
    """What the runs warned of, and how they differ."""
    warnings = [f"{year}: {text}" for year, results in opened.items() for text in results.warnings]
    for year, results in opened.items():
        if results.min_area_m2 > min_area_m2:
            warnings.append(
                f"{year}: lakes were mapped from {results.min_area_m2:g} m2 up, "
                f"so lakes from {min_area_m2:g} m2 may lack a row"
            )
    without = [str(year) for year, results in opened.items() if not results.radar_used]
    if 0 < len(without) < len(opened):
        warnings.append(
            f"radar was not used in {', '.join(without)}, but in the other years: part of a change may come from that"
        )
    return warnings


def _read_watched(path: Path) -> list[tuple[str, BaseGeometry]]:
    """Names and places (EPSG:4326) of the lakes that always get a row."""
    frame = read_layer(path)
    if frame.crs is None:
        raise DataError(f"{path} does not say its CRS", "save it as GeoPackage or GeoJSON with its CRS")
    places = shapely.force_2d(frame.to_crs(4326).geometry.to_numpy())
    label = next((name for name in frame.columns if str(name).lower() in _NAME_COLUMNS), None)
    names = (
        [f"watched {number + 1}" for number in range(len(frame))]
        if label is None
        else frame[label].astype(str).tolist()
    )
    return list(zip(names, places, strict=True))


def _is_same_registry(first: gpd.GeoDataFrame, second: gpd.GeoDataFrame) -> bool:
    """True if two registries hold the same keys, aliases and outlines."""
    if len(first) != len(second) or list(first["lake_key"]) != list(second["lake_key"]):
        return False
    return list(first["aliases"]) == list(second["aliases"])


def _files(folder: Path, comparison: Comparison) -> list[Path]:
    names = ["change.csv", "change.parquet", "change.gpkg", "change.png"]
    if len(comparison.years) > 2:
        names.append("series.csv")
    return [folder / name for name in names]


def _is_done(folder: Path, provenance: Provenance, comparison: Comparison) -> bool:
    return is_current(folder / RECORD, provenance, *_files(folder, comparison))

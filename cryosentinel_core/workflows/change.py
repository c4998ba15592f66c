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

from cryosentinel_core.change.change_table import Comparison, SeenBy, compare_years
from cryosentinel_core.change.lake_keys import Key, assign_keys
from cryosentinel_core.change.matching import add_watched, match_years
from cryosentinel_core.errors import DataError, InputError
from cryosentinel_core.io.tables.inventories import read_inventory
from cryosentinel_core.io.tables.registry import read_registry, write_registry
from cryosentinel_core.io.tables.vector import newest_date, read_layer, write_csv, write_geopackage, write_parquet
from cryosentinel_core.io.workspace import Workspace, is_current, remove_leftovers, translate_os_error, write_json
from cryosentinel_core.io.year_results import TrueColour, YearOfLakes, shared_error_model
from cryosentinel_core.lakes.observed import look_at_ground
from cryosentinel_core.lakes.tables import GroundSeen, Inventory
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.change_summary import RECORD, ChangeSummary, read_summary, result_of
from cryosentinel_core.report.picture import draw_change
from cryosentinel_core.reporter import Reporter
from cryosentinel_core.scenes.registration import Registration, registration_constants
from cryosentinel_core.segment.error_model import WATER_INDEX_ERRORS, UncertaintyModel
from cryosentinel_core.settings.change import ChangeSettings
from cryosentinel_core.workflows.image_shifts import (
    REGISTRATION_BAND,
    is_worth_moving,
    measure_registration,
    take_out_shifts,
    tell_registrations,
)

_NAME_COLUMNS: Final = ("name", "lake", "lake_name", "lake_key")
INVENTORY_MODEL: Final = replace(WATER_INDEX_ERRORS, registration_m=0.0, systematic_change_share=0.0)
"""For outlines that others drew: half a pixel along the perimeter is the whole error of a year."""


def change(
    workspace: Workspace,
    area_name: str,
    years: Sequence[int],
    model_name: str,
    settings: ChangeSettings,
    *,
    reporter: Reporter,
    uncertainty: UncertaintyModel | None = None,
) -> ChangeSummary:
    """Compare the lakes of some years that `predict` has found; kept if nothing changed since.

    Args:
        workspace: Where everything lies.
        area_name: Of the area of interest.
        years: Ascending and distinct, two or more.
        model_name: Of the results' folder: `water-index` or the weights' name and digest.
        settings: Of the comparison.
        reporter: Hears progress, notes and warnings.
        uncertainty: Constants of the error model; None for those that the years' lakes were found with.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a year's lakes are missing or damaged.
        OutputWrite: If the disk refuses.
    """
    opened = {year: YearOfLakes.open(workspace.model(area_name, year, model_name), year) for year in years}
    comparison = _comparison(years, settings, uncertainty or shared_error_model(opened))
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
    warnings += tell_registrations(registrations, reporter)
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
    moves = {pair: shift for pair, shift in measured.items() if is_worth_moving(shift, comparison.model)}
    found = take_out_shifts(found, tables, moves)
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

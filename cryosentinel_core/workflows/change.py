"""The corridor from lakes of several years to a change table: match, name, look at the ground, compare, draw, save.

How far the years' images lie apart is measured on their stacks, reported, and taken out of gained and lost ground; areas, their
uncertainty, statuses and lakes never depend on it.

Writes `<aoi>/change_<years>_<model>/`: `change.csv`, `change.parquet`, `change.gpkg` (layers `change`, `gained`, `lost`),
with three or more years `series.csv`, `change.png`, and last `change.json`, the record. `<aoi>/registry.gpkg` keeps the keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry.base import BaseGeometry

from cryosentinel_core.change.change_table import ComparisonBasis, compare_years
from cryosentinel_core.change.comparability import describe_differences, pairs_of_years
from cryosentinel_core.change.image_shifts import (
    REGISTRATION_BAND,
    describe_shifts,
    measure_registration,
    shifts_to_apply,
)
from cryosentinel_core.change.lake_keys import Key, assign_keys, is_same_registry, name_keys
from cryosentinel_core.change.matching import Match, add_watched, match_years, matches_in_table, rows_in_table
from cryosentinel_core.io.locks import hold_part
from cryosentinel_core.io.tables.inventories import digest_of_file, read_inventory, read_watched
from cryosentinel_core.io.tables.registry import read_registry, write_registry
from cryosentinel_core.io.tables.vector import newest_date, write_csv, write_geopackage, write_parquet
from cryosentinel_core.io.workspace import Workspace, is_current, remove_file, remove_leftovers, write_json
from cryosentinel_core.io.year_results import TrueColour, YearOfLakes, shared_error_model
from cryosentinel_core.lakes.observed import observe_ground
from cryosentinel_core.lakes.tables import GroundSeen, Inventory
from cryosentinel_core.lakes.uncertainty import INVENTORY_ERRORS
from cryosentinel_core.provenance import Provenance
from cryosentinel_core.report.change_summary import RECORD, ChangeSummary, counts_of_result, read_summary
from cryosentinel_core.report.picture import draw_change
from cryosentinel_core.reporter import Reporter, WarningKeeper
from cryosentinel_core.scenes.registration import Registration, registration_constants
from cryosentinel_core.segment.error_model import UncertaintyModel
from cryosentinel_core.settings.change import ChangeSettings

if TYPE_CHECKING:
    import geopandas as gpd
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    """Everything that is compared, read and checked.

    Attributes:
        folder: Folder of the results.
        registry: File of the lake keys.
        tables: Year -> outlines.
        in_table: Year -> (N,) bool, True for outlines that earn their lake a row.
        basis: How to compare, and what was seen.
        provenance: Provenance of the results.
        sources: Year -> true colour, as far as there is any.
        pixel_m: Side of the coarsest year's pixels.
        registrations: Pair of years -> shift of the later year's images.
    """

    folder: Path
    registry: Path
    tables: Mapping[int, gpd.GeoDataFrame]
    in_table: Mapping[int, NDArray[np.bool_]]
    basis: ComparisonBasis
    provenance: Provenance
    sources: Mapping[int, TrueColour] = field(default_factory=dict)
    pixel_m: float = 10.0
    registrations: Mapping[tuple[int, int], Registration] = field(default_factory=dict)


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
        workspace: Workspace of the area.
        area_name: Name of the area of interest.
        years: Ascending and distinct, two or more.
        model_name: Name of the results' folder: `water-index` or the weights' name and digest.
        settings: How to compare.
        reporter: Hears progress, notes and warnings.
        uncertainty: Constants of the error model; None for those that the years' lakes were found with.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a year's lakes are missing or damaged.
        OutputWrite: If the disk refuses.
        WorkspaceBusy: If another process goes on with the same comparison.
    """
    pairs = pairs_of_years(years)
    opened = {year: YearOfLakes.open(workspace.model(area_name, year, model_name), year) for year in years}
    model = uncertainty or shared_error_model(opened)
    folder = workspace.change(area_name, tuple(years), model_name)
    told = [f"{year}: {text}" for year, results in opened.items() for text in results.warnings]
    told += describe_differences(
        settings.min_area_m2,
        {year: results.min_area_m2 for year, results in opened.items()},
        {year: results.radar_used for year, results in opened.items()},
    )
    plain = {
        **_plain(years, settings, model),
        "aoi": area_name,
        "model": model_name,
        "registration": {"band": REGISTRATION_BAND, **registration_constants()},
    }
    inputs = {
        "years": {str(year): results.digest for year, results in opened.items()},
        "watch": digest_of_file(settings.watch),
    }

    def compare(provenance: Provenance) -> None:
        images = {year: results.image_readers() for year, results in opened.items()}
        measured = {pair: measure_registration(images[pair[0]], images[pair[1]]) for pair in pairs}
        notes, doubts = describe_shifts(measured)
        for note in notes:
            reporter.note(note)
        for warning in (*told, *doubts):
            reporter.warn(warning)
        read = {year: results.read_outlines() for year, results in opened.items()}
        zones = {year: results.zone_classes() for year, results in opened.items()}
        colours = {year: results.true_colour() for year, results in opened.items()}
        basis = ComparisonBasis(
            settings=settings,
            observe_ground=lambda ground, grow_px: observe_ground(zones, ground, grow_px),
            model=model,
            shifts=shifts_to_apply(measured, model.registration_m),
        )
        comparison = _Comparison(
            folder=folder,
            registry=workspace.registry(area_name),
            tables={year: table for year, (table, _) in read.items()},
            in_table={
                year: rows_in_table(table, settings.min_area_m2, is_lake) for year, (table, is_lake) in read.items()
            },
            basis=basis,
            provenance=replace(provenance, warnings=(*told, *doubts)),
            sources={year: colour for year, colour in colours.items() if colour is not None},
            registrations=measured,
        )
        _compare_and_write(comparison, reporter)

    provenance = Provenance(kind="change", settings=plain, inputs=inputs, warnings=tuple(told))
    return _compare_once(folder, years, model_name, provenance, compare, reporter)


def change_inventories(
    inventories: Sequence[Inventory], out_dir: Path, settings: ChangeSettings, *, reporter: Reporter
) -> ChangeSummary:
    """Compare inventories that others drew, with no imagery at all; all ground counts as observed.

    Args:
        inventories: Two or more, in ascending order of their years.
        out_dir: Folder of the results.
        settings: How to compare.
        reporter: Hears progress, notes and warnings.

    Raises:
        InputError: If the years are not ascending and distinct.
        DataError: If a file cannot be used.
        OutputWrite: If the disk refuses.
        WorkspaceBusy: If another process goes on with the same comparison.
    """
    years = [inventory.year for inventory in inventories]
    pairs_of_years(years)
    heard = WarningKeeper(reporter)
    tables = {inventory.year: read_inventory(inventory, heard) for inventory in inventories}
    inputs = {
        "inventories": {str(item.year): _plain_inventory(item, tables[item.year]) for item in inventories},
        "watch": digest_of_file(settings.watch),
    }
    provenance = Provenance(
        kind="change of inventories",
        settings=_plain(years, settings, INVENTORY_ERRORS),
        inputs=inputs,
        warnings=tuple(heard.warnings),
    )

    def observe(ground: BaseGeometry, grow_px: int) -> dict[int, GroundSeen]:
        return dict.fromkeys(years, GroundSeen(land=1))

    def compare(provenance: Provenance) -> None:
        comparison = _Comparison(
            folder=out_dir,
            registry=out_dir / "registry.gpkg",
            tables=tables,
            in_table={year: rows_in_table(table, settings.min_area_m2) for year, table in tables.items()},
            basis=ComparisonBasis(settings=settings, observe_ground=observe, model=INVENTORY_ERRORS),
            provenance=provenance,
            pixel_m=max(inventory.resolution_m for inventory in inventories),
        )
        _compare_and_write(comparison, reporter)

    return _compare_once(out_dir, years, "inventories", provenance, compare, reporter)


def _compare_once(
    folder: Path,
    years: Sequence[int],
    model_name: str,
    provenance: Provenance,
    compare: Callable[[Provenance], None],
    reporter: Reporter,
) -> ChangeSummary:
    """The summary of a comparison, made now unless it is there already; another process that makes it is waited for."""

    def is_done() -> bool:
        return is_current(folder / RECORD, provenance, *_files(folder, years))

    is_reused = is_done()
    if not is_reused:
        with hold_part(folder, f"change {' '.join(map(str, years))} in {folder.parent.name}", reporter):
            is_reused = is_done()
            if not is_reused:
                compare(provenance)
    if is_reused:
        reporter.note(f"the change table is there already, in {folder}")
    return read_summary(folder, tuple(years), model_name, is_reused=is_reused)


def _compare_and_write(this: _Comparison, reporter: Reporter) -> None:
    """Match, name, compare and write; the record comes last."""
    remove_leftovers(this.folder)
    remove_file(this.folder / RECORD)
    reporter.progress("compare lakes", 0, 4)
    kept, keys = _name_lakes(this, reporter)
    reporter.progress("compare lakes", 1, 4)
    found = compare_years(this.tables, kept, keys, this.basis)
    reporter.progress("compare lakes", 2, 4)
    write_csv(this.folder / "change.csv", found.change)
    write_parquet(this.folder / "change.parquet", found.change, provenance=this.provenance)
    layers = {"change": found.change, "gained": found.gained, "lost": found.lost}
    stamp = newest_date(this.tables.values())
    write_geopackage(this.folder / "change.gpkg", layers, provenance=this.provenance, stamp=stamp)
    if len(this.tables) > 2:
        write_csv(this.folder / "series.csv", found.series)
    reporter.progress("compare lakes", 3, 4)
    title, min_observed = this.provenance.settings.get("aoi", ""), this.basis.settings.min_observed
    draw_change(this.folder / "change.png", found, this.tables, this.sources, min_observed=min_observed, title=title)
    record = {
        **this.provenance.as_dict(),
        "registration": {
            f"{a}-{b}": {**shift.as_dict(), "is_applied": (a, b) in this.basis.shifts}
            for (a, b), shift in this.registrations.items()
        },
        "result": counts_of_result(found, this.tables, this.in_table),
    }
    write_json(this.folder / RECORD, record)
    reporter.progress("compare lakes", 4, 4)


def _name_lakes(this: _Comparison, reporter: Reporter) -> tuple[list[Match], list[Key]]:
    """The lakes of the table and their keys; the registry learns those that are new."""
    settings = this.basis.settings
    matches = match_years(this.tables, pixel_m=this.pixel_m)
    watched = read_watched(settings.watch) if settings.watch is not None else []
    kept, names = add_watched(matches_in_table(matches, this.in_table), matches, this.tables, watched)
    with hold_part(this.registry, f"change {' '.join(map(str, this.tables))}", reporter):
        registry = read_registry(this.registry)
        keys, extended = assign_keys(
            kept, this.tables, registry, min_area_m2=settings.min_area_m2, pixel_m=this.pixel_m
        )
        if not this.registry.exists() or not is_same_registry(extended, registry):
            write_registry(this.registry, extended)
    return kept, name_keys(keys, names)


def _plain(years: Sequence[int], settings: ChangeSettings, model: UncertaintyModel) -> dict[str, Any]:
    """Plain data of all that changes a result; the watched file counts by its content."""
    plain = {name: value for name, value in settings.as_plain().items() if name != "watch"}
    return {**plain, "years": list(years), "uncertainty": model.as_dict()}


def _plain_inventory(inventory: Inventory, table: gpd.GeoDataFrame) -> dict[str, Any]:
    """Plain data of an inventory; its outlines count by their digest."""
    outlines = b"".join(shapely.to_wkb(table.geometry.to_numpy()))
    return {
        "file": Path(inventory.path).name,
        "resolution_m": inventory.resolution_m,
        "select": list(inventory.select or ()),
        "outlines": hashlib.sha256(outlines).hexdigest(),
    }


def _files(folder: Path, years: Sequence[int]) -> list[Path]:
    """The results without their record."""
    names = ["change.csv", "change.parquet", "change.gpkg", "change.png", *(["series.csv"] if len(years) > 2 else [])]
    return [folder / name for name in names]

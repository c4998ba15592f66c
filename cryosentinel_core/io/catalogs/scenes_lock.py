"""The lock of a year: which scenes go into its stack, as `scenes.json` says it.

A STAC ItemCollection of the chosen items, whose member `cryosentinel` holds the selection's settings and, for each lattice tile,
the items of each role. `workflows.scene_plan` fills it; `workflows.stacking` reads the scenes that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.io.catalogs.search import resolve_reference
from cryosentinel_core.io.workspace import read_json
from cryosentinel_core.scenes.items import scene_of_item
from cryosentinel_core.scenes.scene import Role, Scene
from cryosentinel_core.scenes.selection import Rejection
from cryosentinel_core.settings.fetch import FetchSettings

LOCK_VERSION: Final = 1
ROLES: Final[tuple[Role, ...]] = ("optical", "radar", "terrain")


@dataclass
class Lock:
    """Lock of one year: the scenes that go into its stack.

    Attributes:
        year: Calendar year.
        selection: Settings that chose it, as plain data.
        items: Role -> key -> item as it stands in `scenes.json`.
        tiles: Lattice tile -> role -> keys, in order.
        notes: Lattice tile -> role -> the season used, or the radar geometry.
        unanswered: Lattice tile -> role that no catalogue could be asked for -> why; the next run asks again.
        rejected: Key -> why a scene that was considered is not in.
    """

    year: int
    selection: dict[str, Any]
    items: dict[Role, dict[str, dict[str, Any]]] = field(default_factory=lambda: {role: {} for role in ROLES})
    tiles: dict[Tile, dict[Role, tuple[str, ...]]] = field(default_factory=dict)
    notes: dict[Tile, dict[Role, str]] = field(default_factory=dict)
    unanswered: dict[Tile, dict[Role, str]] = field(default_factory=dict)
    rejected: dict[str, Rejection] = field(default_factory=dict)

    def scenes_of(self, tile: Tile, role: Role) -> tuple[Scene, ...]:
        """The scenes of a role for a lattice tile."""
        keys = self.tiles.get(tile, {}).get(role, ())
        return tuple(scene_of_item(self.items[role][key], role, "/") for key in keys)

    @property
    def product(self) -> str | None:
        """The optical collection, as `archive/collection`."""
        return self.selection.get("product")

    def lacking(self, role: Role, tiles: Iterable[Tile]) -> tuple[Tile, ...]:
        """Tiles for which a role is still to be asked for: those without optical scenes, and those that nobody answered for."""
        return tuple(
            tile
            for tile in tiles
            if not self.tiles.get(tile, {}).get("optical") or role in self.unanswered.get(tile, {})
        )

    def orbit_of(self, tile: Tile) -> str | None:
        """The radar geometry of a lattice tile."""
        return self.notes.get(tile, {}).get("radar") or None

    def to_json(self) -> dict[str, Any]:
        """Plain data as it stands in `scenes.json`."""
        used = {role: {key for tile in self.tiles.values() for key in tile.get(role, ())} for role in ROLES}
        features = [self.items[role][key] for role in ROLES for key in sorted(used[role])]
        tiles: dict[str, dict[str, Any]] = {}
        for tile in sorted(self.tiles):
            entry: dict[str, Any] = {role: list(self.tiles[tile].get(role, ())) for role in ROLES}
            entry["notes"] = dict(self.notes.get(tile, {}))
            if self.unanswered.get(tile):
                entry["unanswered"] = dict(self.unanswered[tile])
            tiles.setdefault(str(tile.epsg), {})[tile.name] = entry
        return {
            "type": "FeatureCollection",
            "features": features,
            "cryosentinel": {
                "version": LOCK_VERSION,
                "year": self.year,
                "selection": self.selection,
                "tiles": tiles,
                "rejected": {key: asdict(why) for key, why in self.rejected.items()},
            },
        }


def read_lock(path: Path) -> Lock | None:
    """The lock of a file; None if there is none.

    Raises:
        InputError: If the file is no lock of ours, or damaged.
    """
    if not path.exists():
        return None
    data = read_json(path)
    try:
        own = data["cryosentinel"]
        if own["version"] != LOCK_VERSION:
            raise KeyError("version")
        lock = Lock(year=int(own["year"]), selection=dict(own["selection"]), rejected=_rejections(own["rejected"]))
        by_key = {f"{item['collection']}/{item['id']}": item for item in data["features"]}
        for epsg, tiles in own["tiles"].items():
            for name, entry in tiles.items():
                tile = Tile.from_name(int(epsg), name)
                lock.tiles[tile] = {role: tuple(entry[role]) for role in ROLES}
                lock.notes[tile] = dict(entry["notes"])
                if entry.get("unanswered"):
                    lock.unanswered[tile] = dict(entry["unanswered"])
                for role in ROLES:
                    lock.items[role].update({key: by_key[key] for key in entry[role]})
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise InputError(
            f"{path} is damaged or of another version ({error!r})", "search again with --refresh"
        ) from error
    return lock


def _rejections(data: Mapping[str, Any]) -> dict[str, Rejection]:
    """Reasons of a lock; those of an early version are sentences without a kind."""
    return {key: Rejection("unknown", why) if isinstance(why, str) else Rejection(**why) for key, why in data.items()}


def selection_of(settings: FetchSettings) -> dict[str, Any]:
    """The settings that choose scenes, as plain data; catalogues as names, URLs or absolute paths, or None for the default."""
    return {
        "season": settings.season,
        "october_fallback": settings.october_fallback,
        "max_cloud": settings.max_cloud,
        "optical": reference_of(settings.optical or settings.catalog),
        "radar": "none" if settings.radar == "none" else reference_of(settings.radar or settings.catalog),
        "terrain": reference_of(settings.terrain or settings.catalog),
        "allow_mixed": settings.allow_mixed,
    }


def reference_of(asked: str | None) -> str | None:
    """A catalogue as one string that means the same from any folder; None for the default."""
    return None if asked is None else resolve_reference(asked)


def differences_of(selection: Mapping[str, Any], settings: FetchSettings) -> dict[str, tuple[Any, Any]]:
    """Settings asked for explicitly that a lock was not made with: name -> (recorded, asked)."""
    asked = selection_of(settings)
    default = selection_of(FetchSettings())
    found = {}
    for name, value in asked.items():
        always = name == "season" or (name == "radar" and selection.get("radar") == "none")
        if (
            selection.get(name) != value
            and (always or value != default[name])
            and not (name == "radar" and value == "none")
        ):
            found[name] = (selection.get(name), value)
    return found

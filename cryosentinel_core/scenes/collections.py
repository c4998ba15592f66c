"""Choice of one optical collection for an area and all its years, so that years stay comparable.

Pure functions on what the catalogues had. Neighbours: `selection` chooses among the scenes of one collection, `scene_search` asks
the catalogues, the lock keeps the collection's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryosentinel_core.ground.lattice import Tile
from cryosentinel_core.scenes.scene import Scene
from cryosentinel_core.scenes.selection import Choice, SelectionRules, select_optical

ENOUGH_SCENES: Final = 3
"""A tile with fewer scenes in a year counts as thinly covered: a median of two is none."""

TileYear = tuple[int, Tile]
"""Calendar year and lattice tile."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Candidate collection: the scenes that it has for some tiles and years.

    Attributes:
        product: Row of the provider table, as `archive/collection`.
        choices: Its scenes by year and tile.
    """

    product: str
    choices: Mapping[TileYear, Choice]

    @property
    def coverage(self) -> float:
        """Share of tiles and years that have at least one scene; 1 if there are none."""
        return self._share_with(1)

    @property
    def dense_coverage(self) -> float:
        """Share of tiles and years that have at least `ENOUGH_SCENES`."""
        return self._share_with(ENOUGH_SCENES)

    def _share_with(self, n: int) -> float:
        if not self.choices:
            return 1.0
        return sum(len(choice.scenes) >= n for choice in self.choices.values()) / len(self.choices)


@dataclass(frozen=True, kw_only=True)
class CollectionChoice:
    """The scenes of the chosen collection.

    Attributes:
        product: Its name; None if no collection had anything.
        choices: Scenes by year and tile.
        warnings: What the reader of a result should know.
    """

    product: str | None
    choices: Mapping[TileYear, Choice]
    warnings: tuple[str, ...] = ()


def candidates_of(
    scenes: Sequence[Scene], wanted: Sequence[TileYear], rules: SelectionRules, preference: Sequence[str]
) -> list[Candidate]:
    """One candidate for each collection among some scenes, in order of preference.

    Args:
        scenes: Of one catalogue.
        wanted: Years and tiles.
        rules: What may go in.
        preference: Names of collections, best first; others follow by name.
    """
    by_product: dict[str, list[Scene]] = {}
    for scene in scenes:
        by_product.setdefault(scene.product, []).append(scene)
    rank = {name: number for number, name in enumerate(preference)}
    names = sorted(by_product, key=lambda name: (rank.get(name, len(rank)), name))
    return [
        Candidate(
            product=name,
            choices={(year, tile): select_optical(tile, by_product[name], year, rules) for year, tile in wanted},
        )
        for name in names
    ]


def choose_collection(
    candidates: Sequence[Candidate], wanted: Sequence[TileYear], *, kept: str | None, allow_mixed: bool
) -> CollectionChoice:
    """The collection with most tiles and years covered, then with most of them densely, then the first.

    Args:
        candidates: In order of preference.
        wanted: Years and tiles.
        kept: Collection that an earlier fetch of this area used: it stays, so that years compare, unless mixing is allowed.
        allow_mixed: Fill what the chosen collection lacks from the others.
    """
    if not candidates:
        return CollectionChoice(product=None, choices={key: Choice() for key in wanted})
    ranked = sorted(candidates, key=lambda one: (-one.coverage, -one.dense_coverage))
    if kept is not None and not allow_mixed:
        ranked = [one for one in ranked if one.product == kept] or ranked
    best, warnings = ranked[0], []
    choices = dict(best.choices)
    if kept is not None and best.product != kept:
        warnings.append(
            f"earlier years came from {kept}, which has nothing here; {best.product} is used: years may not compare"
        )
    for other in ranked[1:] if allow_mixed else []:
        for (year, tile), choice in other.choices.items():
            if not choices[year, tile].scenes and choice.scenes:
                choices[year, tile] = choice
                warnings.append(f"{year}: tile {tile.name} comes from {other.product}, others from {best.product}")
    return CollectionChoice(product=best.product, choices=choices, warnings=tuple(warnings))

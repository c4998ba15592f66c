"""Where label, network and water index disagree, chip by chip: the labels that a person should look at first.

A label and a network that differ leave ground in doubt; where MNDWI, which has seen neither labels nor weights, sides with the
network, the label is the likelier culprit. Snow looks like water to MNDWI, so that it never casts a doubt by itself. Neighbours:
`corrections` holds what a person then decides; `report.audit_panels` draws.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryosentinel_core.chips.chip import Chip
from cryosentinel_core.chips.metrics import logit_of
from cryosentinel_core.chips.sanity import MNDWI_WATER
from cryosentinel_core.chips.scores import ChipFacts
from cryosentinel_core.segment.water_spectra import normalised_difference
from cryosentinel_core.stack.bands import index_of_band
from cryosentinel_core.units import PIXEL_M

AUDIT_COLUMNS: Final = ("doubt_m2", "against_label_m2", "label_only_m2", "network_only_m2", "lat", "lon", "rank")
"""Of the table, behind those of corrections."""

_TRUE_COLOUR: Final = ("B04", "B03", "B02")


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditedChip:
    """One chip in doubt, with what its picture shows.

    Attributes:
        facts: Of the chip.
        doubt_m2: Valid ground on which label and network differ.
        against_label_m2: The part of it on which MNDWI sides with the network.
        label_only_m2: Water by the label alone.
        network_only_m2: Water by the network alone.
        colour: (3, H, W) float32 reflectance of red, green and blue.
        label: (H, W) bool.
        probability: (H, W) float32 of the network.
        mndwi: (H, W) float32.
        valid: (H, W) bool, True where the chip was judged.
    """

    facts: ChipFacts
    doubt_m2: float
    against_label_m2: float
    label_only_m2: float
    network_only_m2: float
    colour: NDArray[np.float32] = field(repr=False)
    label: NDArray[np.bool_] = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)
    mndwi: NDArray[np.float32] = field(repr=False)
    valid: NDArray[np.bool_] = field(repr=False)

    def row(self, rank: int) -> dict[str, Any]:
        """Its row of the table for a person to fill in."""
        return {
            "chip_id": self.facts.chip_id,
            "region": self.facts.region,
            "year": self.facts.year,
            "verdict": "",
            "note": "",
            "lat": self.facts.lat,
            "lon": self.facts.lon,
            "rank": rank,
            **{name: getattr(self, name) for name in AUDIT_COLUMNS[:4]},
        }


def audit_chip(chip: Chip, logits: NDArray[np.float32], facts: ChipFacts, threshold: float) -> AuditedChip:
    """What of a chip is in doubt.

    Args:
        chip: With a label.
        logits: (H, W) float32 of the network.
        facts: Of the chip.
        threshold: Probability from which a pixel is water.

    Raises:
        ValueError: If the chip has no label.
    """
    if chip.label is None:
        raise ValueError(f"chip {chip.name.chip_id} has no label")
    optical = chip.batch.s2[0].astype(np.float32)
    mndwi = normalised_difference(optical[index_of_band("B03")], optical[index_of_band("B11")])
    answer = logits >= logit_of(threshold)
    differs = chip.measured & (answer != chip.label)
    against = differs & ((mndwi > MNDWI_WATER) == answer)
    pixel_m2 = float(PIXEL_M * PIXEL_M)

    def area(mask: NDArray[np.bool_]) -> float:
        return float(np.count_nonzero(mask)) * pixel_m2

    return AuditedChip(
        facts=facts,
        doubt_m2=area(differs),
        against_label_m2=area(against),
        label_only_m2=area(differs & chip.label),
        network_only_m2=area(differs & answer),
        colour=optical[[index_of_band(name) for name in _TRUE_COLOUR]] / np.float32(10_000),
        label=chip.label,
        probability=np.asarray(1.0 / (1.0 + np.exp(-logits)), dtype=np.float32),
        mndwi=mndwi,
        valid=chip.measured,
    )


class DoubtList:
    """The chips with most ground in doubt; memory holds those alone.

    Args:
        n_most: How many.
    """

    def __init__(self, n_most: int) -> None:
        self._n_most = n_most
        self._heap: list[tuple[float, float, int, AuditedChip]] = []
        self.n_seen = self.n_in_doubt = 0

    def add(self, chip: AuditedChip) -> None:
        """Take a chip in, if it is among the most doubtful so far."""
        self.n_seen += 1
        if not chip.doubt_m2:
            return
        self.n_in_doubt += 1
        # Ties go to the chip that came first.
        heapq.heappush(self._heap, (chip.doubt_m2, chip.against_label_m2, -self.n_seen, chip))
        if len(self._heap) > self._n_most:
            heapq.heappop(self._heap)

    def ranked(self) -> list[AuditedChip]:
        """The chips, most ground in doubt first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: entry[:3], reverse=True)]

"""Constants that more than one room needs, each with its unit and source. Imports nothing from here."""

from __future__ import annotations

from typing import Final

PIXEL_M: Final = 10
"""Side of a lattice pixel in metres (the finest bands of Sentinel-2)."""

CELL_PX: Final = 224
"""Side of a cell, of a chip and of a network window in pixels (TerraMind's pretraining size)."""

CELL_M: Final = PIXEL_M * CELL_PX
"""Side of a cell in metres: 2,240."""

TILE_CELLS: Final = 10
"""Cells along the side of a tile of the lattice."""

TILE_PX: Final = TILE_CELLS * CELL_PX
"""Side of a lattice tile in pixels: 2,240."""

STRIDE_OF_OVERLAP: Final[dict[float, int]] = {0.0: 224, 0.5: 112, 0.75: 56}
"""Window stride in pixels for each overlap that is allowed; no other keeps windows on the lattice."""

REFLECTANCE_SCALE: Final = 10_000
"""Stored Sentinel-2 number of a reflectance of 1 (Sentinel-2 Products Specification Document, L2A)."""

BOA_ADD_OFFSET: Final = 1_000
"""What L2A numbers carry on top from processing baseline 04.00 on (Sentinel-2 PSD 14.9, BOA_ADD_OFFSET = -1000)."""

LOGIT_STEP: Final = 0.001
"""Logit of one count in stored int16 logits."""

LOGIT_CLIP: Final = 16.0
"""Stored logits are clipped to plus or minus this."""

LOGIT_NODATA: Final = -32_768
"""Stored logit of a pixel that was not observed."""

SPREAD_STEP: Final = 0.001
"""Logit of one count in stored uint16 spreads."""

SPREAD_NODATA: Final = 65_535
"""Stored spread of a pixel that was not observed; larger spreads than the count before it are stored as that one."""

PROBABILITY_SCALE: Final = 200
"""Stored uint8 number of a probability of 1."""

PROBABILITY_NODATA: Final = 255
"""Stored probability of a pixel that was not observed."""

MIN_CANDIDATE_PX: Final = 10
"""Components under this many pixels are noise and not kept at all."""

MIN_AREA_M2: Final = 5_000.0
"""Default smallest lake in a table: 0.5 ha, about 50 px, below which the published model is not for use."""

CONFIDENCE: Final = 0.95
"""Default confidence of intervals and of the significance of a change."""

MIN_OBSERVED: Final = 0.95
"""Default share of a lake's ground that must be seen in a year for its area to count."""

HECTARE_M2: Final = 10_000.0
"""Square metres in a hectare."""

BF16_TOLERANCE: Final = 0.03
"""Largest root mean square error of bf16 for which `--precision auto` takes it, as a share of the logits' standard deviation."""

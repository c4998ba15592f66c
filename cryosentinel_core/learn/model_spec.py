"""Description of a network without torch: architecture, normalisation, and the constants of the published weights.

Anything that reads or writes checkpoints, runs a network or trains one agrees on these nouns; the tensors themselves
live in `learn` and `io.weights.checkpoint`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryosentinel_core.errors import ModelError
from cryosentinel_core.stack.bands import S1_NAMES, S2_NAMES
from cryosentinel_core.stack.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

MODALITIES: Final[tuple[str, ...]] = ("S2L2A", "S1GRD", "DEM")
"""Modalities of a chip in the order in which their tokens enter the encoder."""

BANDS_OF_MODALITY: Final[dict[str, tuple[str, ...]]] = {"S2L2A": S2_NAMES, "S1GRD": S1_NAMES, "DEM": ("DEM",)}
"""Bands of each modality, in order."""

PATCH_PX: Final = 16
"""Side of a TerraMind patch in pixels."""

PUBLISHED_MODEL: Final = (
    "hf://abzal-glw/cryosentinel-terramind-v3/terramind_v3_finetune_almaty_v2/checkpoints/soup.ckpt"
)
"""Reference of the published weights, the default of `--model`."""

S2_CLIP: Final = (0.0, 16_000.0)
"""Sentinel-2 numbers are clipped to this range before they are standardised."""

DEM_CLIP_M: Final = (-500.0, 9_000.0)
"""Elevations in metres are clipped to this range before they are standardised; missing ones take its lower end."""

S1_FILL_DB: Final = -25.0
"""Value in dB that stands for a radar pixel that is not a number."""

S1_FILL_HIGH_DB: Final = 5.0
"""What positive infinity becomes in radar, dB."""

S1_FILL_LOW_DB: Final = -30.0
"""What negative infinity becomes in radar, dB."""


@dataclass(frozen=True, kw_only=True)
class BackboneShape:
    """Size of one TerraMind encoder: depth in blocks, token width, heads, and whether it is of the gated kind."""

    depth: int
    width: int
    heads: int
    gated: bool

    @property
    def neck_indices(self) -> tuple[int, ...]:
        """Blocks whose tokens the decoder sees: the ends of four equal stretches, from 0."""
        quarter = self.depth // 4
        return tuple(quarter * (i + 1) - 1 for i in range(4))


BACKBONES: Final[dict[str, BackboneShape]] = {
    "terramind_v1_tiny": BackboneShape(depth=12, width=192, heads=3, gated=False),
    "terramind_v1_small": BackboneShape(depth=12, width=384, heads=6, gated=False),
    "terramind_v1_base": BackboneShape(depth=12, width=768, heads=12, gated=True),
    "terramind_v1_large": BackboneShape(depth=24, width=1024, heads=16, gated=True),
}
"""Encoders that can be built (Jakubik et al. 2025, TerraMind; shapes as in terratorch 1.2.11)."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Architecture of a network: everything needed to build it empty.

    Attributes:
        backbone: A key of `BACKBONES`.
        modalities: Subset of `MODALITIES` in their order; S2L2A is always there.
        decoder_channels: Width of the UperNet decoder.
        scale_modules: Whether the decoder has its own pyramid on top of the neck's (the published weights do).
        neck_indices: Four encoder blocks, counted from 0, ascending; empty means the backbone's own.
    """

    backbone: str = "terramind_v1_large"
    modalities: tuple[str, ...] = MODALITIES
    decoder_channels: int = 256
    scale_modules: bool = True
    neck_indices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ModelError(f"unknown backbone {self.backbone!r}", f"backbones are {', '.join(BACKBONES)}")
        wanted = tuple(name for name in MODALITIES if name in self.modalities)
        if self.modalities != wanted or "S2L2A" not in wanted:
            raise ModelError(
                f"modalities {self.modalities} are not a subset of {MODALITIES} in that order with S2L2A",
                "give the modalities that the weights were trained with",
            )
        if self.decoder_channels < 1:
            raise ModelError(f"decoder_channels is {self.decoder_channels}, wanted at least 1")
        if not self.neck_indices:
            object.__setattr__(self, "neck_indices", self.shape.neck_indices)
        ascending = all(a < b for a, b in zip(self.neck_indices, self.neck_indices[1:], strict=False))
        if (
            len(self.neck_indices) != 4
            or not ascending
            or not 0 <= self.neck_indices[0] <= self.neck_indices[-1] < (self.shape.depth)
        ):
            raise ModelError(
                f"neck_indices {self.neck_indices} are not four ascending blocks of {self.backbone}",
                f"blocks run from 0 to {self.shape.depth - 1}",
            )

    @property
    def shape(self) -> BackboneShape:
        """Depth, width and heads of the backbone."""
        return BACKBONES[self.backbone]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, to be stored beside the weights."""
        return {
            "backbone": self.backbone,
            "modalities": list(self.modalities),
            "decoder": "UperNetDecoder",
            "decoder_channels": self.decoder_channels,
            "decoder_scale_modules": self.scale_modules,
            "neck_indices": list(self.neck_indices),
        }


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """Mean and standard deviation of each band of one modality, in the units that chips are stored in."""

    means: tuple[float, ...]
    stds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.means) != len(self.stds):
            raise ModelError(f"{len(self.means)} means but {len(self.stds)} standard deviations")
        if not all(math.isfinite(v) for v in self.means + self.stds) or not all(v > 0 for v in self.stds):
            raise ModelError(
                f"band statistics are not finite with positive deviations: means {self.means}, stds {self.stds}",
                "make them again with `cryosentinel chips stats`",
            )


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Statistics that chips are standardised with: `(x - mean) / std` per band.

    Attributes:
        s2: 12 bands, reflectance x 10,000.
        s1: VV and VH, dB.
        dem: One band, metres.
    """

    s2: BandStatistics
    s1: BandStatistics
    dem: BandStatistics

    def __post_init__(self) -> None:
        for name, bands in zip(MODALITIES, (self.s2, self.s1, self.dem), strict=True):
            wanted = len(BANDS_OF_MODALITY[name])
            if len(bands.means) != wanted:
                raise ModelError(f"statistics of {name} have {len(bands.means)} bands, wanted {wanted}")

    @classmethod
    def from_dict(cls, stats: Mapping[str, Any]) -> Normalisation:
        """Statistics from the published JSON shape `{"S2L2A": {"means": [...], "stds": [...]}, ...}`.

        Args:
            stats: One entry for each of `MODALITIES`.

        Raises:
            ModelError: If a modality or a list is missing, of the wrong length or not numbers.
        """
        parts: list[BandStatistics] = []
        for name in MODALITIES:
            try:
                means = tuple(float(v) for v in stats[name]["means"])
                stds = tuple(float(v) for v in stats[name]["stds"])
            except (KeyError, TypeError, ValueError) as error:
                raise ModelError(
                    f"statistics of {name} cannot be read: {error!r}",
                    'wanted {"S2L2A": {"means": [12], "stds": [12]}, "S1GRD": {...2}, "DEM": {...1}}',
                ) from error
            parts.append(BandStatistics(means=means, stds=stds))
        return cls(s2=parts[0], s1=parts[1], dem=parts[2])

    def to_dict(self) -> dict[str, dict[str, list[float]]]:
        """The published JSON shape, as `from_dict` reads it."""
        return {
            name: {"means": list(bands.means), "stds": list(bands.stds)}
            for name, bands in zip(MODALITIES, (self.s2, self.s1, self.dem), strict=True)
        }


PUBLISHED_NORMALISATION: Final = Normalisation(
    s2=BandStatistics(
        means=(857.6, 1044.0, 1356.7, 1574.4, 1786.2, 2076.5, 2215.2, 2277.8, 2348.5, 2243.7, 2665.0, 2217.2),
        stds=(626.3, 709.2, 748.7, 825.5, 773.5, 786.1, 810.8, 834.9, 833.6, 729.6, 875.7, 851.3),
    ),
    s1=BandStatistics(means=(-9.25, -18.00), stds=(5.90, 5.92)),
    dem=BandStatistics(means=(4299.8,), stds=(901.0,)),
)
"""Statistics of the published training split (`dataset_stats_v3.json`), which the published weights expect."""

PUBLISHED_RECIPE: Final = Recipe(
    composite="unknown",
    season="07-01:09-30",
    radar="sigma0-tc",
    radar_filter="lee5",
    offset="unknown",
    resampling="unknown",
)
"""Recipe of the stacks of the published weights, as far as it was told: radar as sigma nought, terrain corrected,
Lee 5 x 5; whether the optical part is one date or a composite is told both ways, and the +1000 offset nowhere."""

PRETRAINING_NORMALISATION: Final = Normalisation(
    s2=BandStatistics(
        means=(
            1390.458, 1503.317, 1718.197, 1853.910, 2199.100, 2779.975,
            2987.011, 3083.234, 3132.220, 3162.988, 2424.884, 1857.648,
        ),
        stds=(
            2106.761, 2141.107, 2038.973, 2134.138, 2085.321, 1889.926,
            1820.257, 1871.918, 1753.829, 1797.379, 1434.261, 1334.311,
        ),
    ),
    s1=BandStatistics(means=(-12.599, -20.293), stds=(5.195, 5.890)),
    dem=BandStatistics(means=(670.665,), stds=(951.272,)),
)  # fmt: skip
"""TerraMind's own pretraining statistics (Jakubik et al. 2025), for a fine-tune that starts without a data set's own."""


def choose_modalities(trained: tuple[str, ...], asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """The modalities to look at, in the order of those that the weights were trained with.

    Args:
        trained: Of the weights.
        asked: Some of them; None for all.

    Raises:
        ModelError: If one is not among them, or the optical one is left out.
    """
    if asked is None:
        return trained
    unknown = [name for name in asked if name not in trained]
    if unknown or "S2L2A" not in asked:
        said = f"no modality {', '.join(unknown)} in the weights" if unknown else f"modalities {', '.join(asked)}"
        raise ModelError(said, f"choose of {', '.join(trained)}; S2L2A must be among them")
    return tuple(name for name in trained if name in asked)

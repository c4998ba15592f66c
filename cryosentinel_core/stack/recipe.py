"""How a stack was made, so that weights can say which stack they want and a result can say which it got."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from cryosentinel_core.errors import ConfigError
from cryosentinel_core.ground.season import Season

Composite = Literal["median", "best", "unknown"]
RadarKind = Literal["gamma0-rtc", "sigma0-tc", "none", "unknown"]
RadarFilter = Literal["lee5", "none", "unknown"]
OffsetState = Literal["removed", "unknown"]

STACK_VERSION: Final = 2
"""Raised whenever the code that makes stacks changes what they hold."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What was done to the archives' pixels to make a stack.

    Attributes:
        composite: `median` of the clear observations, or the `best` single date.
        season: First to last day, as `07-01:09-30`.
        radar: Backscatter coefficient of the S1 part (dB), or `none`.
        radar_filter: Speckle filter in linear power: `lee5` (Lee 1980, 5 x 5) or `none`.
        offset: `removed` if the +1000 of baseline 04.00 is taken off wherever it was on.
        resampling: Of reflectance, radar and terrain; class bands are always nearest.
        version: Of the code that makes stacks.
    """

    composite: Composite = "median"
    season: str = "07-01:09-30"
    radar: RadarKind = "gamma0-rtc"
    radar_filter: RadarFilter = "lee5"
    offset: OffsetState = "removed"
    resampling: Literal["bilinear", "unknown"] = "bilinear"
    version: int = STACK_VERSION

    def __post_init__(self) -> None:
        for name, allowed in (
            ("composite", Composite),
            ("radar", RadarKind),
            ("radar_filter", RadarFilter),
            ("offset", OffsetState),
        ):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(
                    f"recipe: {name} is {getattr(self, name)!r}", f"it can be {', '.join(get_args(allowed))}"
                )
        if self.season != "unknown":
            Season.parse(self.season)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON and GeoTIFF tags."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """The recipe of `as_dict`'s data; unknown keys are refused.

        Raises:
            ConfigError: On a key or value that no recipe has.
        """
        names = {field.name for field in fields(cls)}
        extra = sorted(set(data) - names)
        if extra:
            raise ConfigError(f"recipe: unknown keys {', '.join(extra)}", f"known are {', '.join(sorted(names))}")
        return replace(cls(), **data)

    @property
    def digest(self) -> str:
        """First 8 hex digits of the SHA-256 of the canonical JSON: names the stack's folder."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def differences(self, wanted: Recipe) -> list[str]:
        """What this recipe does otherwise than the one wanted, in words; where the wanted one says unknown, that.

        Args:
            wanted: The recipe that weights were trained on.
        """
        found = []
        for field in fields(self):
            if field.name == "version":
                continue
            have, want = getattr(self, field.name), getattr(wanted, field.name)
            if want == "unknown":
                found.append(f"{field.name}: {have}, the weights' is unknown")
            elif have != want:
                found.append(f"{field.name}: {have}, the weights were trained on {want}")
        return found

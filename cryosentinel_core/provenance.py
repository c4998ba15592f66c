"""Where a value came from: what every result carries so that a number leads back to pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryosentinel_core import __version__

ALGORITHM_VERSIONS: Final[Mapping[str, int]] = {
    "stack tile": 1,
    "logits of a tile": 1,
    "lakes": 2,
    "chip": 1,
    "lakes of chips": 2,
    "change": 3,
    "change of inventories": 3,
}
"""Kind of result -> version of the code that makes it: raised whenever that code changes what comes out, so that such results are made
again. A release that changes none of them makes nothing again."""


def digest_of(data: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of plain data: equal data, equal digest, whatever the key order."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The chain behind one result.

    Attributes:
        kind: What the result is: a key of `ALGORITHM_VERSIONS`, or any other word for what is never kept by its digest.
        settings: Plain data of every setting that changes the result.
        inputs: What went in: item ids and hrefs, weights' SHA-256, digests of parent results.
        warnings: What a reader should know.
        version: Of this software; recorded, but no part of the digest.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    version: str = __version__

    @property
    def digest(self) -> str:
        """Equal for equal settings, inputs and version of the algorithm; a result with another digest is done again."""
        return digest_of(
            {"kind": self.kind, "settings": self.settings, "inputs": self.inputs, "algorithm": self.algorithm}
        )

    @property
    def algorithm(self) -> int:
        """Version of the code that makes this kind of result."""
        return ALGORITHM_VERSIONS.get(self.kind, 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file beside the result."""
        return {
            "kind": self.kind,
            "software": "cryosentinel",
            "version": self.version,
            "algorithm": self.algorithm,
            "digest": self.digest,
            "settings": self.settings,
            "inputs": self.inputs,
            "warnings": list(self.warnings),
        }

    def as_tags(self) -> dict[str, str]:
        """Short strings for GeoTIFF tags: digest, version, settings as JSON."""
        return {
            "CRYOSENTINEL_VERSION": self.version,
            "CRYOSENTINEL_KIND": self.kind,
            "CRYOSENTINEL_DIGEST": self.digest,
            "CRYOSENTINEL_SETTINGS": json.dumps(self.settings, sort_keys=True),
            "CRYOSENTINEL_INPUTS": json.dumps(self.inputs, sort_keys=True),
        }

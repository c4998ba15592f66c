"""What a network's segmenter is made of beside the network: weights as they are known, and how they are computed with.

Neighbours: `network_segmenter` is given both; `io.weights.model_files` reads the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cryosentinel_core.errors import ModelError
from cryosentinel_core.learn.inference.batch_size import CPU_BATCH

if TYPE_CHECKING:
    from cryosentinel_core.learn.calibration import Calibration
    from cryosentinel_core.learn.inference.compiling import Compiling
    from cryosentinel_core.learn.inference.precision import Precision
    from cryosentinel_core.learn.model_spec import Normalisation
    from cryosentinel_core.stack.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class KnownWeights:
    """What is known of a network's weights.

    Attributes:
        stem: Name of their file without its ending.
        file_sha256: Of their file.
        normalisation: Statistics that they were trained with.
        recipe: The stack recipe that they were trained on; None if unknown altogether.
        copy: Which copy of them the file holds: as trained, or the moving average.
        calibration: What was learned of their areas; None where nothing was.
    """

    stem: str
    file_sha256: str
    normalisation: Normalisation
    recipe: Recipe | None
    copy: Literal["model", "ema"] = "model"
    calibration: Calibration | None = None

    @property
    def suffix(self) -> str:
        """`-ema` for the moving average; empty for the weights as trained."""
        return "" if self.copy == "model" else f"-{self.copy}"

    @property
    def name(self) -> str:
        """`<stem>-<first 8 of the SHA-256>` and the suffix, for folders and tables."""
        return f"{self.stem}-{self.file_sha256[:8]}{self.suffix}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, with the suffix: two copies of one file are two models."""
        return f"{self.file_sha256}{self.suffix}"


@dataclass(frozen=True, kw_only=True)
class ComputingSettings:
    """How a network computes.

    Attributes:
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        precision: `float32`, `bf16`, or `auto` (see `choose_precision`): then bf16 stays open until `prepare_for` or
            `fix_precision`, so that `bf16_error` can be asked for real windows before.
        batch_size: Chips per forward pass; None for 4 on a CPU, and on a GPU for what `prepare_for` finds.
        tta: Whether the logits of four flips are averaged.
        threads: Threads per call on a CPU; None leaves PyTorch's setting alone.
        compiling: Whether `prepare_for` has the network compiled by `torch.compile` (minutes, for large jobs on a GPU):
            `on`, `off`, or `auto` (on a GPU where `pays_to_compile`).
        spread: Whether the variance over the flips is given beside their mean: answers are then (N, 2, 224, 224), and the name
            ends in `-spread`, since what it leads to is another result.
        modalities: Of those that the weights were trained with, the ones to be looked at; None for all. The encoder averages
            over what it is given, which it was never trained for.
    """

    device: str = "auto"
    precision: Precision = "auto"
    batch_size: int | None = CPU_BATCH
    tta: bool = True
    threads: int | None = None
    compiling: Compiling = "off"
    spread: bool = False
    modalities: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.batch_size is not None and self.batch_size < 1) or (self.threads is not None and self.threads < 1):
            raise ModelError(f"batch size {self.batch_size} and threads {self.threads} must be at least 1")

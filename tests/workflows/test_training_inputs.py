"""Chips of a training run: what is lacking is told before anything is computed."""

from __future__ import annotations

from pathlib import Path

from made_training import make_chips, tiny_settings

from cryosentinel_core.reporter import Silent
from cryosentinel_core.workflows.training_inputs import open_chips


class Hearing(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_a_data_set_without_a_validation_is_told(tmp_path: Path) -> None:
    heard = Hearing()
    for n_val in (0, 1):
        folder = make_chips(tmp_path / f"chips{n_val}", n_train=2, n_val=n_val, n_test=0)
        open_chips(tiny_settings(folder).data, tmp_path / "cache", heard)
    assert [warning.partition(":")[0] for warning in heard.warnings] == ["no chip validates"]

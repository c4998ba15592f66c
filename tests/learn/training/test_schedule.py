"""Learning rates against the released schedule, and what its last phase does to the first blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cryosentinel_core.learn.training.schedule import Schedule, swa_start_epoch


def test_warm_up_and_cosine_are_the_released_ones(shared_data: Path) -> None:
    published = json.loads((shared_data / "published-fixtures" / "lr_groups.json").read_text())["schedule"]
    for name, wanted in published.items():
        _, warmup, _, most = name.split("_")
        schedule = Schedule(warmup_steps=int(warmup), max_steps=int(most))
        for step, multiplier in wanted.items():
            assert schedule.multiplier(int(step)) == pytest.approx(multiplier, rel=1e-12, abs=1e-15), (name, step)


def test_the_flat_phase_begins_where_lightning_begins_it() -> None:
    assert swa_start_epoch(0.4, 30) == 11
    assert swa_start_epoch(12, 30) == 11
    assert swa_start_epoch(0.0, 30) == 0


def test_the_flat_phase_as_lightning_anneals_it() -> None:
    """Epochs 12, 13, 14 from 0: a quarter, three quarters, all of the way, by a cosine; the cosine never reaches 0."""
    schedule = Schedule(steps_per_epoch=535, swa_start=11, annealing_epochs=3, max_steps=16_050)
    before = 6e-5 * schedule.multiplier(11 * 535)
    rates = [schedule.rate(6e-5, 535 * epoch, epoch, highest=6e-5) for epoch in (11, 12, 13, 14, 29)]
    assert rates[0] == pytest.approx(before)
    assert rates[1] == pytest.approx(0.75 * before + 0.25e-5)
    assert rates[2] == pytest.approx(0.25 * before + 0.75e-5)
    assert rates[3:] == [1e-5, 1e-5]


def test_the_layer_decay_is_flattened_or_kept() -> None:
    first_block = 6e-5 * 0.25 * 0.9**24
    flat = Schedule(swa_start=1, annealing_epochs=0)
    kept = Schedule(swa_start=1, annealing_epochs=0, keep_decay=True)
    assert flat.rate(first_block, 9, 5, highest=6e-5) / first_block == pytest.approx(8.36, abs=0.01)
    assert kept.rate(first_block, 9, 5, highest=6e-5) == pytest.approx(1e-5 * first_block / 6e-5)
    assert kept.rate(6e-5, 9, 5, highest=6e-5) == 1e-5


def test_step_0_learns_nothing() -> None:
    assert Schedule().rate(6e-5, 0, 0, highest=6e-5) == 0
    assert Schedule(warmup_steps=0).rate(6e-5, 0, 0, highest=6e-5) == 6e-5

"""Augmentation by hand: values, label and validity move together, and nothing hangs on the device's generator."""

from __future__ import annotations

import pytest
import torch

from cryosentinel_core.learn.training.augment import AugmentSettings, augment, paste_water, rescale, shift
from cryosentinel_core.learn.training.batch import TrainingChips
from cryosentinel_core.learn.training.batch_order import make_generator


def make(n: int = 4, side: int = 16) -> TrainingChips:
    """Values tell their own chip and place; water is where a value's place is in the upper left quarter."""
    place = torch.arange(side * side, dtype=torch.float32).reshape(side, side)
    values = place + 1000 * torch.arange(1, n + 1)[:, None, None]
    label = torch.zeros(n, side, side)
    label[:, : side // 2, : side // 2] = 1
    valid = torch.ones(n, side, side, dtype=torch.bool)
    valid[:, 0] = False
    inputs = {
        "S2L2A": values[:, None].repeat(1, 12, 1, 1),
        "S1GRD": values[:, None].repeat(1, 2, 1, 1),
        "DEM": values[:, None],
    }
    return TrainingChips(inputs=inputs, label=label, valid=valid)


def test_nothing_asked_for_changes_nothing() -> None:
    chips = make()
    same = augment(chips, AugmentSettings(flips=False), make_generator(1))
    assert torch.equal(same.inputs["DEM"], chips.inputs["DEM"])
    assert torch.equal(same.label, chips.label)


def test_flips_move_everything_together() -> None:
    chips = make(16)
    done = augment(chips, AugmentSettings(rot90=True), make_generator(3))
    place = done.inputs["DEM"][:, 0] - 1000 * torch.arange(1, 17)[:, None, None]
    row, col = place.long() // 16, place.long() % 16
    assert torch.equal(done.label, ((row < 8) & (col < 8)).float())
    assert torch.equal(done.valid, row > 0)
    assert torch.equal(done.inputs["S2L2A"][:, 7], done.inputs["DEM"][:, 0])
    moved = [not torch.equal(done.label[i], chips.label[i]) for i in range(16)]
    assert 5 <= sum(moved) <= 15


def test_a_shift_moves_everything_together_by_whole_pixels() -> None:
    chips = make(3)
    done = shift(chips, torch.tensor([[2, -3], [0, 0], [-16, 5]]))
    before, after = chips.inputs["DEM"][0, 0], done.inputs["DEM"][0, 0]
    assert torch.equal(after[2:, :13], before[:14, 3:])
    assert not after[:2].any()
    assert not after[:, 13:].any()
    assert torch.equal(done.inputs["S2L2A"][0, 7], after)
    assert torch.equal(done.label[0, 2:, :13], chips.label[0, :14, 3:])
    assert done.valid[0, 3:, :13].all()
    assert done.valid[0].sum() == 13 * 13, "what is new, and what was invalid, is invalid"
    assert torch.equal(done.inputs["DEM"][1], chips.inputs["DEM"][1])
    assert torch.equal(done.valid[1], chips.valid[1])
    assert not done.valid[2].any()


def test_shifts_reach_as_far_as_is_said() -> None:
    chips = make(64)
    done = augment(chips, AugmentSettings(flips=False, shift_px=3), make_generator(7))
    place = done.inputs["DEM"][:, 0, 8, 8].long() - 1000 * torch.arange(1, 65)
    moves = torch.stack([8 - place // 16, 8 - place % 16])
    assert moves.min() == -3
    assert moves.max() == 3


def test_jitter_multiplies_standardised_values_a_gain_a_band() -> None:
    chips = make(64)
    settings = AugmentSettings(flips=False, jitter_p=0.4, jitter_eps=(0.03, 0.07, 0.02))
    done = augment(chips, settings, make_generator(5))
    n_changed = 0
    for name, eps in (("S2L2A", 0.03), ("S1GRD", 0.07), ("DEM", 0.02)):
        gain = done.inputs[name] / chips.inputs[name]
        assert float((gain.amax(dim=(2, 3)) - gain.amin(dim=(2, 3))).max()) < 1e-5, "one gain a band"
        assert float((gain - 1).abs().max()) <= eps + 1e-5
        n_changed = int(((gain[:, 0, 0, 0] - 1).abs() > 1e-6).sum())
    assert 14 <= n_changed <= 38
    assert torch.equal(done.label, chips.label)


def test_a_reduced_chip_has_an_invalid_rim_of_zeros() -> None:
    chips = make(2)
    done = rescale(chips, torch.tensor([1.0, 0.5]))
    assert torch.equal(done.inputs["DEM"][0], chips.inputs["DEM"][0])
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert not done.valid[1][~inside].any()
    assert float(done.inputs["S2L2A"][1, 0][~inside].abs().max()) == 0
    assert float(done.label[1].sum()) == 16  # 8 x 8 px at half the scale
    assert done.valid[1][5:12, 4:12].all()


def test_an_enlarged_chip_is_cut_about_its_centre() -> None:
    done = rescale(make(1), torch.tensor([2.0]))
    assert done.valid.all()
    assert float(done.label.sum()) == 64
    centre = done.inputs["DEM"][0, 0, 7:9, 7:9].mean()
    assert float(centre) == pytest.approx(float(make(1).inputs["DEM"][0, 0, 7:9, 7:9].mean()), abs=1e-3)
    assert set(done.label.unique().tolist()) == {0.0, 1.0}


def test_paste_brings_all_modalities_and_validity_of_another_chip() -> None:
    chips = make(3)
    chips.label[0] = 0  # no donor: but it receives
    lots = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.9, 0.1], [0.9, 0.2, 0.9]])
    done = paste_water(chips, AugmentSettings(paste_min_water_px=32), lots)
    donors = [1, 2, 1]  # the largest lot among others with water; chip 0 has none
    for receiver, donor in enumerate(donors):
        wet = chips.label[donor] > 0.5
        for name in chips.inputs:
            assert torch.equal(done.inputs[name][receiver][:, wet], chips.inputs[name][donor][:, wet])
            assert torch.equal(done.inputs[name][receiver][:, ~wet], chips.inputs[name][receiver][:, ~wet])
        assert torch.equal(done.valid[receiver][wet], chips.valid[donor][wet])
    assert float(done.label[0].sum()) == 64


def test_too_little_water_makes_no_donor() -> None:
    chips = make(2)
    done = paste_water(chips, AugmentSettings(paste_min_water_px=65), torch.rand(2, 2))
    assert torch.equal(done.inputs["DEM"], chips.inputs["DEM"])


def test_pasted_heights_can_be_the_receiver_s() -> None:
    """As published the donor's own height comes along: a cliff of 1000 at the shore."""
    chips = make(2)
    lots = torch.rand(2, 2)
    wet = chips.label[0] > 0.5
    for relative, step in ((False, 1000.0), (True, 0.0)):
        settings = AugmentSettings(paste_relative_heights=relative)
        done = paste_water(chips, settings, lots).inputs["DEM"][0, 0]
        assert float((done - chips.inputs["DEM"][0, 0])[wet].mean()) == pytest.approx(step, abs=1e-2)


def test_the_order_of_dice_is_fixed() -> None:
    settings = AugmentSettings(
        jitter_p=0.4,
        jitter_eps=(0.03, 0.07, 0.02),
        scale_p=0.4,
        scale_range=(0.8, 1.2),
        mosaic_p=0.5,
        paste_p=0.5,
        drop_p=0.3,
    )
    one, other = (augment(make(), settings, make_generator(42, "augment", 3, 7)) for _ in range(2))
    for name in one.inputs:
        assert torch.equal(one.inputs[name], other.inputs[name])
        assert bool(torch.isfinite(one.inputs[name]).all())
    third = augment(make(), settings, make_generator(42, "augment", 3, 8))
    assert not torch.equal(one.inputs["S2L2A"], third.inputs["S2L2A"])


def test_a_modality_is_dropped_whole_and_never_the_optical_one() -> None:
    done = augment(make(64), AugmentSettings(flips=False, drop_p=0.5), make_generator(1))
    gone = {name: (x.abs().amax(dim=(1, 2, 3)) == 0) for name, x in done.inputs.items()}
    assert not gone["S2L2A"].any()
    assert not (gone["S1GRD"] & gone["DEM"]).any()
    assert 18 <= int(gone["S1GRD"].sum() + gone["DEM"].sum()) <= 46

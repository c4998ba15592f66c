"""Augmentation of standardised chips on the device: flips, gain jitter, shifts, rescaling, mosaic, copy-paste.

All dice are thrown by a generator on the CPU, a batch's own, before anything is computed: what is drawn depends neither on the device
nor on what the chips hold. Neighbours: `batch_order` makes the generator; `batch` has the chips; label and validity travel with the
values, so that the distances of the boundary term are those of the label as augmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from cryosentinel_core.learn.training.batch import TrainingChips

_EPS_NAMES: Final = ("S2L2A", "S1GRD", "DEM")


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """What is done how often; the defaults do flips alone.

    Attributes:
        flips: Horizontal and vertical, each with probability 0.5 a chip.
        rot90: Also a transposition with probability 0.5 a chip.
        jitter_p: Probability that a chip's standardised values are multiplied by a gain a band.
        jitter_eps: Largest departure of the gain from 1: S2, S1, DEM.
        shift_px: Each chip is moved by up to so many pixels, whole ones, down or up and to the side; 0 for none, never published.
        scale_p: Probability that a chip is enlarged or reduced about its centre.
        scale_range: Smallest and largest factor.
        mosaic_p: Probability that a batch's chips are put together from the quarters of four.
        mosaic_jitter: How far the quarters' meeting point may lie from the centre, as a share of the side.
        paste_p: Probability that in a batch each chip gets the water of another.
        paste_min_water_px: Pixels of water that make a donor.
        paste_relative_heights: Whether pasted heights are shifted so that the water lies at the receiver's mean height there; as
            published they are not, which makes cliffs at shores.
        drop_p: Probability that a chip goes without one modality other than the optical one (standardised to 0); never published.
    """

    flips: bool = True
    rot90: bool = False
    jitter_p: float = 0.0
    jitter_eps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_px: int = 0
    scale_p: float = 0.0
    scale_range: tuple[float, float] = (1.0, 1.0)
    mosaic_p: float = 0.0
    mosaic_jitter: float = 0.2
    paste_p: float = 0.0
    paste_min_water_px: int = 32
    paste_relative_heights: bool = False
    drop_p: float = 0.0


def augment(chips: TrainingChips, settings: AugmentSettings, dice: Generator) -> TrainingChips:
    """The chips, changed; shapes stay.

    Args:
        chips: Standardised, on any device.
        settings: What is done how often.
        dice: Generator on the CPU, used for this batch alone.
    """
    n = len(chips)
    if settings.flips:
        chips = _flip(chips, torch.rand(3, n, generator=dice) < 0.5, rot90=settings.rot90)
    if settings.jitter_p:
        chips = _jitter(chips, settings, dice)
    if settings.shift_px:
        reach = settings.shift_px
        chips = shift(chips, torch.randint(-reach, reach + 1, (n, 2), generator=dice))
    if settings.scale_p:
        drawn, where = torch.rand(2, n, generator=dice)
        low, high = settings.scale_range
        chips = rescale(chips, torch.where(drawn < settings.scale_p, low + (high - low) * where, torch.ones(n)))
    if settings.mosaic_p and float(torch.rand((), generator=dice)) < settings.mosaic_p:
        chips = _mosaic(chips, settings.mosaic_jitter, dice)
    if settings.paste_p and float(torch.rand((), generator=dice)) < settings.paste_p:
        chips = paste_water(chips, settings, torch.rand(n, n, generator=dice))
    return _drop(chips, settings.drop_p, dice) if settings.drop_p else chips


def _to(x: Tensor, like: Tensor) -> Tensor:
    """A small tensor of dice on the chips' device, without waiting."""
    if like.device.type == "cuda":
        return x.pin_memory().to(like.device, non_blocking=True)
    return x


def _each(chips: TrainingChips) -> tuple[list[str], list[Tensor]]:
    """All tensors (N, C, H, W), label and validity behind the modalities."""
    names = list(chips.inputs)
    return names, [*chips.inputs.values(), chips.label[:, None], chips.valid[:, None]]


def _put_back(names: list[str], parts: list[Tensor]) -> TrainingChips:
    *inputs, label, valid = parts
    return TrainingChips(inputs=dict(zip(names, inputs, strict=True)), label=label[:, 0], valid=valid[:, 0])


def _flip(chips: TrainingChips, drawn: Tensor, *, rot90: bool) -> TrainingChips:
    names, parts = _each(chips)
    flags = _to(drawn, chips.label)[:, :, None, None, None]
    for axis, flag in ((-1, flags[0]), (-2, flags[1])):
        parts = [torch.where(flag, part.flip(axis), part) for part in parts]
    if rot90:
        parts = [torch.where(flags[2], part.transpose(-1, -2), part) for part in parts]
    return _put_back(names, parts)


def _jitter(chips: TrainingChips, settings: AugmentSettings, dice: Generator) -> TrainingChips:
    n = len(chips)
    drawn = torch.rand(n, generator=dice) < settings.jitter_p
    found = {}
    for name, eps in zip(_EPS_NAMES, settings.jitter_eps, strict=True):
        if name not in chips.inputs:
            continue
        values = chips.inputs[name]
        gain = 1 + eps * (2 * torch.rand(n, values.shape[1], generator=dice) - 1)
        found[name] = values * _to(torch.where(drawn[:, None], gain, 1.0)[:, :, None, None], values)
    return TrainingChips(inputs=found, label=chips.label, valid=chips.valid)


def shift(chips: TrainingChips, moves: Tensor) -> TrainingChips:
    """Each chip moved by whole pixels, cut at its edges; what is new is 0 and invalid.

    A network of patches has to learn that it does not matter where within a patch a shore lies. Chips on a lattice teach it little of
    that: a stride of 112 px is seven patches of 16, so that overlapping chips show a lake at the same place within its patches.

    Args:
        chips: Standardised.
        moves: (N, 2) whole numbers on the CPU: rows down, columns to the right.
    """
    names, parts = _each(chips)
    steps = [(int(down), int(right)) for down, right in moves.tolist()]
    moved = [torch.stack([_move(one, *step) for one, step in zip(part, steps, strict=True)]) for part in parts]
    return _put_back(names, moved)


def _move(image: Tensor, down: int, right: int) -> Tensor:
    """(C, H, W) moved, with zeros where nothing was."""
    height, width = image.shape[-2:]
    new = torch.zeros_like(image)
    new[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        :, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return new


def rescale(chips: TrainingChips, factors: Tensor) -> TrainingChips:
    """Each chip enlarged or reduced about its centre, cut or padded to its size; what is new is 0 and invalid.

    Args:
        chips: Standardised.
        factors: (N,) on the CPU; a chip with factor 1 stays as it is, to the bit.
    """
    rows = torch.nonzero(factors != 1).flatten()
    if not len(rows):
        return chips
    names, parts = _each(chips)
    height, width = chips.label.shape[-2:]
    inverse = 1 / factors[rows]
    theta = torch.zeros(len(rows), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = inverse
    grid = F.affine_grid(_to(theta, chips.label), [len(rows), 1, height, width], align_corners=False)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    at = _to(rows, chips.label)
    done = []
    for number, part in enumerate(parts):
        mode = "bilinear" if number < len(names) else "nearest"
        moved = F.grid_sample(part[at].float(), grid, mode=mode, padding_mode="border", align_corners=False)
        moved = torch.where(inside, moved, torch.zeros_like(moved)).to(part.dtype)
        done.append(part.index_copy(0, at, moved))
    return _put_back(names, done)


def _mosaic(chips: TrainingChips, jitter: float, dice: Generator) -> TrainingChips:
    """Each chip's quarters from four chips of the batch, each quarter from its own place there."""
    n = len(chips)
    height, width = chips.label.shape[-2:]
    shift = jitter * (2 * torch.rand(2, generator=dice) - 1)
    row, col = round(height * (0.5 + float(shift[0]) / 2)), round(width * (0.5 + float(shift[1]) / 2))
    sources = [_to(torch.randperm(n, generator=dice), chips.label) for _ in range(3)]
    names, parts = _each(chips)
    corners = (
        (slice(None, row), slice(col, None)),
        (slice(row, None), slice(None, col)),
        (slice(row, None), slice(col, None)),
    )
    done = []
    for part in parts:
        new = part.clone()
        for source, (rows, columns) in zip(sources, corners, strict=True):
            new[:, :, rows, columns] = part[source][:, :, rows, columns]
        done.append(new)
    return _put_back(names, done)


def paste_water(chips: TrainingChips, settings: AugmentSettings, lots: Tensor) -> TrainingChips:
    """Every chip gets all water of another chip of the batch, at the same place, with all modalities and the donor's validity.

    Args:
        chips: Standardised.
        settings: Pixels that make a donor, and what becomes of heights.
        lots: (N, N) random numbers on the CPU: a chip's donor is the eligible one with the largest number in its row.
    """
    wet = chips.label > 0.5
    eligible = wet.flatten(1).sum(dim=1) >= settings.paste_min_water_px
    n = len(chips)
    scores = _to(lots.masked_fill(torch.eye(n, dtype=torch.bool), -1.0), chips.label)
    scores = torch.where(eligible[None, :], scores, torch.full_like(scores, -1.0))
    best, donor = scores.max(dim=1)
    pasted = (wet[donor] & (best >= 0)[:, None, None])[:, None]
    names, parts = _each(chips)
    done = [torch.where(pasted, part[donor], part) for part in parts]
    if settings.paste_relative_heights and "DEM" in names:
        done[names.index("DEM")] = _paste_heights(chips.inputs["DEM"], pasted, donor)
    return _put_back(names, done)


def _paste_heights(dem: Tensor, pasted: Tensor, donor: Tensor) -> Tensor:
    """Donors' heights, shifted so that their mean under what is pasted is the receiver's."""
    count = pasted.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean_here, mean_there = ((x * pasted).sum(dim=(2, 3), keepdim=True) / count for x in (dem, dem[donor]))
    return torch.where(pasted, dem[donor] - mean_there + mean_here, dem)


def _drop(chips: TrainingChips, p: float, dice: Generator) -> TrainingChips:
    others = [name for name in chips.inputs if name != "S2L2A"]
    n = len(chips)
    drawn = torch.rand(n, generator=dice) < p
    which = torch.randint(max(len(others), 1), (n,), generator=dice)
    found = dict(chips.inputs)
    for number, name in enumerate(others):
        gone = _to(drawn & (which == number), chips.label)[:, None, None, None]
        found[name] = torch.where(gone, torch.zeros_like(found[name]), found[name])
    return TrainingChips(inputs=found, label=chips.label, valid=chips.valid)

"""The moving average by hand: parameters alone, begun by the first step, swapped in and out to the bit."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import nn

from cryosentinel_core.learn.training.ema import MovingAverage


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.BatchNorm1d(2)
        self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)


def set_weight(module: Module, value: float) -> None:
    with torch.no_grad():
        module.model.weight.fill_(value)
        module.model.running_mean.fill_(10 * value)


def test_average_by_hand() -> None:
    module, average = Module(), MovingAverage(0.9)
    for value in (1.0, 2.0, 3.0):
        set_weight(module, value)
        average.update(module)
    assert set(average.shadow) == {"model.weight", "model.bias"}
    # 1, then 0.9 x 1 + 0.1 x 2 = 1.1, then 0.9 x 1.1 + 0.1 x 3 = 1.29
    torch.testing.assert_close(average.shadow["model.weight"], torch.full((2,), 1.29))
    with average.swapped_in(module):
        torch.testing.assert_close(module.model.weight.detach(), torch.full((2,), 1.29))
        assert module.model.running_mean.tolist() == [30.0, 30.0], "statistics stay the live ones"
    assert module.model.weight.tolist() == [3.0, 3.0]


def test_raw_weights_come_back_after_an_error() -> None:
    module, average = Module(), MovingAverage(0.5)
    set_weight(module, 1.0)
    average.update(module)
    set_weight(module, 5.0)
    try:
        with average.swapped_in(module):
            raise ValueError
    except ValueError:
        pass
    assert module.model.weight.tolist() == [5.0, 5.0]


def test_state_is_restored_whatever_wrapped_the_names() -> None:
    module, average = Module(), MovingAverage(0.9)
    set_weight(module, 2.0)
    average.update(module)
    state = average.state_dict()
    assert average.state_key == "EMA"
    wrapped = {name.replace("model.", "model._orig_mod."): value for name, value in state["shadow"].items()}
    other = MovingAverage(0.9)
    other.load_state_dict({"decay": 0.5, "shadow": wrapped})
    assert other.shadow.keys() == average.shadow.keys()
    assert torch.equal(other.shadow["model.weight"], average.shadow["model.weight"])


def test_without_an_average_nothing_is_swapped() -> None:
    module = Module()
    with MovingAverage(0.9).swapped_in(module):
        assert module.model.weight.tolist() == [1.0, 1.0]

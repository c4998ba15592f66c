"""A batch's logits on the device that computes them: checked, and then fetched or left there to be added up.

On a GPU everything here is queued behind the network and nothing waits until the answer is asked for, which the engine does a batch
later. Neighbours: `network_segmenter` and `ensemble` compute; `window_blending` adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cryosentinel_core.errors import NonFiniteOutput
from cryosentinel_core.learn.inference.staging import send_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DeviceLogits:
    """Logits of a batch, computed or queued to be.

    Attributes:
        logits: (N, H, W) or, with the variance of the members behind the mean, (N, 2, H, W), float32, on the device.
        broken: For each network that they come from its name and, on the device, the number of values that are not finite.
    """

    logits: Tensor
    broken: tuple[tuple[str, Tensor], ...]

    @classmethod
    def of(cls, name: str, logits: Tensor) -> DeviceLogits:
        """One network's, with its values to be checked."""
        return cls(logits, ((name, (~torch.isfinite(logits)).sum()),))

    def fetch(self) -> Callable[[], NDArray[np.float32]]:
        """Send the logits to the host's memory: they are there, and checked, when the returned function returns.

        That function raises `NonFiniteOutput` if a network gave NaN or infinity.
        """
        host = _send_to_host(self.logits)
        checked = self._check()

        def get() -> NDArray[np.float32]:
            checked()
            logits: NDArray[np.float32] = host.numpy()
            return logits

        return get

    def hold(self) -> Callable[[], Tensor]:
        """Leave the logits where they are; they are checked when the returned function returns, which raises as that of `fetch`."""
        checked = self._check()

        def get() -> Tensor:
            checked()
            return self.logits

        return get

    def _check(self) -> Callable[[], None]:
        """Wait for all that is queued up to here, and refuse what is not finite."""
        counts = [(name, _send_to_host(n)) for name, n in self.broken]
        arrived: Any = None
        if self.logits.is_cuda:
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()

        def check() -> None:
            if arrived is not None:
                arrived.synchronize()
            for name, n in counts:
                if n.item():
                    raise NonFiniteOutput(
                        f"{name} returned {int(n.item())} values that are not finite",
                        "try --precision float32; if it stays, the weights are at fault",
                    )

        return check


def _send_to_host(x: Tensor) -> Tensor:
    """In host memory; from a GPU it is under way until the next event."""
    if not x.is_cuda:
        return x
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)


def put_in_order(parts: Sequence[tuple[NDArray[np.int64], Tensor]]) -> Tensor:
    """Logits of some rows of a batch each, as those of the batch."""
    if len(parts) == 1:
        return parts[0][1]
    rows = np.concatenate([rows for rows, _ in parts])
    logits = torch.cat([logits for _, logits in parts])
    return torch.empty_like(logits).index_copy_(0, send_rows(rows, logits.device), logits)


def pool_logits(answers: Sequence[Tensor], *, has_spread: bool) -> Tensor:
    """The logits of all networks from each one's, added in their order.

    Args:
        answers: (N, H, W) float32 mean logits each; with the spread (N, 2, H, W), mean and population variance.
        has_spread: Which of the two.
    """
    means = [answer[:, 0] if has_spread else answer for answer in answers]
    mean = sum(means[1:], start=means[0]) / len(answers)
    if not has_spread:
        return mean
    squares = [answer[:, 1] + (own - mean).square() for answer, own in zip(answers, means, strict=True)]
    return torch.stack([mean, sum(squares[1:], start=squares[0]) / len(answers)], dim=1)


class DeviceArrays:
    """PyTorch's arrays on one device; see `arrays.Arrays`.

    Args:
        device: That logits are computed on.
        with_room: Calls what takes memory, and makes room where that does not suffice.
    """

    def __init__(self, device: torch.device, with_room: Callable[[Callable[[], Tensor]], Tensor]) -> None:
        self._device, self._with_room = device, with_room

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """See `Arrays`."""
        return self._with_room(lambda: torch.zeros(shape, dtype=torch.float32, device=self._device))

    def copy(self, array: Tensor) -> Tensor:
        """See `Arrays`."""
        return self._with_room(array.clone)

    def put(self, array: NDArray[np.float32]) -> Tensor:
        """See `Arrays`."""
        return torch.from_numpy(array).to(self._device)

    def get(self, array: Tensor) -> NDArray[np.float32]:
        """See `Arrays`."""
        host: NDArray[np.float32] = array.cpu().numpy()
        return host

    def where(self, condition: Tensor, chosen: Tensor, otherwise: Tensor | float) -> Tensor:
        """See `Arrays`."""
        return torch.where(condition, chosen, otherwise)

"""Arrays that sums of logits are kept in: in the host's memory, or on the device that the logits come from.

A canvas adds windows with `*`, `+` and slices, which NumPy and PyTorch write alike and round alike; what they write otherwise stands
here. Neighbours: `window_blending` computes with it; `learn.inference.device_logits` has the one of a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Arrays(Protocol):
    """Float32 arrays of some memory."""

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """A new array of zeros.

        Raises:
            ModelError: If a device's memory does not suffice.
        """
        ...

    def copy(self, array: Any) -> Any:
        """The same in memory of its own.

        Raises:
            ModelError: If a device's memory does not suffice.
        """
        ...

    def put(self, array: NDArray[np.float32]) -> Any:
        """An array of the host, here."""
        ...

    def get(self, array: Any) -> NDArray[np.float32]:
        """An array from here, in the host's memory; waits until it is computed."""
        ...

    def where(self, condition: Any, chosen: Any, otherwise: Any) -> Any:
        """`chosen` where the condition holds, else `otherwise` (an array or a number)."""
        ...


class _HostArrays:
    """NumPy's arrays."""

    def zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `Arrays`."""
        return np.zeros(shape, dtype=np.float32)

    def copy(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Arrays`."""
        return array.copy()

    def put(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Arrays`."""
        return array

    def get(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Arrays`."""
        return array

    def where(self, condition: Any, chosen: Any, otherwise: Any) -> Any:
        """See `Arrays`."""
        return np.where(condition, chosen, np.float32(otherwise) if isinstance(otherwise, float) else otherwise)


HOST: Final[Arrays] = _HostArrays()
"""The host's memory."""

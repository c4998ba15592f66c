"""The errors that cryosentinel raises on purpose.

Every room raises these and no others for something a user can mend; the command line turns them into one message and
one hint on stderr and exit code 1. Anything else that escapes is a fault of ours (exit code 70). What a reader of a result
should merely know is said through `reporter.Reporter.warn` and stands in the result.

    CryosentinelError(message, hint)
      InputError     ConfigError  AreaError  BandError  GridMismatch
      DataError      CatalogError  NoScenes  RasterError
      ModelError     CheckpointError  SoupMismatch  NonFiniteOutput
      OutputError    OutputWrite  WorkspaceBusy
"""

from __future__ import annotations


class CryosentinelError(Exception):
    """A known failure: what happened, and what to try next.

    Args:
        message: What happened, with the value seen and the value wanted.
        hint: What the user can try, as an instruction; empty where nothing sensible can be said.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message and, on a line of its own, the hint."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[CryosentinelError], tuple[str, str]]:
        """Pickle with both arguments, so that errors cross process borders whole."""
        return type(self), (self.message, self.hint)


class InputError(CryosentinelError):
    """What the user gave cannot be used."""


class ConfigError(InputError):
    """A settings file or a flag has a value that is not allowed."""


class AreaError(InputError):
    """An area of interest is missing, empty, invalid or too large."""


class BandError(InputError):
    """Bands are missing, too many or in an unknown layout."""


class GridMismatch(InputError):
    """Two rasters that should share a grid do not."""


class DataError(CryosentinelError):
    """Data from outside could not be found or read."""


class CatalogError(DataError):
    """A STAC catalogue could not be reached or understood; trying again may help."""


class NoScenes(DataError):
    """A search found no scene that can be used."""


class RasterError(DataError):
    """A raster could not be read, or what arrived is not what its item promised."""


class ModelError(CryosentinelError):
    """A network could not be built or run."""


class CheckpointError(ModelError):
    """A checkpoint is damaged, unsafe or does not fit the network."""


class SoupMismatch(ModelError):
    """Checkpoints differ in what must be alike for their weights to be averaged."""


class NonFiniteOutput(ModelError):
    """A network returned NaN or infinity on finite input."""


class OutputError(CryosentinelError):
    """A result could not be written."""


class OutputWrite(OutputError):
    """The disk refused a write: full, read-only or gone."""


class WorkspaceBusy(OutputError):
    """Another process is writing the same part of the workspace."""
